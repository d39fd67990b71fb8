"""What a study is: cases, methods and folds; and the folder that keeps all of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..atlas.label_maps import read_label_map
from ..atlas.regions import REGIONS, weights
from ..cases.case import Case
from ..cases.groups import in_groups
from ..cases.layouts import read_cases
from ..cases.ongrid import grid_of, read_on_grid
from ..cases.splits import make_splits, read_splits, write_splits
from ..errors import InputError
from ..evaluation.regions import Weights
from ..evaluation.segmentations import Segmentations, is_pattern, missing_text, read_segmentations
from ..files import json_text, make_folder, write_json
from ..outputs import STUDY, generated_by, kind_of_file
from ..sealed import parse_json
from ..training.data import fitting_scale, highest_of
from ..values import bounded, check_fields, with_values
from ..volumes.grid import Grid
from .methods import MEAN, STANDARD, Method, method_named, shortened

__all__ = ["Run", "Settings", "Study", "begin_study", "read_settings", "read_study", "some_of_each"]

_FILE, _FOLDS, _RUNS, _METHOD = "study.json", "folds.json", "runs", "settings.json"
_QUICK = {"folds": 2, "steps": 4, "samples": 3, "swept": 1, "tested": 4}


@dataclass(frozen=True)
class Settings:
    """Settings of a study, beside its methods.

    Attributes:
        folds: that subjects are divided into.
        seed: of folds and samples.
        samples: that are drawn for each held-out case from a method that can; 0: none.
        steps: of every training; 0: what the method's settings say.
        tested: held-out cases of each diagnosis and fold that methods are tested on; 0: all.
        swept: held-out cases of each diagnosis and fold whose PET is also synthesized at other ages.
        ages: those ages, years.
        atlas: label map in MNI152 space whose regions are taken, or a pattern of one for each case
            (``evaluation.segmentations``); empty for DualGlow's own.
        atlas_table: names of its labels, see ``atlas.label_maps``.

    Raises:
        InputError: for a value of another kind, or one that no study can have.
    """

    folds: int = bounded(5, 2, 1000)
    seed: int = bounded(0, 0)
    samples: int = bounded(8, 0, 10_000)
    steps: int = bounded(0, 0, 1e9)
    tested: int = bounded(0, 0)
    swept: int = bounded(4, 0, 10_000)
    ages: tuple[float, ...] = bounded((50.0, 60.0, 70.0, 80.0, 90.0, 100.0), 0, 130)
    atlas: str = ""
    atlas_table: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.samples == 1:
            raise InputError("samples is 1; give at least 2, or 0 to draw none.")
        if self.atlas_table and not self.atlas:
            raise InputError("atlas_table names the labels of atlas; give both, or neither.")
        for name in ("atlas", "atlas_table"):  # for runs that begin in other folders
            if path := getattr(self, name):
                object.__setattr__(self, name, str(Path(path).resolve()))


@dataclass(frozen=True)
class Run:
    """One method on one fold, in a folder of its own."""

    study: Path
    method: str
    fold: int

    @property
    def folder(self) -> Path:
        return self.study / _RUNS / self.method / f"fold-{self.fold}"

    @property
    def name(self) -> str:
        return f"{self.method}, fold {self.fold}"


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        folder: of the study.
        source: directory of its cases, all on one grid.
        methods: by name, in the order of the tables.
        settings: see ``Settings``.
        groups: diagnoses taken together, by diagnosis.
        data_range: of PSNR and SSIM, SUVR: one for all methods and folds.
        labels: names by label, where each case has a label map of its own.
    """

    folder: Path
    source: Path
    methods: Mapping[str, Method]
    settings: Settings
    groups: Mapping[str, str] = field(default_factory=dict)
    data_range: float = 0.0
    labels: Mapping[int, str] = field(default_factory=dict)

    @property
    def splits(self) -> Path:
        return self.folder / _FOLDS

    @property
    def runs(self) -> list[Run]:
        """Every run, fold by fold."""
        return [Run(self.folder, name, fold) for fold in range(self.settings.folds) for name in self.methods]

    def settings_file(self, method: str) -> Path:
        """Settings of a method, as ``train --config`` takes them."""
        return self.folder / _RUNS / method / _METHOD

    def cases(self) -> list[Case]:
        """The cases, with their diagnoses' groups.

        Raises:
            InputError: if they can't be read.
        """
        return in_groups(read_cases(self.source), self.groups)

    def sides(self, fold: int) -> tuple[list[Case], list[Case]]:
        """Cases to learn from, and those of the fold to test on.

        Raises:
            InputError: as ``read_splits``.
        """
        training, held_out = read_splits(self.splits, self.cases()).fold(fold)
        return training, some_of_each(held_out, self.settings.tested) if self.settings.tested else held_out

    def grid(self) -> Grid:
        """The grid that the cases lie on.

        Raises:
            InputError: if they lie on none.
        """
        grid = grid_of(self.cases())
        if grid is None:
            raise InputError(
                f"The cases in {self.source} lie on no grid; prepare them first, with: prepare {self.source} OUT."
            )
        return grid

    def regions(self, grid: Grid) -> tuple[list[str], Weights]:
        """Names of the regions, and weights ``(regions, *grid.shape)`` that sum to 1, or what gives those of a case.

        Raises:
            InputError: if the label map can't be read.
        """
        if not self.settings.atlas:
            return list(REGIONS), weights(grid)
        if is_pattern(self.settings.atlas):
            found = Segmentations(self.settings.atlas, grid, self.labels)
        else:
            found = read_label_map(self.settings.atlas, grid, self.settings.atlas_table or None)
        return list(found.names), found.weights


def read_settings(
    file: Path | str | None, names: Sequence[str] | None, is_quick: bool, changes: Mapping[str, object]
) -> tuple[list[Method], Settings]:
    """Methods and settings, from a file and from what a command line says, which comes first.

    Args:
        file: JSON, ``{"methods": {NAME: {"preset": …, "model": {…}, "training": {…}}}, "folds": …, …}``: methods beside
            DualGlow's own (``"method"`` in place of ``"preset"`` for a baseline), and ``Settings``; None for none.
        names: of the methods; by default those of the file, else ``standard``. The mean PET is always among them.
        is_quick: a study of minutes that shows whether all works: few folds, steps and samples.
        changes: settings in place of those of the file; None: not said.

    Raises:
        InputError: if the file can't be used, or a method is unknown.
    """
    said: dict = {}
    if file is not None:
        try:
            said = parse_json(Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"The settings file {file} can't be read as JSON ({error}); correct it.") from None
    known = {"methods", *Settings.__annotations__}
    if not isinstance(said, dict):
        raise InputError(f"{file} must be an object with {', '.join(sorted(known))}.")
    if unknown := set(said) - known:
        raise InputError(f"{file}: {min(unknown)!r} is no part of the settings; there are {', '.join(sorted(known))}.")
    own = said.pop("methods", {})
    if not isinstance(own, dict) or not all(isinstance(one, dict) for one in own.values()):
        raise InputError(f'{file}: methods must be an object of settings by name, as {{"mine": {{"preset": …}}}}.')
    chosen = dict.fromkeys([MEAN, *(names or own or [STANDARD])])
    methods = [method_named(name, own.get(name)) for name in chosen]
    given = {key: value for key, value in changes.items() if value is not None}
    settings = with_values(Settings(), said, str(file))
    settings = with_values(settings, _QUICK if is_quick else {}, "quick")
    return methods, with_values(settings, given, "command line")


def begin_study(
    folder: Path | str,
    source: Path | str,
    methods: Sequence[Method],
    settings: Settings,
    groups: Mapping[str, str] | None = None,
    splits: Path | str | None = None,
    is_quick: bool = False,
    note: Callable[[str], None] | None = None,
) -> Study:
    """Write a study's settings and folds into its folder; one that is there must have the same, but may get methods.

    Args:
        folder: of the study.
        source: directory of cases on a grid.
        methods, settings: of ``read_settings``.
        groups: diagnoses taken together.
        splits: file of folds; by default they are drawn.
        is_quick: make models tiny.
        note: called with the regions that some cases lack.

    Raises:
        InputError: if cases can't be used, or the folder holds another study.
    """
    folder, source = Path(folder).resolve(), Path(source).resolve()
    if folder == source or folder.is_relative_to(source):
        raise InputError(f"{folder} lies in {source}, whose cases are to be read; give another folder for the study.")
    path = folder / _FILE
    before = read_study(folder) if path.exists() else None
    if before is None and folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no study; give a new folder.")
    study = Study(folder, source, {}, settings, dict(groups or {}))
    cases = study.cases()
    grid = study.grid()
    if is_pattern(settings.atlas):
        found, lacking = read_segmentations(settings.atlas, cases, grid, settings.atlas_table or None)
        study = replace(study, labels=found.labels)
        if lacking and note:
            note(missing_text(lacking, len(cases)))
    else:
        study.regions(grid)
    if splits is not None:
        found = read_splits(splits, cases)
        study = replace(study, settings=replace(settings, folds=found.folds))
    steps = settings.steps or None
    made = {method.name: shortened(method, grid.shape, steps, is_quick) for method in methods}
    study = replace(study, methods=made, data_range=_data_range(cases, grid))
    if before is not None:
        study = _joined(before, study)
        if not study.splits.exists():  # others would mix what runs have learned from with what they are tested on
            raise InputError(f"{study.splits} is missing; put it back, or begin the study anew in another folder.")
    make_folder(folder)
    if before is None:
        write_splits(found if splits is not None else make_splits(cases, settings.folds, settings.seed), study.splits)
    read_splits(study.splits, cases)
    for method in study.methods.values():
        make_folder(study.settings_file(method.name).parent)
        write_json(study.settings_file(method.name), dict(method.settings), force=True)
    write_json(path, _values_of(study))
    return study


def read_study(folder: Path | str) -> Study:
    """The study in a folder.

    Raises:
        InputError: if there is none.
    """
    folder = Path(folder).resolve()
    path = folder / _FILE
    if not path.exists():
        raise InputError(f"{folder} holds no study; give the folder that study run wrote to.")
    if kind_of_file(path) != STUDY:
        raise InputError(f"{path} is damaged, or of another program; put it back, or give another folder.")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        methods = {name: Method(name, dict(own)) for name, own in said["methods"].items()}
        settings = Settings(**said["settings"])
        labels = {int(label): name for label, name in said.get("labels", {}).items()}
        return Study(
            folder, Path(said["cases"]), methods, settings, dict(said["groups"]), float(said["data_range_suvr"]), labels
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path} can't be understood ({error}); begin the study anew in another folder.") from None


def _values_of(study: Study) -> dict:
    return {
        "GeneratedBy": generated_by(STUDY),
        "cases": str(study.source),
        "grid": study.grid().name,
        "data_range_suvr": study.data_range,
        "groups": dict(study.groups),
        "settings": vars(study.settings),
        "methods": {name: dict(method.settings) for name, method in study.methods.items()},
        "labels": {str(label): name for label, name in study.labels.items()},
    }


def _joined(before: Study, now: Study) -> Study:
    """The study that is there with the methods that it doesn't have yet.

    Raises:
        InputError: if it is another one, or a method has other settings now.
    """
    old, new = (json.loads(json_text(_values_of(one))) for one in (before, now))
    for key in ("cases", "grid", "groups", "settings"):
        if old[key] != new[key]:
            raise InputError(
                f"{before.folder} holds a study with other {key} ({old[key]}, now {new[key]}); give the same, or "
                "another folder."
            )
    for name, settings in new["methods"].items():
        if old["methods"].get(name, settings) != settings:
            raise InputError(
                f"{before.folder} has the method {name} with other settings; give that one another name, or the study "
                "another folder."
            )
    return replace(before, methods={**before.methods, **now.methods})


def some_of_each(cases: Sequence[Case], number: int) -> list[Case]:
    """The first so many cases of each diagnosis, by name."""
    taken: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.name):
        taken.setdefault(case.covariates.get("diagnosis", ""), []).append(case)
    return [case for _, own in sorted(taken.items()) for case in own[:number]]


def _data_range(cases: Sequence[Case], grid: Grid) -> float:
    """A little above the highest SUVR, of at most 50 cases."""
    import torch

    some = cases[:: max(1, len(cases) // 50)][:50]
    return fitting_scale(some, [highest_of(torch.from_numpy(read_on_grid(case, grid)[1])) for case in some])
