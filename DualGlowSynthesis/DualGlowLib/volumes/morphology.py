"""Masks grown, filled, taken apart and measured."""

from __future__ import annotations

import numpy as np

__all__ = [
    "REST",
    "dilated",
    "extent",
    "filled",
    "largest_piece",
    "millilitres",
]

REST = ((1, 2), (0, 2), (0, 1))
"""The other two axes of each axis."""


def dilated(mask: np.ndarray, voxels: int) -> np.ndarray:
    """The mask grown by a ball of so many voxels."""
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.BinaryDilate(sitk.GetImageFromArray(mask.astype(np.uint8)), [voxels] * 3)) > 0


def filled(mask: np.ndarray) -> np.ndarray:
    """The mask without holes."""
    import SimpleITK as sitk

    if not mask.any():
        return mask
    box = extent(mask)
    image = sitk.GetImageFromArray(np.pad(mask[box].astype(np.uint8), 1))  # so that all outside hangs together
    whole = mask.copy()
    whole[box] = sitk.GetArrayFromImage(sitk.BinaryFillhole(image))[1:-1, 1:-1, 1:-1] > 0
    return whole


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece; an empty mask as it is."""
    import SimpleITK as sitk

    if not mask.any():
        return mask
    box = extent(mask)
    pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(mask[box].astype(np.uint8)))
    largest = np.zeros_like(mask)
    largest[box] = sitk.GetArrayFromImage(sitk.RelabelComponent(pieces, sortByObjectSize=True)) == 1
    return largest


def millilitres(mask: np.ndarray, affine: np.ndarray) -> float:
    """Volume of a mask whose voxels ``affine`` (4×4) takes to millimetres."""
    return float(np.count_nonzero(mask)) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000


def extent(mask: np.ndarray) -> tuple[slice, slice, slice]:
    """The smallest box of voxels that holds a mask, which must not be empty."""
    spans = (np.flatnonzero(mask.any(axis=rest))[[0, -1]] for rest in REST)
    return tuple(slice(int(first), int(last) + 1) for first, last in spans)
