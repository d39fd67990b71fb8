"""Where uptake differs from the table of regions: a smooth field in template space, of grey and of white matter.

The values of ``uptake`` are flat inside a region; real FDG is not. The field multiplies them: its logarithm is
interpolated linearly between coefficients some 10 mm apart, the same on both sides (training flips cases). It was
fitted to a real mean image through the simulator's own blur and partial volumes
(``Testing/benchmarks/uptake_field.py``; ``Resources/Simulator/NOTICE``). What age, sex, diagnosis and chance change is
relative, so it stays as it is.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..resources import resource
from ..volumes.separable import WORK, upsample

__all__ = ["FIELD_SHAPE", "uptake_field"]

FIELD_SHAPE = (16, 18, 16)
"""Coefficients along each axis of ``WORK``, with the same borders: 10 to 11 mm apart."""


@lru_cache(maxsize=2)
def uptake_field(file: str) -> Tensor:
    """The factor on the uptake of grey and of white matter, float32 ``[2, *WORK.shape]``.

    Args:
        file: in ``Resources/Simulator``: ``log_factors``, the left half of the coefficients, ``[2, 8, 18, 16]``.

    Raises:
        FileNotFoundError: if the installation lacks it.
    """
    with np.load(resource("Simulator", file), allow_pickle=False) as content:
        half = torch.from_numpy(content["log_factors"].astype(np.float32))
    return upsample(torch.cat([half, half.flip(1)], 1), WORK.shape).exp()
