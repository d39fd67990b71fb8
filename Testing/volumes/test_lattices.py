"""Lattices: where their voxels lie, and that they cover what they should."""

from __future__ import annotations

import numpy as np
import pytest

from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.lattices import bounds, box_lattice, coordinates, corners, lattice_about, lattice_over

OBLIQUE = np.array([[0.0, -2, 0.5, 10], [1.5, 0, 0, -20], [0, 0.3, 3, 5], [0, 0, 0, 1]])


def test_a_lattice_lies_about_its_middle() -> None:
    for shape, size in (((4, 5, 6), 2.0), ((4, 5, 6), (2.0, 1.0, 0.5))):
        points = coordinates(shape, lattice_about((1, 2, 3), shape, size))
        np.testing.assert_allclose(points.reshape(-1, 3).mean(axis=0), (1, 2, 3), atol=1e-5)
        np.testing.assert_allclose(points[1, 1, 1] - points[0, 0, 0], size, atol=1e-6)
    grid = GRIDS["paper"]
    np.testing.assert_array_equal(grid.affine, lattice_about(grid.centre, grid.shape, grid.spacing))


def test_points_are_where_the_affine_puts_them() -> None:
    points = coordinates((3, 4, 5), OBLIQUE)
    assert points.shape == (3, 4, 5, 3)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points[2, 3, 4], (OBLIQUE @ [2, 3, 4, 1])[:3], rtol=1e-6)
    low, high = corners([(0, 2), (0, 3), (0, 4)], OBLIQUE)
    np.testing.assert_allclose(low, points.min(axis=(0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(high, points.max(axis=(0, 1, 2)), atol=1e-5)


@pytest.mark.parametrize("size", [1.0, 2.7, 50.0])
def test_a_box_is_covered(size: float) -> None:
    """Its corners lie among the voxel centres, with less than a voxel to spare."""
    mask = np.zeros((9, 8, 7), bool)
    mask[2:6, 3, 1:5] = True
    low, high = bounds(mask, OBLIQUE)
    inside = coordinates(mask.shape, OBLIQUE)[mask]
    np.testing.assert_array_less(low - 1e-4, inside.min(axis=0))
    np.testing.assert_array_less(inside.max(axis=0), high + 1e-4)
    shape, affine = box_lattice(mask, OBLIQUE, 3.0, size)
    assert shape == lattice_over(low - 3, high + 3, size)[0]
    first, last = corners([(0, n - 1) for n in shape], affine)
    assert (first <= low - 3 + 1e-9).all()
    assert (last >= high + 3 - 1e-9).all()
    assert (last - first < high - low + 6 + size).all()
