"""About how long a computation takes, so that the shares of its bar are shares of its time.

Seconds on one core of a usual processor, for the model that ships; they say how the parts compare, not how fast the
machine is: the time left is measured (``progress.Clock``).
"""

from __future__ import annotations

__all__ = ["OPENING", "PREPARING", "REGISTERING", "comparing", "drawing", "memory", "resampling"]

OPENING, PREPARING, REGISTERING = 2.0, 20.0, 14.0
"""A model; a T1; a PET to its T1."""

_DRAWING, _SCORING = 0.4, 0.75
_GPU = 0.05


def drawing(samples: int, device: str) -> float:
    """Samples on the grid; ``device`` as torch calls it."""
    return samples * _DRAWING * (1.0 if device.startswith("cpu") else _GPU)


def resampling(voxels: int, images: int = 1) -> float:
    """Images from the grid to a T1 of so many voxels."""
    return 0.3e-6 * voxels * images


def comparing(samples: int, voxels: int, device: str) -> tuple[float, float, float]:
    """With a registered PET: samples, their likelihoods, and the images on the T1's lattice."""
    drawn = drawing(samples, device)
    return drawn, drawn * _SCORING / _DRAWING, resampling(voxels, 3)


def memory(voxels: int) -> int:
    """Bytes that a process takes at its most for a T1 of so many voxels."""
    return 400_000_000 + 70 * voxels
