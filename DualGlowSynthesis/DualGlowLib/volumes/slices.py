"""Whether a PET's brightness jumps from slice to slice, as it does where slices were scaled by each other's factors."""

from __future__ import annotations

import numpy as np

__all__ = ["slice_doubts", "slice_jumps"]

# BrainWeb's PET has a median of 0.015 and at most 0.21, with slices of 4 to 8 mm 0.03; the mean of 116 persons 0.007
# and 0.02. Factors of 10 % (standard deviation) give a median of 0.08, of 20 % 0.18.
_USUAL, _LARGEST = 0.05, 0.4
_BRIGHT = 0.3  # of the brightest: brain, and no air
_FEWEST = 0.4  # bright voxels that three neighbouring slices must share, of what the largest do


def slice_doubts(data: np.ndarray) -> list[str]:
    """A sentence if the brightness jumps; ``data`` is uptake."""
    usual, largest = slice_jumps(data)
    if usual > _USUAL or largest > _LARGEST:
        return [
            f"The PET's brightness jumps from slice to slice (by {usual:.1%} of it in the median and at most "
            f"{largest:.0%}; below {_USUAL:.0%} and {_LARGEST:.0%} expected): look whether all were scaled alike."
        ]
    return []


def slice_jumps(data: np.ndarray) -> tuple[float, float]:
    """How much slices differ from what lies between their neighbours, as a part of their brightness.

    Each slice is compared voxel by voxel with the geometric mean of its two neighbours, where all three are bright, so
    that the head's outline plays no part. Anatomy changes slowly from slice to slice, factors of slices don't.

    Args:
        data: uptake, indexed [i, j, k]; slices of all three axes are looked at.

    Returns:
        the median and the largest of the slices' differences, each of the axis where it is largest; 0 where no slices
        share enough.
    """
    data = np.asarray(data, np.float64)
    bright = data > _BRIGHT * np.percentile(data, 99.5)
    found = [(0.0, 0.0)]
    for axis in range(3):
        volume, mask = np.moveaxis(data, axis, 0), np.moveaxis(bright, axis, 0)
        shared = mask[:-2] & mask[1:-1] & mask[2:]
        counts = shared.sum(axis=(1, 2))
        jumps = []
        for k in np.flatnonzero(counts > max(_FEWEST * counts.max(initial=0), 50)):
            before, own, after = (np.log(volume[k + step][shared[k]]) for step in range(3))
            jumps.append(abs(float(np.median(own - (before + after) / 2))))
        if len(jumps) >= 5:
            found.append((float(np.median(jumps)), float(np.max(jumps))))
    return max(usual for usual, _ in found), max(largest for _, largest in found)
