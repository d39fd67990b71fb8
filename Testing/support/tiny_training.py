"""A simulated cohort, settings with which a whole training takes seconds, and a model that knows nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from DualGlowLib.bundle.bundle import Bundle, save_bundle
from DualGlowLib.flow import FlowConfig
from DualGlowLib.model import DualGlow, preset
from DualGlowLib.simulate.cohort import simulate_cohort
from DualGlowLib.volumes.grid import GRIDS

__all__ = ["make_simulated", "write_settings", "write_untrained"]

_FLOW = {"widths": [8, 8, 8], "depths": [1, 1, 1]}
_MODEL = {"mri": _FLOW, "pet": _FLOW, "link": {"widths": [8, 8, 8], "context": [2, 2, 2], "patterns": 2}}
_TRAINING = {"steps": 4, "batch": 2, "validation": 0.3, "initialize_with": 2, "warmup": 1, "checkpoint_every": 2}


def make_simulated(folder: Path, count: int) -> Path:
    """``count`` cases on the small grid."""
    simulate_cohort(folder, count, GRIDS["small"], seed=5)
    return folder


def write_settings(path: Path, **training: object) -> Path:
    """Settings of a model of a few channels; ``training`` in place of what makes it short."""
    path.write_text(json.dumps({"model": _MODEL, "training": {**_TRAINING, **training}}))
    return path


def write_untrained(folder: Path) -> Path:
    """The bundle of a model of a few channels on the small grid, as it is before its training."""
    torch.manual_seed(0)
    flow, config = FlowConfig(depths=(1, 1, 1), widths=(8, 8, 8)), preset("standard", GRIDS["small"].shape)
    config = replace(config, mri=flow, pet=flow, link=replace(config.link, widths=(8, 8, 8), context=(2, 2, 2)))
    save_bundle(Bundle(DualGlow(config), GRIDS["small"], 1.5, 3.5, "tiny"), folder, "# Card\n")
    return folder
