"""A whole run: from a directory of cases, prepared or as they were acquired, to a bundle."""

from __future__ import annotations

import reprlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from ..bundle.bundle import Bundle
from ..cases.case import Case
from ..cases.groups import check_groups
from ..cases.layouts import is_simulated, read_cases
from ..cases.ongrid import grid_of
from ..cases.records import digest
from ..cases.sidecars import preparation_of
from ..cases.splits import sides_of
from ..cohorts.cohort import prepare_cohort
from ..cohorts.demographics import people_of
from ..errors import InputError
from ..model import DEFAULT_COVARIATES, Covariate, DualGlow, ModelConfig, fit_covariates, preset
from ..preparation.settings import Preparation
from ..volumes.grid import GRIDS, Grid, grid_named
from .checkpoints import OLD, Checkpoints, read_old
from .data import Cohort, mean_file, split_subjects
from .distributed import Ranks
from .folder import begin_run, check_free, check_run, has_run, hold_run
from .loading.cache import CachedCohort, VoxelCache, belongs_on_disk
from .loop import Interrupted, Trainer
from .settings import TrainingSettings
from .status import StatusWriter

__all__ = ["Plan", "Prospect", "Recipe", "prepared_folder", "prospect", "train"]


_PATIENCE = 0.2  # seconds between looks at the wish to go on


class Recipe:
    """What of a run depends on what is trained: this is DUAL-GLOW; ``baselines`` has others.

    Attributes:
        method: name of the baseline; empty for DUAL-GLOW.
        trainer: what trains.
    """

    method = ""
    trainer: type[Trainer] = Trainer

    def settings(self, preset: object = None) -> TrainingSettings:
        """Those of a training of which nothing else is said."""
        return TrainingSettings.of_preset(preset)

    def config(self, preset_name: str | None, changes: Mapping, shape: tuple[int, ...]) -> ModelConfig:
        """The model of this shape, with changes as a settings file gives them.

        Raises:
            InputError: if they can't be.
        """
        return preset(preset_name or "standard", shape).updated(changes)

    def read(self, values: Mapping) -> ModelConfig:
        """A configuration from its ``to_dict``.

        Raises:
            InputError: if it is another model's.
        """
        return ModelConfig.from_dict(values)

    def model(self, config: ModelConfig) -> nn.Module:
        """The model, with the weights that a run begins with."""
        return DualGlow(config)


@dataclass(frozen=True)
class Plan:
    """What is trained, on what, and into which folder.

    Attributes:
        cases: directory of cases in any layout, or the table of a flat one.
        folder: of the run.
        preset: of the model; None for what the settings file says, else the default.
        settings_file: see ``TrainingSettings.read``; None for none.
        changes: settings in place of those of the file, by name.
        grid: name of one; None for the grid that the cases lie on, ``medium`` if they lie on none.
        layout: see ``read_cases``.
        splits: file of folds, see ``read_splits``; None for a random share of the subjects to validate on.
        fold: the one to validate on; goes with ``splits``.
        preparation: of cases that lie on no grid.
        jobs: processes that prepare.
        scheduler: of a Dask cluster whose workers prepare in their place, see ``cluster``.
        groups: diagnoses that the model takes together, by diagnosis (``read_groups``); others stay as the cases have
            them. The model knows the groups: it takes each of their diagnoses.
        recipe: what is trained.
    """

    cases: Path | str
    folder: Path | str
    preset: str | None = None
    settings_file: Path | str | None = None
    changes: Mapping[str, object] = field(default_factory=dict)
    grid: str | None = None
    layout: str | None = None
    splits: Path | str | None = None
    fold: int | None = None
    preparation: Preparation = field(default_factory=Preparation)
    jobs: int = 1
    scheduler: str | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)


def prepared_folder(plan: Plan, grid: Grid) -> Path:
    """Where the prepared cases of a run go: beside it, so that other runs there that want the same find them."""
    source = Path(plan.cases).resolve()
    key = digest([str(source), plan.layout, grid.to_dict(), plan.preparation.to_dict()])
    return Path(plan.folder).resolve().parent / f"{source.stem or 'cases'}-{grid.name}-{key[:8]}"


@dataclass(frozen=True)
class Begun:
    """What a run began with: the settings of its training, and its model with the covariates as its cases had them."""

    settings: TrainingSettings
    config: ModelConfig

    @property
    def grid(self) -> Grid:
        """The grid of this shape; ``medium`` if there is none."""
        return next((grid for grid in GRIDS.values() if grid.shape == self.config.shape), GRIDS["medium"])


@dataclass(frozen=True)
class Prospect:
    """What a plan comes to, before a scan is prepared or read.

    Attributes:
        settings: of the training.
        config: the model, with the covariates of its preset.
        grid: that the model works on.
        lies_on: the grid that the cases lie on; None for scans that are to be prepared.
        sides: cases to train and to validate on.
    """

    settings: TrainingSettings
    config: ModelConfig
    grid: Grid
    lies_on: Grid | None
    sides: tuple[list[Case], list[Case]]

    @property
    def cases(self) -> list[Case]:
        return sorted([*self.sides[0], *self.sides[1]], key=lambda case: case.name)


def prospect(plan: Plan, begun: Begun | None = None) -> Prospect:
    """Look at all that can be wrong with settings, tables and folds; reads the first scan's header alone.

    Args:
        plan: what to train.
        begun: what a run began with which is to go on; it holds where the plan doesn't say otherwise.

    Raises:
        InputError: if anything given can't be used.
    """
    if plan.jobs < 1:
        raise InputError(f"--jobs must be at least 1, not {plan.jobs}.")
    before, recipe = begun.settings if begun else None, plan.recipe
    if plan.settings_file:
        settings, rest = TrainingSettings.read(plan.settings_file, before, recipe.settings)
        if (stated := rest.pop("method", recipe.method)) != recipe.method:
            raise InputError(
                f"{plan.settings_file} is for the method {reprlib.repr(stated)}; give it with --method, or another "
                "file."
            )
    else:
        settings, rest = before or recipe.settings(plan.preset), {}
    settings = settings.updated(dict(plan.changes), "command line")
    asked = None if plan.grid is None else grid_named(plan.grid)
    found = read_cases(plan.cases, plan.layout)
    lies_on = grid_of(found)
    if asked and lies_on and lies_on != asked:
        raise InputError(
            f"{plan.cases} lies on the grid {lies_on.name!r}, not on {asked.name!r}: choose "
            f"{lies_on.name!r}, or give the scans as they were acquired, which are prepared on any grid."
        )
    if begun and not (plan.preset or rest):
        grid = asked or lies_on or begun.grid
        config = replace(begun.config, shape=grid.shape)
        if plan.groups:
            config = replace(config, covariates=tuple(replace(one, groups={}) for one in config.covariates))
    else:
        grid = asked or lies_on or GRIDS["medium"]
        config = recipe.config(plan.preset or rest.get("preset"), rest.get("model", {}), grid.shape)
    sides = _sides(plan, found, settings)
    if settings.known_mean:
        _check_known_mean(recipe, config, found)
    check_groups(plan.groups, found)
    _fitted(config, found, plan)
    return Prospect(settings.in_steps(len(sides[0])), config, grid, lies_on, sides)


def _check_known_mean(recipe: Recipe, config: ModelConfig, cases: Sequence[Case]) -> None:
    if recipe.method or config.link.kind != "unet":
        raise InputError(
            "known_mean is for models whose link has an image law, as the preset standard has; take it out of the "
            "settings."
        )
    for case in cases:
        mean_file(case)


def begun_with(folder: Path | str, recipe: Recipe) -> Begun | None:
    """What the run in a folder began with, as its last checkpoint states it; None if there is none."""
    found = Checkpoints(Path(folder)).begun_with()
    if not found and (old := Path(folder) / OLD).is_file():
        with suppress(InputError):
            found = read_old(old)[0]
    try:
        return Begun(TrainingSettings(**found["settings"]), recipe.read(found["config"])) if found else None
    except (InputError, ValueError, LookupError, TypeError, AttributeError):  # of a newer DualGlow; the loop says so
        return None


def train(
    plan: Plan,
    device: torch.device | str = "cpu",
    resume: bool = False,
    *,
    arguments: list[str] | None = None,
    progress: Callable[[str, float, str], None] | None = None,
    report: Callable[[dict], None] | None = None,
    note: Callable[[str], None] | None = None,
    stop: Callable[[], bool] | None = None,
    ranks: Ranks | None = None,
) -> Bundle:
    """Prepare the cases where they aren't, train, and write the bundle.

    All that can be wrong with settings, tables and folds is found before the first case is prepared. A run that was
    stopped or killed, also while its cases were prepared, goes on with ``resume``.

    Args:
        plan: what to do.
        device: where to compute.
        resume: go on with the run in the folder.
        arguments: of the command line, for whoever resumes the run; see ``Status``.
        progress: called with a stage ("preparing", "reading"), how much of it is done, 0 to 1, and a detail.
        report: see ``Trainer``.
        note: called with what the user should know.
        stop: asked several times a second while cases are prepared, and before every step. The run can also be asked
            through its folder, see ``training.status``, which tells too how far it is.
        ranks: the processes that train together (``distributed.joined``), each of which calls this; by default this
            one alone. What one has begun that ``torchrun`` starts again is gone on with, ``resume`` or not. The first
            prepares, writes, reports and notes.

    Raises:
        InputError: if anything given can't be used; as ``Trainer.run``; if a case failed in its preparation.
        Interrupted: if ``stop`` said so.
        Lost: if another of the processes has ended.
    """
    progress, note = progress or (lambda stage, fraction, detail: None), note or (lambda sentence: None)
    ranks = ranks or Ranks()
    if Path(plan.folder).resolve() == Path(plan.cases).resolve():
        raise InputError(f"{plan.folder} holds the cases themselves; give another folder for the run.")
    resume = ranks.first(lambda: resume or (ranks.is_restarted and has_run(plan.folder)))
    ranks.first(lambda: check_run(plan.folder, resume))
    ranks.first(lambda: check_free(plan.folder))
    begun = ranks.first(lambda: begun_with(plan.folder, plan.recipe)) if resume else None
    ahead = ranks.together(lambda: prospect(plan, begun))
    _check_preparation(plan, ahead)
    with (
        ranks.holding(lambda: hold_run(plan.folder)),
        ranks.holding(lambda: StatusWriter(plan.folder, arguments)) as status,
        ranks.telling(),
    ):
        ranks.first(lambda: check_run(plan.folder, resume))  # another process may have begun one there meanwhile
        ranks.remember()

        def tell(stage: str, fraction: float, detail: str) -> None:
            if status:
                status.progress(stage, fraction, detail)
                progress(stage, fraction, detail)

        def asked_to_stop() -> bool:
            return asked_in_folder() or bool(stop and stop()) or ranks.is_orphaned()

        def asked_in_folder() -> bool:
            asks = bool(status) and status.stop()
            if asks:
                ranks.finish(1)
            return asks

        def asked_to_wait() -> bool:
            return bool(status) and status.pause()

        def stop_or_wait() -> bool:
            while asked_to_wait() and not asked_to_stop():
                time.sleep(_PATIENCE)
            return asked_to_stop()

        sides = ahead.sides
        if ahead.lies_on is None:
            prepared = ranks.first(lambda: _prepared(plan, ahead, tell, note, stop_or_wait))
            how = plan.preparation
            sides = tuple([prepared[case.name] for case in side if case.name in prepared] for side in sides)
        else:
            how = preparation_of(ahead.cases)
        training, validation = sides
        if not training:
            raise InputError(f"{plan.cases} has no case left to train on; give more cases, or another fold.")
        cases = [*training, *validation]
        config = replace(ahead.config, covariates=_fitted(ahead.config, cases, plan))
        cohort = _read(plan, ahead, cases, ranks, note, tell, asked_to_stop)
        trainer = plan.recipe.trainer(
            Path(plan.folder),
            config,
            ahead.settings,
            ahead.grid,
            cohort.subset(range(len(training))),
            cohort.subset(range(len(training), len(cases))),
            device,
            stop=asked_to_stop,
            about={
                "simulated": is_simulated(plan.cases),
                "preparation": how.to_dict(),
                "people": people_of(case.attributes for case in training),
                "held_out": _held_out(plan, validation),
            },
            note=note if ranks.is_first else None,
            pause=asked_to_wait,
            ranks=ranks,
        )

        def tell_step(event: dict) -> None:
            status.step(event, trainer.seconds_left())
            if report:
                report(event)

        trainer.report = tell_step
        return trainer.run(resume, holding=True)


def _read(
    plan: Plan,
    ahead: Prospect,
    cases: Sequence[Case],
    ranks: Ranks,
    note: Callable[[str], None],
    tell: Callable[[str, float, str], None],
    stop: Callable[[], bool],
) -> Cohort:
    """The cases in memory, or where they can be read from."""
    known_mean = ahead.settings.known_mean

    def progress(done: int, total: int) -> None:
        tell("reading", done / total, f"{done} of {total} cases")
        if stop():
            begin_run(plan.folder)
            raise Interrupted("Stopped while the cases were read; go on with --resume.")

    if not belongs_on_disk(len(cases), ahead.grid, ahead.settings.data, known_mean):
        return ranks.together(lambda: Cohort.load(cases, ahead.grid, progress=progress, known_mean=known_mean))
    cache = VoxelCache(cache_folder(plan, ahead.grid), ahead.grid, known_mean)
    return ranks.first(lambda: CachedCohort.open(cases, cache, progress, note))


def cache_folder(plan: Plan, grid: Grid) -> Path:
    """Where the voxels of a run's cases go that don't fit into memory: beside it, for other runs there too."""
    return Path(plan.folder).resolve().parent / f"{Path(plan.cases).resolve().stem or 'cases'}-{grid.name}-voxels"


def _check_preparation(plan: Plan, ahead: Prospect) -> None:
    """Refuse a plan to prepare cases among the cases, or otherwise that are prepared already."""
    if ahead.lies_on is None:
        out, source = prepared_folder(plan, ahead.grid), Path(plan.cases).resolve()
        if out.is_relative_to(source) and out.relative_to(source).parts[0] != "derivatives":
            raise InputError(
                f"{plan.folder} lies inside {plan.cases}, where the prepared scans would be taken for cases; give a "
                "folder outside it, or one in its derivatives/."
            )
        return
    how = preparation_of(ahead.cases)
    if plan.preparation not in (how, Preparation()):
        raise InputError(
            f"{plan.cases} is prepared already, with other settings than are asked for ({how.to_dict()}); leave "
            "the options of the preparation out, or give the scans as they were acquired."
        )


def _sides(plan: Plan, cases: Sequence[Case], settings: TrainingSettings) -> tuple[list[Case], list[Case]]:
    """Cases to train and to validate on."""
    if sides := sides_of(plan.splits, plan.fold, cases):
        return sides
    return tuple([cases[i] for i in side] for side in split_subjects(cases, settings.validation, settings.seed))


def _held_out(plan: Plan, cases: Sequence[Case]) -> dict[str, int]:
    """Who was kept out of the training, for the card."""
    fold = {} if plan.fold is None else {"fold": plan.fold}
    return {"cases": len(cases), "subjects": len({case.subject for case in cases}), **fold}


def _fitted(config: ModelConfig, cases: Sequence[Case], plan: Plan) -> tuple[Covariate, ...]:
    """The model's covariates as these cases have them, diagnoses in the plan's groups; an error names the case."""
    covariates = tuple(
        _in_groups(one, plan) if plan.groups and one.name == "diagnosis" else one for one in config.covariates
    )
    for case in cases:
        try:
            fit_covariates(covariates, [case.attributes])
        except InputError as error:
            raise InputError(f"{case.name} in {plan.cases}: {error}") from None
    fitted = fit_covariates(covariates, [case.attributes for case in cases])
    usual, found = {one.name for one in DEFAULT_COVARIATES}, {one.name for one in fitted}
    for one in config.covariates:
        if one.name not in usual | found:  # the usual ones may be absent: nobody asked for them by name
            columns = ", ".join(sorted(set().union(*(case.attributes for case in cases)))) or "nothing"
            raise InputError(
                f"No case in {plan.cases} has the covariate {one.name}, but {columns}; correct its name in the "
                "settings or take it out."
            )
    return fitted


def _in_groups(covariate: Covariate, plan: Plan) -> Covariate:
    """The diagnosis in the plan's groups."""
    if covariate.groups:
        raise InputError(f"--groups and {plan.settings_file} both group the diagnoses; leave one of them out.")
    return replace(covariate, values=(), groups=dict(plan.groups))


def _prepared(
    plan: Plan,
    ahead: Prospect,
    progress: Callable[[str, float, str], None],
    note: Callable[[str], None],
    stop: Callable[[], bool] | None,
) -> dict[str, Case]:
    """The prepared cases by their names in the source; as persons they are those of the source."""
    grid = ahead.grid
    out = prepared_folder(plan, grid)
    begin_run(plan.folder)
    note(f"{plan.cases} is prepared first, into {out}.")
    result = prepare_cohort(
        plan.cases,
        out,
        grid,
        plan.preparation,
        jobs=plan.jobs,
        layout=plan.layout,
        progress=lambda name, fraction: progress("preparing", fraction, name),
        stop=stop,
        scheduler=plan.scheduler,
        note=note,
    )
    if result.interrupted:
        raise Interrupted("Stopped while the cases were prepared; go on with --resume.")
    note(result.to_text())
    if failed := result.having("failed"):
        raise InputError(
            f"{len(failed)} of the cases could not be prepared, the first {failed[0]} "
            f"({'; '.join(result.cases[failed[0]]['reasons'])}); see {out / 'logs'}, mend that or take them out of "
            f"{plan.cases}, and go on with --resume."
        )
    result.check_any(plan.cases)
    sources = {case.name: case for case in ahead.cases}
    prepared = {result.cases[case.name]["case"]: case for case in read_cases(out)}
    return {
        name: replace(case, name=name, subject=sources[name].subject, person=sources[name].person)
        for name, case in prepared.items()
    }
