"""A model for one's own site, from a bundle and some twenty pairs: never worse on pairs that it was not fitted to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ..bundle.bundle import Bundle, load_bundle, save_bundle
from ..bundle.calibration import Calibration, write_calibration
from ..bundle.card import model_card
from ..bundle.files import CARD
from ..cases.case import Case
from ..cases.groups import in_groups
from ..cases.layouts import is_simulated, read_cases
from ..cases.ongrid import grid_of
from ..cases.sidecars import preparation_of
from ..cohorts.demographics import people_of
from ..errors import InputError
from ..evaluation import calibrating
from ..evaluation.tables import evaluate
from ..files import write_whole
from ..outputs import generated_by
from ..sealed import is_sealed, parse_json, write_sealed
from ..synthesis.predictor import ModelPredictor
from ..synthesis.synthesizer import Synthesizer
from ..training.checkpoints import Checkpoints
from ..training.data import Cohort, split_subjects
from ..training.folder import begin_run, check_free, check_run, hold_run
from ..training.settings import TrainingSettings
from ..training.status import StatusWriter
from .maps import Maps, apply_maps, errors, fit_maps, surely_better, with_weights
from .trainer import AdaptingTrainer

__all__ = ["LEAST_PAIRS", "Adaptation", "Adapted", "adapt", "text_of"]

LEAST_PAIRS = 20
_LEAST_PERSONS = 10
_HELD_OUT = 1 / 3  # of the persons
_MAPS, _BUNDLE, _KIND = "maps.json", "bundle", "JSON adaptation"
_SHARES = (0.5, 1.0)  # of the way from the maps alone to what training has come to
_LEVEL = 0.9
_SETTINGS = {
    "batch": 2, "learning_rate": 3e-4, "warmup": 20, "ema": 0.98, "image_share": 0.75, "checkpoint_every": 20,
    "validate_every": 50, "sampled_cases": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Adaptation:
    """What is adapted, to what, and into which folder.

    Attributes:
        bundle: folder of the model.
        cases: directory of pairs that ``prepare`` wrote, on the model's grid.
        folder: of the run; the adapted model becomes its ``bundle``.
        steps: of the training.
        samples: of each held-out case, for the law's figures and the calibration.
        seed: of the training, of the held-out third and of the samples.
        groups: diagnoses to take together (``read_groups``).
    """

    bundle: Path | str
    cases: Path | str
    folder: Path | str
    steps: int = 200
    samples: int = 10
    seed: int = 0
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Adapted:
    """What came of it.

    Attributes:
        bundle: as it was written.
        about: what its configuration says under ``training.adaptation``.
    """

    bundle: Bundle
    about: dict


def adapt(
    plan: Adaptation,
    device: torch.device | str = "cpu",
    resume: bool = False,
    *,
    progress: Callable[[str, float, str], None] | None = None,
    report: Callable[[dict], None] | None = None,
    note: Callable[[str], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Adapted:
    """Fit a model to a site, and keep what is better on a third of its persons, to whom nothing was fitted.

    Fitted are the scales of T1 and PET and the mean image (``maps``), if they predict each case better that they were
    not fitted to; then by training ActNorms and the link's last layers (``trainer.refitted``). All of that training,
    half of it or none is kept, whichever predicts the held-out PETs best. Better is what is so by more than chance, a
    standard error of the differences between cases. What is worse than the parent on the held-out cases is not kept.

    Raises:
        InputError: if anything given can't be used; as ``Trainer.run``.
        Interrupted: if ``stop`` said so.
    """
    progress, note = progress or (lambda stage, fraction, detail: None), note or (lambda sentence: None)
    folder, device = Path(plan.folder), torch.device(device)
    if folder.resolve() in (Path(plan.cases).resolve(), Path(plan.bundle).resolve()):
        raise InputError(f"{folder} holds what is to be read; give another folder for the run.")
    check_run(folder, resume)
    check_free(folder)
    parent = load_bundle(plan.bundle, is_calibrated=False)
    settings = TrainingSettings().updated({**_SETTINGS, "steps": plan.steps, "seed": plan.seed}, "adapt")
    if plan.samples < 2:
        raise InputError(f"{plan.samples} samples have no spread; give at least 2, better 10.")
    cases = _checked(plan, parent, note)
    fitting, held_out = ([cases[i] for i in side] for side in split_subjects(cases, _HELD_OUT, plan.seed))
    with hold_run(folder), StatusWriter(folder, None) as status:
        check_run(folder, resume)
        begin_run(folder)

        def tell(stage: str, fraction: float, detail: str = "") -> None:
            status.progress(stage, fraction, detail)
            progress(stage, fraction, detail)

        Cohort.load(cases, parent.grid)  # whose units are looked at together
        maps = _maps(folder, parent, fitting, held_out, device, resume, tell)
        mapped = apply_maps(parent, maps)
        cohort = Cohort.load([*fitting, *held_out], parent.grid, mapped.pet_scale)
        trainer = AdaptingTrainer(
            folder,
            mapped,
            settings,
            cohort.subset(range(len(fitting))),
            cohort.subset(range(len(fitting), len(cases))),
            device,
            stop=lambda: status.stop() or bool(stop and stop()),
            note=note,
            pause=status.pause,
        )

        def tell_step(event: dict) -> None:
            status.step(event, trainer.seconds_left())
            if report:
                report(event)

        trainer.report = tell_step
        trained = trainer.run(resume, holding=True)
        # Of a run that is resumed the maps' mean image is known from its checkpoint alone.
        base = trained.model.state_dict().get("link.base_mean")
        if base is not None:
            mapped.model.state_dict()["link.base_mean"].copy_(base.cpu())
        kept, share = _best(parent, mapped, trained, held_out, device, tell)
        is_parent = kept is parent or (not share and maps == Maps(1.0, 1.0))
        if is_parent:
            kept, maps = parent, Maps(1.0, 1.0)
        about = {
            "parent": {"name": parent.name, "sha256": parent.digest},
            "cases": len(fitting),
            "subjects": len({case.subject for case in fitting}),
            "people": people_of(case.attributes for case in fitting),
            "held_out": {"cases": len(held_out), "subjects": len({case.subject for case in held_out})},
            "kept": "parent" if is_parent else "training" if share else "maps",
            "share": share,
            "t1_gain": maps.t1_gain,
            "pet_gain": maps.pet_gain,
            "parameters": _count(trainer),
            "simulated": is_simulated(plan.cases),
            **trained.training,
            "samples": plan.samples,
            **_figures(plan, parent, None if is_parent else kept, held_out, device, tell),
        }
        return _written(plan, parent, kept, about, cases, held_out, device, tell, note)


def _checked(plan: Adaptation, parent: Bundle, note: Callable[[str], None]) -> list[Case]:
    """The cases that the model can take, if it can be adapted to them; the others are noted.

    Raises:
        InputError: if not.
    """
    if parent.config.dims != 3:
        raise InputError(f"{plan.bundle} is a model of two-dimensional images; choose one of brains.")
    cases, left_out = [], []
    for case in in_groups(read_cases(plan.cases), plan.groups):
        try:
            for one in parent.config.covariates:
                one.parse(case.attributes.get(one.name))
            cases.append(case)
        except InputError as error:
            left_out.append(f"left out: {case.name}: {error}")
    persons = {case.fold_group for case in cases}
    if len(cases) < LEAST_PAIRS or len(persons) < _LEAST_PERSONS:
        raise InputError(
            f"{plan.cases} has {len(cases)} pairs of {len(persons)} persons that the model can take; to adapt it takes "
            f"at least {LEAST_PAIRS} pairs of {_LEAST_PERSONS} persons, so that what is learned can be told from "
            f"chance{'; '.join(['', *left_out[:1]])}".rstrip(".")
            + "."
        )
    for sentence in left_out:
        note(sentence)
    grid = grid_of(cases)
    if grid is None or not parent.grid.holds(grid.shape, grid.affine):
        raise InputError(
            f"{plan.cases} does not lie on the grid {parent.grid.name!r} of the model {parent.name}; prepare the cases "
            f"with --grid {parent.grid.name} first."
        )
    return cases


def _maps(
    folder: Path,
    parent: Bundle,
    fitting: Sequence[Case],
    held_out: Sequence[Case],
    device: torch.device,
    resume: bool,
    tell: Callable[[str, float], None],
) -> Maps:
    """Fitted, and written down; or as a run that is resumed has them.

    Raises:
        InputError: if the run was begun with another model or other cases.
    """
    path, names = folder / _MAPS, [case.name for case in (*fitting, *held_out)]
    if resume and Checkpoints(folder).exist():
        try:
            values = parse_json(path.read_text(encoding="utf-8"))
            sound = is_sealed(values, _MAPS)
            stated = (values["parent_sha256"], values["cases"]) if sound else None
            maps = Maps(float(values["t1_gain"]), float(values["pet_gain"]))
        except (OSError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise InputError(f"{path} is missing or damaged ({error}); adapt anew in another folder.") from None
        if stated != (parent.digest, names):
            raise InputError(f"{folder} was begun with another model or other cases; give those, or another folder.")
        return maps
    found = fit_maps(parent, fitting, held_out, device, lambda share: tell("mapping", share))
    maps = found or Maps(1.0, 1.0)
    values = {"parent_sha256": parent.digest, "cases": names, "t1_gain": maps.t1_gain, "pet_gain": maps.pet_gain}
    write_sealed(path, {"GeneratedBy": generated_by(_KIND), **values}, {})
    return maps


def _best(
    parent: Bundle,
    mapped: Bundle,
    trained: Bundle,
    held_out: Sequence[Case],
    device: torch.device,
    tell: Callable[[str, float], None],
) -> tuple[Bundle, float]:
    """What predicts the held-out PETs best, and its share of the training; the parent if nothing is better."""
    start, end = mapped.model.state_dict(), trained.model.state_dict()
    before, plain = errors(parent, held_out, device), errors(mapped, held_out, device)
    kept, best, least = mapped, 0.0, float(plain.mean())
    for done, share in enumerate(_SHARES, 1):
        weights = {
            name: torch.lerp(value.cpu().float(), end[name].cpu().float(), share).to(value.dtype)
            if value.is_floating_point()
            else value
            for name, value in start.items()
        }
        candidate = with_weights(mapped, weights)
        after = errors(candidate, held_out, device)
        if surely_better(plain, after) and after.mean() < least:
            kept, best, least = candidate, share, float(after.mean())
        tell("choosing", done / len(_SHARES))
    return (kept, best) if least <= before.mean() else (parent, 0.0)


def _figures(
    plan: Adaptation,
    parent: Bundle,
    kept: Bundle | None,
    held_out: Sequence[Case],
    device: torch.device,
    tell: Callable[[str, float], None],
) -> dict:
    """``before`` and ``after``, in numbers; the same if the parent is kept."""
    methods = [ModelPredictor(Synthesizer(parent, device), "before")]
    methods += [ModelPredictor(Synthesizer(kept, device), "after")] if kept is not None else []
    result = evaluate(
        methods,
        held_out,
        parent.grid,
        parent.pet_scale,
        plan.samples,
        plan.seed,
        lambda done, total: tell("measuring", done / total),
    )
    found = {}
    for one in methods:
        row = result["summary"][one.name] | result["summary"][f"{one.name}, mean of {plan.samples}"]
        biases = [region["bias"] for region in result["regions"][one.name] if region["bias"] is not None]
        keys = ("crps", "coverage_90", "region_crps", "region_coverage_90")
        numbers = {key: result["summary"][one.name][key] for key in ("psnr", "ssim", "rmse")}
        numbers |= {"bias": float(np.mean(biases)), "largest_bias": float(max(biases, key=abs))}
        found[one.name] = {key: round(value, 5) for key, value in (numbers | {k: row[k] for k in keys}).items()}
    return {"before": found["before"], "after": found.get("after", found["before"])}


def _written(
    plan: Adaptation,
    parent: Bundle,
    kept: Bundle,
    about: dict,
    cases: Sequence[Case],
    held_out: Sequence[Case],
    device: torch.device,
    tell: Callable[[str, float], None],
    note: Callable[[str], None],
) -> Adapted:
    training = {key: value for key, value in parent.training.items() if not key.endswith("bits")}
    if "notes" in training:
        training["notes"] = {f"parent, {key}": value for key, value in training["notes"].items()}
    training |= {"preparation": preparation_of(cases).to_dict(), "adaptation": about}
    bundle = replace(kept, name=Path(plan.folder).resolve().name, training=training, calibration=None)
    folder = Path(plan.folder) / _BUNDLE
    save_bundle(bundle, folder, model_card(bundle))
    least = calibrating.least_cases(_LEVEL)
    count = len(held_out) * 2 // 3
    if count < least:
        note(
            f"The intervals are not calibrated: that takes {math.ceil(1.5 * least)} held-out cases, and there are "
            f"{len(held_out)}; run calibrate once there are more."
        )
        return Adapted(bundle, about)
    bundle.calibration = _calibrated(plan, bundle, held_out, count, device, tell)
    write_calibration(bundle.calibration, folder)
    write_whole(folder / CARD, model_card(bundle), force=True)
    return Adapted(bundle, about)


def _calibrated(
    plan: Adaptation,
    bundle: Bundle,
    held_out: Sequence[Case],
    count: int,
    device: torch.device,
    tell: Callable[[str, float], None],
) -> Calibration:
    """Factors from the first of the held-out cases, tested on the others."""
    predictor = ModelPredictor(Synthesizer(bundle, device))
    found, left_out = calibrating.residuals(
        predictor, held_out, bundle.grid, plan.samples, plan.seed, lambda done, all_: tell("calibrating", done / all_)
    )
    parts = [
        calibrating.Residuals(found.z[part], found.spread[part], found.cases[part])
        for part in (slice(count), slice(count, None))
    ]
    made = calibrating.calibrate(parts[0], bundle.digest, _LEVEL, plan.samples)
    certificate = calibrating.measure(made, parts[1], count, plan.seed)
    return replace(made, certificate={**certificate, "left_out": len(left_out)})


def _count(trainer: AdaptingTrainer) -> int:
    return sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)


_TITLES = {
    "psnr": ("PSNR in the brain, dB", ".2f"), "ssim": ("SSIM", ".4f"), "rmse": ("RMSE, SUVR", ".4f"),
    "bias": ("bias of region means, SUVR", "+.4f"), "largest_bias": ("the largest of a region", "+.4f"),
    "crps": ("CRPS of voxels, SUVR", ".4f"), "coverage_90": ("voxels inside 90 %", ".3f"),
    "region_crps": ("CRPS of region means, SUVR", ".4f"), "region_coverage_90": ("region means inside 90 %", ".3f"),
}  # fmt: skip


def text_of(about: Mapping) -> str:
    """``Adapted.about`` in Markdown."""
    kept = {
        "parent": "Nothing that was fitted is better than the model as it was by more than chance: it is kept.",
        "maps": f"Kept: scales (T1 times {about['t1_gain']:g}, PET times {about['pet_gain']:g}) and mean image alone.",
        "training": f"Kept: scales (T1 times {about['t1_gain']:g}, PET times {about['pet_gain']:g}), mean image and "
        f"{100 * about['share']:.0f} % of the training ({about['steps']} steps of {about['parameters']} parameters).",
    }[about["kept"]]
    rows = [
        f"| {title} | {about['before'][key]:{form}} | {about['after'][key]:{form}} |"
        for key, (title, form) in _TITLES.items()
    ]
    held_out = about["held_out"]
    lines = [
        f"{about['parent']['name']}, fitted to {about['cases']} pairs; below: {held_out['cases']} others of "
        f"{held_out['subjects']} persons, by which was chosen what to keep.",
        kept,
        "",
        "| | before | after |",
        "|---|---|---|",
        *rows,
    ]
    return "\n".join(lines)
