"""The methods of a study: what they are called, how each is trained on a fold, and how it is loaded again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from ..baselines.methods import method_named as baseline
from ..baselines.methods import method_names
from ..baselines.recipe import recipe
from ..baselines.saved import load_method
from ..errors import InputError
from ..model import PRESETS, preset
from ..synthesis.predictor import Predictor
from ..training.folder import BUNDLE, has_run
from ..training.loop import Interrupted
from ..training.run import Plan, train
from ..training.settings import TrainingSettings
from ..training.status import read_status

if TYPE_CHECKING:
    import torch

__all__ = ["LAMBDA", "MEAN", "STANDARD", "Method", "fit", "load", "method_named", "shortened", "title_of"]

MEAN, STANDARD, LAMBDA = "mean", "standard", "lambda-"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_OFTEN = 100  # steps between checkpoints: a run that is killed loses no more

_TINY = {"widths": 8, "width": 8, "discriminator_width": 8, "depths": 1, "ascent": 4, "solver_steps": 2}
"""Settings of baselines that make them quick."""


@dataclass(frozen=True)
class Method:
    """A method of a study.

    Attributes:
        name: in tables and folders: small letters, digits, points and hyphens.
        settings: of its training, as in a settings file of ``train``: ``preset`` of DUAL-GLOW or ``method`` of
            ``baselines``, ``model`` and ``training``.
    """

    name: str
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def baseline(self) -> str | None:
        """Its name in ``baselines``; None for DUAL-GLOW."""
        return self.settings.get("method")

    @property
    def is_closed(self) -> bool:
        """Whether it is fitted in a moment, without steps."""
        try:
            return self.baseline is not None and baseline(self.baseline).is_closed
        except InputError:  # of a package that is gone or broken: its runs say so, and the others go on
            return False

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
        kind = Method(name, dict(settings)).baseline
        if name == MEAN or (kind is not None and "preset" in settings):
            what = "is the mean PET" if name == MEAN else "has a preset and a method"
            raise InputError(f"The method {name} {what}; give yours another name, and one of the two.")
        if kind is not None:
            if not isinstance(kind, str):
                raise InputError(f"The method {name}: method must be the name of a baseline, not {kind!r}.")
            baseline(kind)
        return Method(name, dict(settings))
    if name in method_names():
        return Method(name, {"method": name})
    if name in PRESETS:
        return Method(name, {"preset": name})
    if name.startswith(LAMBDA):
        try:
            weight = float(name.removeprefix(LAMBDA))
        except ValueError:
            raise InputError(f"{name} is no method: after {LAMBDA} comes a number, as in {LAMBDA}0.001.") from None
        return Method(name, {"preset": STANDARD, "model": {"mri_weight": weight}})
    known = ", ".join([*method_names(), *PRESETS, f"{LAMBDA}0.001"])
    raise InputError(f"There is no method {name!r}; there are {known}, and those of the settings file.")


def shortened(method: Method, shape: Sequence[int], steps: int | None, is_tiny: bool) -> Method:
    """The method with so many steps of training and, if it is to be tiny, a few channels.

    Raises:
        InputError: if its settings can't be used: before any run, for those of a study never change.
    """
    _check(method, shape)
    model = dict(method.settings.get("model", {}))
    training = {"checkpoint_every": _OFTEN, **method.settings.get("training", {})}
    if steps is not None:
        training |= {"steps": steps, "warmup": min(200, steps // 5)}
    if is_tiny:
        model |= _tiny_baseline(method.baseline) if method.baseline else _tiny_flow(method.settings, model, shape)
        training |= {"initialize_with": 2, "sampled_cases": 0}
    return Method(method.name, {**method.settings, "model": model, "training": training})


def _check(method: Method, shape: Sequence[int]) -> None:
    kind, where = recipe(method.baseline), f"The method {method.name}"
    try:
        rest = TrainingSettings.from_values(dict(method.settings), where, usual=kind.settings)[1]
        kind.config(rest.get("preset"), rest.get("model", {}), tuple(shape))
    except InputError as error:
        said = str(error)
        raise InputError(said if said.startswith(where) else f"{where}: {said}") from None


def _tiny_baseline(name: str) -> dict:
    """As many levels as it has, of few channels, and few steps of what it iterates."""
    found = {}
    for one in fields(baseline(name).settings_type):
        if one.name in _TINY:
            value = _TINY[one.name]
            found[one.name] = [value] * len(one.default) if isinstance(one.default, tuple) else value
    return found


def _tiny_flow(settings: Mapping, model: Mapping, shape: Sequence[int]) -> dict:
    """A step at each level, of few channels."""
    config = preset(settings.get("preset", STANDARD), shape).updated(dict(model))
    levels = len(config.pet.depths)
    flow = {"depths": [1] * levels, "widths": [8] * levels}
    link = {"widths": [8] * levels, "context": [2] * levels, "patterns": 2} if config.link.kind == "unet" else {}
    return {"mri": flow, "pet": flow} | ({"link": link} if link else {})


def fit(
    method: Method,
    settings_file: Path,
    cases: Path,
    splits: Path,
    fold: int,
    folder: Path,
    groups: Mapping[str, str],
    device: torch.device | str = "cpu",
    progress: Callable[[str, float], None] | None = None,
) -> None:
    """Train a method on all folds but one, into the folder of the run; one that was begun goes on, one done is kept.

    Args:
        method: which.
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
    if read_status(folder).state == "done" and (folder / BUNDLE).is_dir():
        return
    kind = recipe(method.baseline)
    plan = Plan(cases, folder, settings_file=settings_file, splits=splits, fold=fold, groups=groups, recipe=kind)

    def report(event: Mapping) -> None:
        if progress:
            progress("training", event["step"] / event["steps"])

    try:
        train(plan, device, has_run(folder), report=report)
    except Interrupted as interrupted:
        raise InputError(f"{folder}: {interrupted}") from None


def load(method: Method, folder: Path, device: str = "cpu") -> Predictor:
    """The method that ``fit`` trained, by the name that the study has for it.

    Args:
        method: which.
        folder: of its run.
        device: where to compute.

    Raises:
        InputError: for a model that can't be loaded.
    """
    return load_method(folder / BUNDLE, device, method.name)
