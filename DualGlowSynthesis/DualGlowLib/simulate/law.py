"""The law of a case's PET, given its anatomy and covariates: a Gaussian whose mean and covariance are known.

The activity in the brain is ``a(x) · (1 + Σ_k f_k l_k(x))`` with independent standard Gaussian factors f and fixed
loadings l, the scanner blurs it, and Gaussian noise of known variance is added. All of that is linear, so with the
blur S

    PET = μ + Σ_k f_k F_k + n,     μ = S a,  F_k = S (a l_k),  cov = Σ_k F_k F_kᵀ + cov(n)

and the mean and sd of every voxel, and of every weighted mean of voxels, follow without any sampling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..atlas.regions import weights
from ..volumes.grid import Grid
from ..volumes.separable import WORK, Axes, apply_axes, blur_axes

__all__ = ["NOISE_FWHM", "NOISE_SD", "PSF_FWHM", "Law"]

PSF_FWHM = 7.0
"""Resolution of the PET in millimetres: one value for all cases, as after harmonising a multi-scanner study. Were it to
vary, it would be a hidden variable, and the law of a PET would no longer be Gaussian."""

NOISE_SD = 0.04
"""Noise at an activity of 1 SUVR, after its own smoothing; it grows with the square root of the activity."""

NOISE_FWHM = 5.0
"""The noise's smoothness in millimetres (the reconstruction's filter)."""


@lru_cache(maxsize=1)
def _noise_gain() -> float:
    """Scale of white noise on ``WORK`` for sd 1 after ``NOISE_FWHM``, in the middle of a uniform object."""
    power = 1.0
    for axis in blur_axes(WORK, NOISE_FWHM):
        power *= float((axis[len(axis) // 2].double() ** 2).sum())
    return 1 / math.sqrt(power)


def _squared(axes: Axes) -> Axes:
    return tuple(axis**2 for axis in axes)


@lru_cache(maxsize=4)
def _region_weights(grid: Grid) -> Tensor:
    return torch.from_numpy(weights(grid).copy()).flatten(1)


@lru_cache(maxsize=4)
def _region_noise(grid: Grid) -> tuple[Tensor, ...]:
    """For each region the sparse response of its mean to noise on ``WORK``: (indices, squared weights)."""
    back = tuple(axis.T for axis in blur_axes(grid, NOISE_FWHM))
    rows = []
    for weight in _region_weights(grid):
        response = apply_axes(back, weight.unflatten(0, grid.shape)).flatten() ** 2
        keep = torch.nonzero(response > 1e-9 * response.max())[:, 0]
        rows.append((keep, response[keep]))
    return tuple(rows)


@dataclass
class Law:
    """The Gaussian law of one PET on one grid.

    Attributes:
        grid: the lattice of all maps.
        mean: conditional mean, SUVR, ``grid.shape``.
        factors: response to one unit of each Gaussian factor, ``[K, *grid.shape]``.
        slope: change of ``mean`` per decade of age at the same anatomy, ``grid.shape``; the same at every age.
        noise: variance of the noise on ``WORK`` before its smoothing, ``WORK.shape``.
        age: in years; what the law is conditioned on.
    """

    grid: Grid
    mean: Tensor
    factors: Tensor
    slope: Tensor
    noise: Tensor
    age: float

    def mean_at(self, age: float) -> Tensor:
        """Conditional mean for the same anatomy, sex and diagnosis at another age, ``grid.shape``."""
        return self.mean + self.slope * (age - self.age) / 10

    def sd(self) -> Tensor:
        """Conditional sd of every voxel."""
        noise = apply_axes(_squared(blur_axes(self.grid, NOISE_FWHM)), self.noise)
        return (noise + (self.factors**2).sum(0)).sqrt()

    def sample(self, generator: torch.Generator) -> Tensor:
        """One PET, ``grid.shape``."""
        scores = torch.randn(len(self.factors), generator=generator, device=generator.device)
        white = torch.randn(WORK.shape, generator=generator, device=generator.device)
        noise = apply_axes(blur_axes(self.grid, NOISE_FWHM), white * self.noise.sqrt())
        return self.mean + torch.tensordot(scores, self.factors, dims=1) + noise

    def region_means(self, image: Tensor) -> Tensor:
        """Means of a map over ``regions.REGIONS``."""
        return _region_weights(self.grid).to(image) @ image.flatten()

    def region_law(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of every region's mean over ``regions.REGIONS``: conditional mean, sd, and change per decade of age."""
        weight = _region_weights(self.grid).to(self.mean)
        variance = ((weight @ self.factors.flatten(1).T) ** 2).sum(1)
        flat = self.noise.flatten()
        noise = torch.stack([flat[keep.to(flat.device)] @ power.to(flat) for keep, power in _region_noise(self.grid)])
        return weight @ self.mean.flatten(), (variance + noise).sqrt(), weight @ self.slope.flatten()


def make_law(grid: Grid, age: float, activity: Tensor, slope: Tensor, changes: Tensor) -> Law:
    """The law of the PET of an activity distribution.

    Args:
        grid: where the PET is wanted.
        age: of the person when scanned.
        activity: SUVR before blur on ``WORK``.
        slope: its change per decade of age.
        changes: ``[K, *WORK.shape]``, its change per unit of each Gaussian factor.
    """
    axes = blur_axes(grid, PSF_FWHM)
    blurred = apply_axes(blur_axes(WORK, PSF_FWHM), activity).clamp_min(0)
    mean, tilt = apply_axes(axes, torch.stack([activity, slope]))
    return Law(grid, mean, apply_axes(axes, changes), tilt, (NOISE_SD * _noise_gain()) ** 2 * blurred, age)
