"""T1 intensities that mean the same on every scanner."""

from __future__ import annotations

import numpy as np

from ..errors import InputError

__all__ = ["normalise_t1"]


def normalise_t1(data: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Scale a T1 so that white matter is near 1 and the darkest fluid 0.

    A line through two percentiles of the brain's voxels: the 1st (cerebrospinal fluid) goes to 0 and the 80th to 1. In
    a brain mask of any age between a third and two fifths of the voxels are white matter, the brightest large tissue
    of a T1, so that the 80th percentile lies in its middle. (A peak of the histogram is no better guide: shading and
    partial volume in old brains move it towards grey matter.) The result doesn't change when a scanner multiplies or
    shifts its intensities, and normalising twice is normalising once.

    Args:
        data: T1 voxels of any shape.
        mask: bool, the brain, same shape.

    Returns:
        float32 of the same shape: 0 outside the mask, 0..1.5 inside.

    Raises:
        InputError: if the mask is empty or the brain has no contrast.
        ValueError: if the mask has another shape.
    """
    data, mask = np.asarray(data, dtype=np.float32), np.asarray(mask, dtype=bool)
    if data.shape != mask.shape:
        raise ValueError(f"The mask's shape {mask.shape} is not the data's {data.shape}.")
    if not mask.any():
        raise InputError("The brain mask is empty; give one with the brain in it, or leave it out.")
    values = data[mask]
    dark, white = np.percentile(values, (1, 80))
    if not white > dark:
        raise InputError("The image has no contrast inside the brain mask; give a T1-weighted MRI of a head.")
    scaled = data - dark
    scaled /= white - dark
    np.clip(scaled, 0, 1.5, out=scaled)
    scaled[~mask] = 0
    return scaled.astype(np.float32, copy=False)
