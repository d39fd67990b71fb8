"""Saved baselines, and DUAL-GLOW models as they are, for what takes either."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ..bundle.bundle import Bundle, check_size, dual_glow, load_bundle
from ..bundle.evaluation import read_evaluation
from ..bundle.files import method_of, read_config
from ..bundle.verification import template_t1, verify_bundle
from ..devices import choose_device
from ..errors import InputError
from ..model import DualGlow
from ..preparation.t1 import PreparedT1
from ..synthesis.predictor import ModelPredictor, Predictor
from ..synthesis.synthesizer import Synthesizer
from .method import Method
from .methods import make
from .recipe import usual_config
from .synthesizer import MethodSynthesizer

__all__ = ["load_any", "load_method", "open_method", "predictor_of", "verify_any"]


def _build(values: Mapping, where: Path) -> Method | DualGlow:
    """What a bundle's configuration describes; see ``bundle.dual_glow``."""
    if not (name := method_of(values)):
        return dual_glow(values, where)
    try:
        config = usual_config(name).read(values["model"])
        if config.shape != tuple(values["grid"]["shape"]):
            raise ValueError("its model has another shape than its grid")
        with torch.device("meta"):
            weights = sum(one.numel() for one in make(config).parameters())
    except InputError as error:
        raise InputError(f"{where.parent} can't be used: {error}") from error
    check_size(weights, where.parent)
    return make(config, float(values["intensities"]["pet"]["scale"]))


def load_any(folder: Path | str | None = None, is_calibrated: bool = True) -> Bundle:
    """The bundle of a DUAL-GLOW model or of a baseline; see ``bundle.load_bundle``.

    Raises:
        InputError: as that; for a method that this DualGlow doesn't know, or that needs a package that is missing.
    """
    return load_bundle(folder, is_calibrated, _build)


def open_method(folder: Path | str | None = None, device: str = "auto", is_calibrated: bool = True) -> Synthesizer:
    """A DUAL-GLOW model or a baseline, on a device, as what draws PETs for a T1.

    Args:
        folder: of the bundle; None for the model that ships.
        device: see ``devices.choose_device``.
        is_calibrated: see ``load_bundle``.

    Raises:
        InputError: as ``load_any``.
    """
    if folder is None or not method_of(read_config(folder)):
        return Synthesizer.from_bundle(folder, device, is_calibrated)
    return MethodSynthesizer(load_any(folder, is_calibrated), choose_device(device))


def predictor_of(synthesizer: Synthesizer, name: str = "") -> Predictor:
    """What evaluation takes of it.

    Args:
        synthesizer: of ``open_method``.
        name: what tables call it; by default a model's name, a baseline's label.
    """
    if not isinstance(synthesizer, MethodSynthesizer):
        return ModelPredictor(synthesizer, name)
    method = synthesizer.model
    method.name = name or method.label
    return method


def load_method(folder: Path | str | None = None, device: str = "auto", name: str = "") -> Predictor:
    """A saved DUAL-GLOW model or baseline as a ``Predictor``.

    Args:
        folder: of the bundle; None for the model that ships.
        device: see ``devices.choose_device``.
        name: what tables call it.

    Raises:
        InputError: as ``load_any``.
    """
    return predictor_of(open_method(folder, device), name)


def verify_any(folder: Path | str, bundle: Bundle | None = None) -> dict:
    """Check a bundle: a model as ``verify_bundle`` does; of a baseline, that its PET of the template is finite.

    Args:
        folder: of the bundle.
        bundle: what ``load_any`` gave of it, if that was done.

    Returns:
        ``name`` and ``sha256``, of a model also what ``verify_bundle`` gives.

    Raises:
        InputError: in one sentence, what is wrong.
    """
    bundle = bundle or load_any(folder)
    if not isinstance(bundle.model, Method):
        return verify_bundle(folder, bundle)
    read_evaluation(folder, bundle.digest)
    t1 = template_t1(bundle.grid)
    if not np.isfinite(bundle.model.predict(PreparedT1(bundle.grid, t1, t1 > 0), {})).all():
        raise InputError(f"{folder} gives a PET of the template that is not finite; get it again, or train it anew.")
    return {"name": bundle.name, "sha256": bundle.digest}
