"""Separable resampling and smooth warps on axis-aligned lattices, in torch.

All lattices here have a diagonal affine (voxel axes to the right, the front and up), as every ``Grid`` and the vendored
template have. Then blurring by a Gaussian and sampling on another lattice is one small matrix per axis, and applying
the three is exact for voxels taken as boxes of constant value: nothing is interpolated twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .grid import GRIDS, Grid

__all__ = [
    "WORK",
    "apply_axes",
    "at_places",
    "blur_axes",
    "sample_axes",
    "upsample",
    "velocity_to_displacement",
    "warp",
]

WORK = GRIDS["standard"]
"""The lattice on which anatomies are kept and deformed: 80×96×80 at 2 mm."""

HALF = tuple(n // 2 for n in WORK.shape)
"""The shape of the lattice on which smooth maps are kept: 4 mm, with the same borders as ``WORK``."""

Axes = tuple[Tensor, Tensor, Tensor]


class Line(NamedTuple):
    """One axis of a lattice: the first voxel's centre and the spacing in millimetres, and how many voxels."""

    first: float
    step: float
    count: int


def _axis(source: Line, target: Line, fwhm: float, tent: bool) -> np.ndarray:
    """``[target n, source n]``: the weight of each source voxel in each target sample along one axis.

    A source voxel is a box as wide as the voxel, or with ``tent`` a triangle twice as wide (linear interpolation),
    convolved with a Gaussian of ``fwhm`` mm.
    """
    distance = (target.first + target.step * np.arange(target.count))[:, None]
    distance = distance - (source.first + source.step * np.arange(source.count))[None]
    sigma = max(fwhm / math.sqrt(8 * math.log(2)), 1e-6)

    def cdf(x: np.ndarray) -> np.ndarray:
        return (1 + torch.erf(torch.from_numpy(x / (sigma * math.sqrt(2)))).numpy()) / 2

    if not tent:
        return cdf(distance + source.step / 2) - cdf(distance - source.step / 2)

    def integral(x: np.ndarray) -> np.ndarray:
        return x * cdf(x) + sigma * np.exp(-((x / sigma) ** 2) / 2) / math.sqrt(2 * math.pi)

    step = source.step
    return (integral(distance + step) - 2 * integral(distance) + integral(distance - step)) / step


def lines(shape: tuple[int, ...], affine: np.ndarray) -> tuple[Line, Line, Line]:
    """The three axes of an axis-aligned lattice."""
    if not np.allclose(affine[:3, :3], np.diag(np.diag(affine)[:3])) or np.any(np.diag(affine)[:3] <= 0):
        raise ValueError("This lattice's axes don't run to the right, the front and up.")
    return tuple(Line(float(affine[i, 3]), float(affine[i, i]), int(shape[i])) for i in range(3))


def sample_axes(
    source: tuple[Line, Line, Line], target: tuple[Line, Line, Line], fwhm: float | Sequence[float], tent: bool = False
) -> Axes:
    """Matrices that blur values and take them from one lattice to another in the same space.

    Args:
        source, target: ``lines`` of the two lattices.
        fwhm: the Gaussian's full width at half maximum in millimetres, one or one per axis.
        tent: take the source as linearly interpolated, not as boxes; right where ``fwhm`` may be 0.

    Returns:
        one float32 ``[target n, source n]`` per axis. Nothing lies outside the source: values fade to 0 there.
    """
    widths = np.broadcast_to(np.asarray(fwhm, dtype=np.float64), (3,))
    axes = (_axis(s, t, float(w), tent) for s, t, w in zip(source, target, widths, strict=True))
    return tuple(torch.from_numpy(axis.astype(np.float32)) for axis in axes)


def half_affine() -> np.ndarray:
    """4×4 of the lattice ``HALF``."""
    affine = WORK.affine
    affine[:3, 3] += np.diag(affine)[:3] / 2
    affine[:3, :3] *= 2
    return affine


@lru_cache(maxsize=16)
def blur_axes(grid: Grid, fwhm: float) -> Axes:
    """From ``WORK``, a blur of ``fwhm`` mm, sampled at the voxel centres of ``grid``."""
    return sample_axes(lines(WORK.shape, WORK.affine), lines(grid.shape, grid.affine), fwhm)


def apply_axes(axes: Axes, values: Tensor) -> Tensor:
    """Apply one matrix per axis: ``[..., i, j, k]`` to ``[..., a, b, c]``."""
    x, y, z = (a.to(values) for a in axes)
    lead = values.shape[:-3]
    values = values.reshape(-1, *values.shape[-3:]) @ z.T
    values = y @ values
    values = (x @ values.flatten(2)).unflatten(2, values.shape[2:])
    return values.reshape(*lead, *values.shape[1:])


@lru_cache(maxsize=16)
def _upsample_axes(coarse: tuple[int, ...], fine: tuple[int, ...]) -> Axes:
    axes = []
    for n_in, n_out in zip(coarse, fine, strict=True):
        spacing = n_out / n_in
        axis = _axis(Line((spacing - 1) / 2, spacing, n_in), Line(0.0, 1.0, n_out), 0.0, tent=True)
        axes.append(torch.from_numpy((axis / axis.sum(1, keepdims=True)).astype(np.float32)))
    return tuple(axes)


def upsample(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``[..., i, j, k]`` on a coarser lattice with the same borders, linearly to ``[..., *shape]``."""
    return apply_axes(_upsample_axes(tuple(values.shape[-3:]), tuple(shape)), values)


@lru_cache(maxsize=8)
def _identity(shape: tuple[int, ...]) -> Tensor:
    return torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij"), dim=-1)


def warp(values: Tensor, displacement: Tensor) -> Tensor:
    """``values`` at the displaced position of each voxel (linear; the border's value outside).

    Args:
        values: ``[c, i, j, k]``.
        displacement: ``[i, j, k, 3]`` in voxels; the result at voxel v is ``values`` at v + displacement[v].
    """
    return at_places(values, _identity(tuple(values.shape[1:])).to(displacement) + displacement)


def at_places(values: Tensor, place: Tensor) -> Tensor:
    """``values`` at places given in their voxels (linear; the border's value outside).

    Args:
        values: ``[c, i, j, k]``.
        place: ``[a, b, c, 3]``.

    Returns:
        ``[c, a, b, c]``.
    """
    size = torch.tensor(values.shape[1:], dtype=place.dtype, device=place.device)
    place = place * (2 / (size - 1)) - 1
    # grid_sample names the axes from the last to the first.
    return functional.grid_sample(
        values[None], place.flip(-1)[None], mode="bilinear", padding_mode="border", align_corners=True
    )[0]


def velocity_to_displacement(velocity: Tensor, steps: int = 5) -> Tensor:
    """Integrate a stationary velocity field for unit time by scaling and squaring.

    The flow of a smooth field is invertible: its Jacobian determinant stays positive.

    Args:
        velocity: ``[i, j, k, 3]`` in voxels.
        steps: squarings; the first step is velocity / 2^steps.

    Returns:
        displacement ``[i, j, k, 3]`` in voxels.
    """
    displacement = velocity / 2**steps
    for _ in range(steps):
        displacement = displacement + warp(displacement.permute(3, 0, 1, 2), displacement).permute(1, 2, 3, 0)
    return displacement


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """``[i, j, k]`` of x + displacement(x), by central differences; displacement in voxels."""
    gradient = torch.stack(torch.gradient(displacement, dim=(0, 1, 2)), dim=-1)
    return torch.linalg.det(gradient + torch.eye(3, dtype=displacement.dtype, device=displacement.device))
