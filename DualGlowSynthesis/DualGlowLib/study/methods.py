"""The methods of a study: what they are called, how each is trained on a fold, and how it is loaded again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..baselines.mean import MeanPET
from ..baselines.regression import RegressedPET
from ..bundle.bundle import load_bundle
from ..cases.case import Case
from ..errors import InputError
from ..model import PRESETS, preset
from ..synthesis.predictor import ModelPredictor, Predictor
from ..synthesis.synthesizer import Synthesizer
from ..training.data import Cohort
from ..training.folder import BUNDLE, has_run
from ..training.loop import Interrupted
from ..training.run import Plan, train
from ..training.status import read_status
from ..volumes.grid import Grid

__all__ = ["LAMBDA", "MEAN", "STANDARD", "Method", "fit", "load", "method_named", "shortened", "title_of"]

MEAN, STANDARD, LAMBDA = "mean", "standard", "lambda-"
_FITTED: dict[str, Callable[[Cohort], Predictor]] = {
    MEAN: MeanPET.fit,
    "covariates": RegressedPET.fit,
    "grey-matter": lambda cohort: RegressedPET.fit(cohort, with_tissue=True),
}
"""Methods that are fitted in a moment, each time they are needed."""
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_OFTEN = 100  # steps between checkpoints: a run that is killed loses no more


@dataclass(frozen=True)
class Method:
    """A method of a study.

    Attributes:
        name: in tables and folders: small letters, digits, points and hyphens.
        settings: of its training: ``preset``, ``model`` and ``training`` as in a settings file of ``train``; empty for
            a method without training.
    """

    name: str
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_trained(self) -> bool:
        return self.name not in _FITTED

    @property
    def weight(self) -> float | None:
        """λ of the MRI's likelihood, for a method that is called after it."""
        return float(self.name.removeprefix(LAMBDA)) if self.name.startswith(LAMBDA) else None


def title_of(name: str) -> str:
    """What tables and pictures call a method."""
    return "mean PET" if name == MEAN else name


def method_named(name: str, settings: Mapping[str, object] | None = None) -> Method:
    """The method of this name: one of DualGlow's own, ``lambda-X`` (λ = X, else ``standard``), or with settings.

    Raises:
        InputError: for a name that is none, and no settings to make one of.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"A method is called {name!r}; give it small letters, digits, points and hyphens.")
    if settings is not None:
        if name in _FITTED:
            raise InputError(f"The method {name} has no settings; give those that you have another name.")
        return Method(name, dict(settings))
    if name in _FITTED:
        return Method(name)
    if name in PRESETS:
        return Method(name, {"preset": name})
    if name.startswith(LAMBDA):
        try:
            weight = float(name.removeprefix(LAMBDA))
        except ValueError:
            raise InputError(f"{name} is no method: after {LAMBDA} comes a number, as in {LAMBDA}0.001.") from None
        return Method(name, {"preset": STANDARD, "model": {"mri_weight": weight}})
    known = ", ".join([*_FITTED, *PRESETS, f"{LAMBDA}0.001"])
    raise InputError(f"There is no method {name!r}; there are {known}, and those of the settings file.")


def shortened(method: Method, shape: Sequence[int], steps: int | None, is_tiny: bool) -> Method:
    """The method with so many steps of training and, if it is to be tiny, a few channels."""
    if not method.is_trained:
        return method
    model = dict(method.settings.get("model", {}))
    training = {"checkpoint_every": _OFTEN, **method.settings.get("training", {})}
    if steps is not None:
        training |= {"steps": steps, "warmup": min(200, steps // 5)}
    if is_tiny:
        config = preset(method.settings.get("preset", STANDARD), shape).updated(model)
        levels = len(config.pet.depths)
        flow = {"depths": [1] * levels, "widths": [8] * levels}
        model |= {"mri": flow, "pet": flow}
        if config.link.kind == "unet":
            model["link"] = {"widths": [8] * levels, "context": [2] * levels, "patterns": 2}
        training |= {"initialize_with": 2, "sampled_cases": 0}
    return Method(method.name, {**method.settings, "model": model, "training": training})


def fit(
    method: Method,
    settings_file: Path,
    cases: Path,
    splits: Path,
    fold: int,
    folder: Path,
    groups: Mapping[str, str],
    device: str = "cpu",
    progress: Callable[[str, float], None] | None = None,
) -> None:
    """Train a method on all folds but one, into the folder of the run; one that was begun goes on, one done is kept.

    Args:
        method: which; one without training needs none.
        settings_file: its settings.
        cases: directory of cases on a grid.
        splits: file of folds.
        fold: the one that is kept out.
        folder: of the run.
        groups: diagnoses taken together, see ``Plan``.
        device: where to compute.
        progress: called with what is done and how much of it.

    Raises:
        InputError: as ``training.run.train``.
    """
    if not method.is_trained or (read_status(folder).state == "done" and (folder / BUNDLE).is_dir()):
        return
    plan = Plan(cases, folder, settings_file=settings_file, splits=splits, fold=fold, groups=groups)

    def report(event: Mapping) -> None:
        if progress:
            progress("training", event["step"] / event["steps"])

    try:
        train(plan, device, has_run(folder), report=report)
    except Interrupted as interrupted:
        raise InputError(f"{folder}: {interrupted}") from None


def load(method: Method, folder: Path, training: Sequence[Case], grid: Grid, device: str = "cpu") -> Predictor:
    """The method that ``fit`` trained; one without training is fitted here.

    Args:
        method: which.
        folder: of its run.
        training: cases that it may learn from.
        grid: that they lie on.
        device: where to compute.

    Raises:
        InputError: for a model that can't be loaded.
    """
    if method.is_trained:
        return ModelPredictor(Synthesizer(load_bundle(folder / BUNDLE), device), method.name)
    predictor = _FITTED[method.name](Cohort.load(training, grid))
    predictor.name = method.name
    return predictor
