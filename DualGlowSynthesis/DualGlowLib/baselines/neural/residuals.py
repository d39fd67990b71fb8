"""The law of what a prediction leaves over: Gaussian, with covariance patterns over the whole image."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..method import PET_NOISE, sample_seed

__all__ = ["ResidualLaw"]

_NOISE = 0  # seed of the noise that a PET gets before its density is asked for


class ResidualLaw(nn.Module):
    """``N(0, Σ pᵢ pᵢᵀ + diag(variance))``: a few patterns, and what they leave over by voxel.

    With independent voxels alone, intervals of region means would be far too narrow. Images are in the units of a
    cohort.

    Args:
        shape: of the images.
        rank: how many patterns.
    """

    def __init__(self, shape: tuple[int, ...], rank: int = 16) -> None:
        super().__init__()
        self.register_buffer("patterns", torch.zeros(rank, *shape))
        self.register_buffer("variance", torch.full(shape, PET_NOISE**2))

    def fit(self, residuals: Tensor, held_out: Tensor) -> None:
        """The leading principal components, about zero, and the rest.

        Args:
            residuals: of training cases, ``(n, *shape)``, which give the patterns.
            held_out: of cases that were not trained on, which give the size; none: that of the training cases, which
                is too small for a network that has learned them by heart.
        """
        flat, count = residuals.flatten(1).double(), len(residuals)
        if len(held_out):
            flat = flat * (held_out.double().square().mean() / flat.square().mean().clamp_min(1e-30)).sqrt()
        values, vectors = torch.linalg.eigh(flat @ flat.T)
        leading = vectors[:, values.argsort(descending=True)[: min(len(self.patterns), count - 1)]]
        found = (leading.T @ flat) / math.sqrt(count)
        signs = torch.where(found.sum(1, keepdim=True) < 0, -1.0, 1.0)  # which way round is arbitrary
        self.patterns.zero_()
        self.patterns[: len(found)] = (signs * found).reshape(len(found), *residuals.shape[1:]).to(self.patterns)
        rest = flat.square().mean(0) - found.square().sum(0)
        self.variance.copy_((rest.clamp_min(0) + PET_NOISE**2).reshape(self.variance.shape))

    def draw(self, samples: int, seed: int) -> Iterator[Tensor]:
        """Residual images of that many samples, each of the grid's shape."""
        for number in range(samples):
            generator = torch.Generator().manual_seed(sample_seed(seed, number))
            weights = torch.randn(len(self.patterns), generator=generator).to(self.patterns)
            noise = torch.randn(self.variance.shape, generator=generator).to(self.variance)
            yield torch.tensordot(weights, self.patterns, 1) + self.variance.sqrt() * noise

    def log_prob(self, residual: Tensor) -> float:
        """Natural logarithm of the density at an image, after the noise of ``PET_NOISE`` was added to it."""
        generator = torch.Generator().manual_seed(_NOISE)
        noise = PET_NOISE * torch.randn(residual.shape, generator=generator)
        law = torch.distributions.LowRankMultivariateNormal(
            torch.zeros(residual.numel(), dtype=torch.float64),
            self.patterns.flatten(1).T.double().cpu(),
            self.variance.flatten().double().cpu(),
            validate_args=False,
        )
        return float(law.log_prob((residual.cpu() + noise).flatten().double()))
