"""The simulator's resampling, blur and warps against what they should do by definition."""

import math

import numpy as np
import pytest
import torch

from DualGlowLib.volumes import separable as lattice
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.separable import HALF, WORK


def _lines(grid):
    return lattice.lines(grid.shape, grid.affine)


def _impulse():
    values = torch.zeros(WORK.shape)
    values[38, 47, 41] = 1
    return values


def test_blur_keeps_the_total_and_has_the_declared_width():
    fwhm = 7.0
    blurred = lattice.apply_axes(lattice.blur_axes(WORK, fwhm), _impulse()).double()
    assert blurred.sum().item() == pytest.approx(1, abs=1e-5)
    sigma = fwhm / math.sqrt(8 * math.log(2))
    for axis, centre in enumerate((38, 47, 41)):
        others = tuple(a for a in range(3) if a != axis)
        profile = blurred.sum(others)
        place = 2.0 * (torch.arange(len(profile)) - centre)
        assert (profile * place).sum().item() == pytest.approx(0, abs=1e-4)
        # The voxel of 2 mm is a box, which adds its own variance.
        assert (profile * place**2).sum().item() == pytest.approx(sigma**2 + 2**2 / 12, rel=1e-3)


@pytest.mark.parametrize("name", ["small", "medium", "high"])
def test_a_wide_gaussian_is_blurred_exactly_on_every_grid(name):
    """A Gaussian of variance s² blurred by one of variance t² is one of variance s² + t², wherever it is sampled."""
    grid, width, fwhm, centre = GRIDS[name], 9.0, 7.0, np.array([3.0, -20.0, 8.0])

    def bump(grid, variance):
        total = 0.0
        for axis, line in enumerate(_lines(grid)):
            place = line.first + line.step * np.arange(line.count) - centre[axis]
            shape = [1, 1, 1]
            shape[axis] = -1
            total = total + (place**2).reshape(shape)
        return np.exp(-total / (2 * variance)) * (width**2 / variance) ** 1.5

    source = torch.from_numpy(bump(WORK, width**2).astype(np.float32))
    got = lattice.apply_axes(lattice.blur_axes(grid, fwhm), source).numpy()
    expected = bump(grid, width**2 + fwhm**2 / (8 * math.log(2)) + 4 / 12)
    assert np.abs(got - expected).max() < 2e-3


def test_tent_sampling_without_blur_is_linear_interpolation():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(WORK.shape, generator=generator)
    same = lattice.apply_axes(lattice.sample_axes(_lines(WORK), _lines(WORK), 0.0, tent=True), values)
    assert torch.allclose(same, values, atol=1e-5)
    grid = GRIDS["high"]
    got = lattice.apply_axes(lattice.sample_axes(_lines(WORK), _lines(grid), 0.0, tent=True), values)
    index = (40, 60, 50)
    both = zip(index, _lines(grid), _lines(WORK), strict=True)
    place = np.array([(to.first + to.step * i - own.first) / own.step for i, to, own in both])
    low = np.floor(place).astype(int)
    expected = 0.0
    for corner in np.ndindex(2, 2, 2):
        expected += np.prod(1 - np.abs(place - low - corner)) * float(values[tuple(low + corner)])
    assert float(got[index]) == pytest.approx(expected, abs=1e-5)


def test_upsample_keeps_constants_and_linear_ramps():
    ramp = torch.arange(HALF[0], dtype=torch.float32)[:, None, None].expand(HALF)
    fine = lattice.upsample(ramp, WORK.shape)
    expected = (torch.arange(WORK.shape[0]) + 0.5) / 2 - 0.5
    assert torch.allclose(fine[1:-1, 5, 5], expected[1:-1], atol=1e-4)
    assert torch.allclose(lattice.upsample(torch.ones(HALF), WORK.shape), torch.ones(WORK.shape), atol=1e-5)


def test_warp_takes_values_from_the_displaced_place():
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(1, 12, 14, 10, generator=generator)
    shift = torch.zeros(12, 14, 10, 3)
    shift[..., 0], shift[..., 1], shift[..., 2] = 2, -1, 3
    warped = lattice.warp(values, shift)
    assert torch.allclose(warped[0, 3:9, 2:12, :6], values[0, 5:11, 1:11, 3:9], atol=1e-5)


def test_integrated_velocity_is_undone_by_its_negative():
    axis = [torch.linspace(-1, 1, n) for n in HALF]
    x, y, z = torch.meshgrid(*axis, indexing="ij")
    bump = torch.exp(-3 * (x**2 + y**2 + z**2))
    velocity = torch.stack([2 * bump * y, -1.5 * bump, bump * x], dim=-1)
    there, back = (lattice.velocity_to_displacement(sign * velocity) for sign in (1, -1))
    home = there + lattice.warp(back.permute(3, 0, 1, 2), there).permute(1, 2, 3, 0)
    assert there.abs().max() > 0.7
    assert home.abs().max() < 0.03
    assert lattice.jacobian_determinant(there).min() > 0


def test_lattices_that_are_not_axis_aligned_are_refused():
    with pytest.raises(ValueError, match="axes"):
        lattice.lines((4, 4, 4), np.diag([-2.0, 2.0, 2.0, 1.0]))
