"""The model file: a folder with configuration, weights, intensity maps, grid, model card and checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from .. import __version__
from ..errors import InputError
from ..files import hash_file, make_folder, write_whole
from ..model import DualGlow, ModelConfig
from ..preparation.settings import Preparation
from ..resources import resource
from ..sealed import not_finite, write_sealed
from ..volumes.grid import Grid
from .calibration import CALIBRATION_FILE, Calibration, read_calibration
from .evaluation import EVALUATION_FILE
from .files import (
    CARD,
    CONFIG,
    DEFAULT_BUNDLE,
    FORMAT,
    WEIGHTS,
    check_numbers,
    check_weights,
    method_of,
    preparation_of,
    read_config,
    reading,
)

__all__ = [
    "DEFAULT_BUNDLE",
    "MARK",
    "Bundle",
    "check_bundle_folder",
    "check_size",
    "dual_glow",
    "has_mark",
    "load_bundle",
    "save_bundle",
    "unsound_tensor",
]

# Small tensors (biases, log-scales, signs) stay in float32: they cost nothing, and errors in them are multiplied.
_HALF_FROM = 1024
_LARGEST_HALF = 65504
MARK = {"generator": "DualGlow"}
"""In the header of a file of tensors: what a killed process leaves has no JSON file beside it yet."""


@dataclass
class Bundle:
    """A trained model and all that is needed to use it on a scan.

    Attributes:
        model: on the CPU, in evaluation mode: DUAL-GLOW, or a baseline (``baselines.method.Method``), whose ``config``
            has ``shape``, ``dims``, ``covariates``, ``least_weights`` and ``to_dict`` too.
        grid: the lattice in template space that it works on.
        t1_scale, pet_scale: prepared T1 (white matter = 1) and SUVR are divided by these before they reach the model.
        name: short name of the model.
        training: what it was trained on and how: numbers and sentences for the card and the provenance.
        digest: SHA-256 of the configuration file, which holds that of the weights; set when loaded or saved.
        calibration: of its intervals, if they were calibrated.
    """

    model: DualGlow | nn.Module
    grid: Grid
    t1_scale: float
    pet_scale: float
    name: str
    training: dict = field(default_factory=dict)
    digest: str = ""
    calibration: Calibration | None = None

    @property
    def preparation(self) -> Preparation:
        """How the scans that it learned from were prepared, and new ones are to be."""
        return preparation_of(self.training, f"The model {self.name}")

    @property
    def config(self) -> ModelConfig:
        """Of the model."""
        return self.model.config


def unsound_tensor(tensors: Mapping[str, torch.Tensor]) -> str:
    """Name of the first that holds a value that is not finite, or ''."""
    return next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), "")


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    weights, is_halved = {}, isinstance(model, DualGlow)
    for name, value in model.state_dict().items():
        value = value.detach().cpu()
        if (
            is_halved
            and value.is_floating_point()
            and value.numel() >= _HALF_FROM
            and value.abs().max() < _LARGEST_HALF
        ):
            value = value.half()
        weights[name] = value.contiguous()
    return weights


def check_bundle_folder(folder: Path | str) -> None:
    """Refuse a folder where a bundle would replace files that don't belong to one.

    Weights of DualGlow without a configuration are the beginning of one, whose process was killed.

    Raises:
        InputError: naming the first of them.
    """
    folder = Path(folder)
    there = [folder / name for name in (CONFIG, WEIGHTS, CARD) if (folder / name).exists()]
    try:
        read_config(folder)
    except InputError:
        if there and ((folder / CONFIG).exists() or not has_mark(folder / WEIGHTS)):
            raise InputError(
                f"{there[0]} is no part of a DualGlow model, whose file would replace it; move it away, or give "
                "another folder."
            ) from None


def has_mark(weights: Path) -> bool:
    """Whether DualGlow wrote this file of tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, "pt") as file:
            return file.metadata() == MARK
    except (OSError, SafetensorError):
        return False


def save_bundle(bundle: Bundle, folder: Path | str, card: str) -> None:
    """Write ``bundle`` to ``folder`` (made if needed); each file appears whole or not at all, the configuration last.

    A bundle that is there is replaced.

    Weights of DUAL-GLOW of 1024 numbers and more are kept in float16 on disk. Sets ``bundle.digest``.

    Args:
        bundle: the model.
        folder: where to.
        card: the model card in Markdown; it has no checksum, so that its owner can mend it.

    Raises:
        InputError: if a weight or another number of the model is not finite, or a scale not above 0; nothing is written
            then. If the folder holds a file of one of the names that belongs to no bundle, can't be written, or the
            disk is full.
    """
    from safetensors.torch import save

    folder = Path(folder)
    check_bundle_folder(folder)
    tensors = _weights(bundle.model)
    config = {
        "format": FORMAT,
        "name": bundle.name,
        "version": __version__,
        "grid": bundle.grid.to_dict(),
        "intensities": {
            "t1": {"unit": "white matter = 1", "scale": bundle.t1_scale},
            "pet": {"unit": "SUVR", "scale": bundle.pet_scale},
        },
        "model": bundle.model.config.to_dict(),
        "training": bundle.training,
    }
    try:
        if name := unsound_tensor(tensors) or not_finite(config):
            raise ValueError(f"{name} is not finite")
        check_numbers(config)
    except ValueError as error:
        raise InputError(f"The model {bundle.name} can't be written to {folder}: {error}; train it anew.") from None
    content = save(tensors, MARK)
    make_folder(folder)
    write_whole(folder / WEIGHTS, content, force=True)
    write_whole(folder / CARD, card, force=True)
    for name in (CALIBRATION_FILE, EVALUATION_FILE):  # of the model that was there
        (folder / name).unlink(missing_ok=True)
    write_sealed(folder / CONFIG, config, {WEIGHTS: hashlib.sha256(content).hexdigest()})
    bundle.digest = hash_file(folder / CONFIG)


def dual_glow(values: Mapping, where: Path) -> DualGlow:
    """The model that a bundle's configuration describes.

    Args:
        values: the configuration.
        where: its file, for errors.

    Raises:
        InputError: if it is a baseline's, or no model can be so.
    """
    if method := method_of(values):
        raise InputError(
            f"{where.parent} is a bundle of the baseline {method}, which this can't take; evaluate, synthesize, sweep, "
            "calibrate and bundle do, everything else needs a DUAL-GLOW model."
        )
    try:
        config = ModelConfig.from_dict(values["model"])
    except InputError as error:  # which speaks of settings
        raise ValueError(str(error).rstrip(".")) from error
    check_size(config.least_weights, where.parent)
    return DualGlow(config)


def check_size(weights: int, folder: Path) -> None:
    """Refuse a configuration of more weights than its file has room for, before memory for a model is asked for.

    Raises:
        InputError: if so.
    """
    path = folder / WEIGHTS
    if 2 * weights > path.stat().st_size:  # bytes
        raise InputError(f"{path} is far too small for the model that {CONFIG} describes; get the model again.")


def load_bundle(
    folder: Path | str | None = None,
    is_calibrated: bool = True,
    build: Callable[[Mapping, Path], nn.Module] = dual_glow,
) -> Bundle:
    """The bundle in ``folder``, or the one that ships with DualGlow.

    Args:
        folder: of the bundle.
        is_calibrated: False to leave its calibration aside, which may be another model's or damaged.
        build: makes the model that a configuration, whose file it is told too, describes.

    Raises:
        InputError: if the folder is no bundle, a file is missing or damaged (its checksum is wrong), a number is not
            finite, or it was written by a newer format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = resource("Models", DEFAULT_BUNDLE) if folder is None else Path(folder)
    values = read_config(folder)
    with reading(folder / CONFIG):
        grid = Grid.from_dict(values["grid"])
        t1_scale, pet_scale = (float(values["intensities"][key]["scale"]) for key in ("t1", "pet"))
        training = values.get("training", {})
        preparation_of(training, str(folder / CONFIG))
    weights = check_weights(folder, values)
    with reading(folder / CONFIG):
        model = build(values, folder / CONFIG)
    try:
        tensors = load_file(weights)
        if name := unsound_tensor(tensors):
            raise InputError(f"In {weights}, {name} is not finite; get the model again, or train it anew.")
        model.load_state_dict(
            {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
        )
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{weights} does not fit the configuration beside it; get the model again.") from error
    model.eval().requires_grad_(False)
    digest = hash_file(folder / CONFIG)
    calibration = read_calibration(folder, digest) if is_calibrated else None
    return Bundle(model, grid, t1_scale, pet_scale, values["name"], training, digest, calibration)
