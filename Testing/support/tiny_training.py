"""A simulated cohort and settings with which a whole training takes seconds."""

from __future__ import annotations

import json
from pathlib import Path

from DualGlowLib.simulate.cohort import simulate_cohort
from DualGlowLib.volumes.grid import GRIDS

__all__ = ["make_simulated", "write_settings"]

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
