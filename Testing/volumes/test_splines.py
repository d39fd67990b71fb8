"""Cubic B-splines, beside SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from DualGlowLib.volumes.splines import CubicSpline


@pytest.mark.parametrize("shape", [(7, 9, 8), (2, 3, 4), (5, 1, 6)])
def test_as_scipy_does(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=shape).astype(np.float32)
    places = rng.uniform(-0.5, np.array(shape) - 0.500001, size=(40_000, 3)).T
    expected = ndimage.map_coordinates(data.astype(np.float64), places, order=3, mode="mirror")
    np.testing.assert_allclose(CubicSpline(data).at(places), expected, atol=2e-5)


def test_voxels_are_met_and_nothing_lies_outside() -> None:
    data = np.random.default_rng(1).normal(size=(6, 5, 7)).astype(np.float32)
    spline = CubicSpline(data)
    found = spline.at(np.indices(data.shape).reshape(3, -1))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.reshape(data.shape), data, atol=1e-5)
    outside = np.array([[-0.51, 2, 2], [5.5, 2, 2], [2, -3e4, 2], [2, 2, 6.5], [2, 4.5, 2]]).T
    assert not spline.at(outside).any()
