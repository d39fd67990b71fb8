"""Voxel lattices along the axes of a space: about a point, over a box, over a mask; and their points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from .morphology import extent

__all__ = ["bounds", "box_lattice", "coordinates", "corners", "lattice_about", "lattice_over"]


def coordinates(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """Millimetres of every voxel centre: ``[x, y, z, 3]`` float32."""
    from nibabel.affines import apply_affine  # which a fresh Slicer lacks

    index = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij"), axis=-1)
    return apply_affine(np.asarray(affine, np.float32), index)


def corners(spans: Sequence[tuple[float, float]], affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest millimetres along each axis of a box whose first and last index along each axis are given."""
    from nibabel.affines import apply_affine  # which a fresh Slicer lacks

    points = apply_affine(affine, np.array(list(product(*spans))))
    return points.min(axis=0), points.max(axis=0)


def bounds(mask: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of the voxel centres that a mask holds; it must not be empty."""
    return corners([(side.start, side.stop - 1) for side in extent(mask)], affine)


def lattice_about(middle: Sequence[float], shape: Sequence[int], size: float | Sequence[float]) -> np.ndarray:
    """4×4 of a lattice of voxels of ``size`` (one, or one for each axis) with its middle at ``middle``."""
    size = np.broadcast_to(np.asarray(size, float), 3)
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = np.asarray(middle) - size * (np.asarray(shape) - 1) / 2
    return affine


def lattice_over(low: np.ndarray, high: np.ndarray, size: float) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and 4×4 of a lattice of voxels of ``size`` whose centres cover a box."""
    shape = tuple(int(n) for n in np.maximum(np.ceil((high - low) / size) + 1, 1))
    return shape, lattice_about((low + high) / 2, shape, size)


def box_lattice(
    mask: np.ndarray, affine: np.ndarray, margin: float, size: float
) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and 4×4 of a lattice that covers a mask and a margin."""
    low, high = bounds(mask, affine)
    return lattice_over(low - margin, high + margin, size)
