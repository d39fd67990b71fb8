"""Masks grown, filled, taken apart and measured."""

from __future__ import annotations

import numpy as np

__all__ = [
    "REST",
    "dilated",
    "eroded",
    "extent",
    "filled",
    "grown",
    "largest_piece",
    "millilitres",
    "reached",
]

REST = ((1, 2), (0, 2), (0, 1))
"""The other two axes of each axis."""


def dilated(mask: np.ndarray, voxels: int) -> np.ndarray:
    """The mask grown by a ball of so many voxels."""
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.BinaryDilate(sitk.GetImageFromArray(mask.astype(np.uint8)), [voxels] * 3)) > 0


def eroded(mask: np.ndarray) -> np.ndarray:
    """The mask without the voxels at its surface, and at the border of the volume."""
    inner = ~grown(~mask)
    for axis in range(3):
        np.moveaxis(inner, axis, 0)[[0, -1]] = False
    return inner


def filled(mask: np.ndarray) -> np.ndarray:
    """The mask without holes."""
    import SimpleITK as sitk

    whole = mask.copy()
    if not mask.any():
        return whole
    box = extent(mask)
    inside = mask[box]
    hidden = ~inside  # but what can be seen from the sides of the box, which is most of it, is no hole
    hidden[..., 0] = hidden[..., -1] = False
    for axis in (0, 1):
        for way in (slice(None), slice(None, None, -1)):
            met = np.zeros(np.delete(inside.shape, axis), bool)
            planes = (np.moveaxis(volume, axis, 0)[way] for volume in (inside, hidden))
            for ours, plane in zip(*planes, strict=True):
                met |= ours
                plane &= met
    if not hidden.any():
        return whole
    # Of the pieces that are left, those that touch what can be seen are no holes either.
    part = extent(hidden)
    image = sitk.ConnectedComponent(sitk.GetImageFromArray(hidden[part].astype(np.uint8)))
    pieces = sitk.GetArrayViewFromImage(image)
    beside = hidden & ~eroded(inside | hidden)
    holes = np.ones(pieces.max() + 1, bool)
    holes[0], holes[pieces[beside[part]]] = False, False
    whole[box][part] |= holes[pieces]
    return whole


def grown(mask: np.ndarray) -> np.ndarray:
    """The mask and the voxels that share a face with it."""
    outer = mask.copy()
    for axis in range(3):
        ours, theirs = np.moveaxis(outer, axis, 0), np.moveaxis(mask, axis, 0)
        ours[1:] |= theirs[:-1]
        ours[:-1] |= theirs[1:]
    return outer


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece; an empty mask as it is."""
    import SimpleITK as sitk

    if not mask.any():
        return mask
    box = extent(mask)
    image = sitk.ConnectedComponent(sitk.GetImageFromArray(mask[box].astype(np.uint8)))
    pieces = sitk.GetArrayViewFromImage(image)
    sizes, largest = np.bincount(pieces.ravel()), np.zeros_like(mask)
    largest[box] = pieces == 1 + sizes[1:].argmax()
    return largest


def reached(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """What of a mask hangs together, face to face, with seeds in it."""
    import SimpleITK as sitk

    images = (sitk.GetImageFromArray(one.astype(np.uint8)) for one in (seeds & mask, mask))
    return sitk.GetArrayFromImage(sitk.BinaryReconstructionByDilation(*images, 0, 1)) > 0


def millilitres(mask: np.ndarray, affine: np.ndarray) -> float:
    """Volume of a mask whose voxels ``affine`` (4×4) takes to millimetres."""
    return float(np.count_nonzero(mask)) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000


def extent(mask: np.ndarray, margin: int = 0) -> tuple[slice, slice, slice]:
    """The smallest box of voxels that holds a mask, which must not be empty, and so many more around it."""
    spans = (np.flatnonzero(mask.any(axis=rest))[[0, -1]] for rest in REST)
    return tuple(slice(max(int(first) - margin, 0), int(last) + 1 + margin) for first, last in spans)
