"""The exact log-likelihood of an image term by term, and the transport of a PET from one law to another.

A flow's log-likelihood is a Gaussian's of each level's latent plus the log-determinants. The Gaussian's terms have a
place: a latent at level l lies over a block of 2^l voxels a side (and sees a neighbourhood around it, through the
couplings). The determinants of the couplings are known here per level alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..flow import MultiScaleFlow, spatial_sum
from .dualglow import DualGlow
from .link import LinkOutput

__all__ = ["LevelTerms", "LogLikelihood", "chi_square_percentile", "mri_likelihood", "pet_likelihood", "transport"]

_LOG_2PI = math.log(2 * math.pi)


@dataclass
class LevelTerms:
    """One level's part of a log-likelihood, in nats, ``(B,)`` each.

    Attributes:
        dims: numbers in its latent; 0 at the finer levels of a flow without splits.
        gaussian: log-density of the latent under its law.
        log_det: log-determinant of the level's steps.
        chi_square: Σ ((z − mean) / sigma)²; under the law it follows χ² with ``dims`` degrees of freedom, exactly.
        energy: the same by place, ``(B, *spatial)`` on the image's lattice; sums to ``chi_square``. At a top level in
            frequency space the standardised latent is brought back to places first, which keeps the sum of its squares.
        density: ``gaussian`` by place likewise; what the sigmas of frequencies add is spread evenly.
    """

    dims: int
    gaussian: Tensor
    log_det: Tensor
    chi_square: Tensor
    energy: Tensor
    density: Tensor


@dataclass
class LogLikelihood:
    """log p of each image of a batch: ``total`` = ``image`` + Σ over levels of ``gaussian`` + ``log_det``, in nats.

    Attributes:
        total: ``(B,)``, a density over images in the model's units, which span 0..1.
        levels: finest first.
        image: log-determinant of the standardisation by the link's image law, ``(B,)``; 0 without one.
        image_density: the same by place, ``(B, *spatial)``; what the covariance patterns add is spread evenly.
    """

    total: Tensor
    levels: list[LevelTerms]
    image: Tensor
    image_density: Tensor

    @property
    def chi_square(self) -> Tensor:
        return sum(level.chi_square for level in self.levels)

    @property
    def energy(self) -> Tensor:
        """χ² by place, ``(B, *spatial)``: under the law each voxel's expectation is the number of image channels."""
        return sum(level.energy for level in self.levels)


def chi_square_percentile(value: float, dims: int) -> float:
    """How many per cent of the χ² law with ``dims`` degrees of freedom lie below ``value``."""
    half = torch.tensor([dims / 2, value / 2], dtype=torch.float64)
    return 100 * float(torch.special.gammainc(half[0], half[1]))


@contextmanager
def _log_dets(flow: MultiScaleFlow) -> Iterator[list[list[Tensor]]]:
    """Collects the log-determinants of the steps of each level while ``flow`` runs forward, without gradients."""
    found: list[list[Tensor]] = [[] for _ in flow.levels]
    places = [(step, level) for level, steps in enumerate(flow.levels) for step in steps]
    if flow.top is not None:
        places.append((flow.top, len(flow.levels) - 1))
    hooks = [
        layer.register_forward_hook(lambda _, __, outputs, level=level: found[level].append(outputs[1]))
        for layer, level in places
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _spread(values: Tensor, shape: Sequence[int]) -> Tensor:
    """``(B, *coarse)`` to ``(B, *shape)``: each value divided among the voxels of its block."""
    for axis, side in enumerate(shape, start=1):
        times = side // values.shape[axis]
        values = values.repeat_interleave(times, axis) / times
    return values


def _terms(
    flow: MultiScaleFlow,
    shape: Sequence[int],
    latents: Sequence[Tensor],
    means: Sequence[Tensor],
    log_sigmas: Sequence[Tensor],
    log_dets: Sequence[Sequence[Tensor]],
) -> list[LevelTerms]:
    first = len(flow.levels) - len(latents)  # without splits only the last level has a latent
    batch = len(latents[0])
    levels = []
    for level, changes in enumerate(log_dets):
        log_det = sum(changes, latents[0].new_zeros(batch))
        if level < first:
            none, empty = log_det.new_zeros(batch), log_det.new_zeros(batch, *shape)
            levels.append(LevelTerms(0, none, log_det, none, empty, empty))
            continue
        z, mean = latents[level - first], means[level - first]
        log_sigma = log_sigmas[level - first].expand_as(z)
        noise = (z - mean) * torch.exp(-log_sigma)
        offset = -0.5 * _LOG_2PI * z.shape[1] - log_sigma.sum(1)
        if level == len(flow.levels) - 1 and flow.top is not None:
            noise = flow.top.inverse(noise)
            offset = offset.flatten(1).mean(1).reshape(-1, *[1] * len(shape)).expand_as(offset)
        square = noise.square().sum(1)
        density = offset - 0.5 * square
        sums = spatial_sum(density), log_det, spatial_sum(square)
        levels.append(LevelTerms(z[0].numel(), *sums, _spread(square, shape), _spread(density, shape)))
    return levels


@torch.no_grad()
def pet_likelihood(model: DualGlow, pet: Tensor, law: LinkOutput) -> LogLikelihood:
    """log p(x_p | x_m, c), what ``DualGlow.pet_log_prob`` gives, in parts.

    Args:
        model: in evaluation mode.
        pet: ``(B, channels, *spatial)``; the density is that of images with the noise of training added.
        law: of the link, for one or for each of them.
    """
    with _log_dets(model.pet_flow) as log_dets:
        x, image = model.standardised(pet, law.image)
        latents, change = model.pet_flow(x, law.contexts)
    log_scale = torch.zeros_like(pet) if law.image is None else law.image.log_scale.expand_as(pet)
    even = (image + spatial_sum(log_scale)) / math.prod(pet.shape[2:])
    levels = _terms(model.pet_flow, pet.shape[2:], latents, law.means, law.log_sigmas, log_dets)
    return LogLikelihood(
        image + change + sum(level.gaussian for level in levels),
        levels,
        image,
        even.reshape(-1, *[1] * (pet.dim() - 2)) - log_scale.sum(1),
    )


@torch.no_grad()
def mri_likelihood(model: DualGlow, mri: Tensor) -> LogLikelihood:
    """log p(x_m), as ``pet_likelihood``: N(0, I) on every latent."""
    with _log_dets(model.mri_flow) as log_dets:
        latents, total = model.mri_flow(mri - 0.5)
    zeros = [z.new_zeros(1) for z in latents]
    levels = _terms(model.mri_flow, mri.shape[2:], latents, zeros, zeros, log_dets)
    empty = torch.zeros_like(mri).sum(1)
    return LogLikelihood(
        total + sum(level.gaussian for level in levels), levels, total.new_zeros(len(mri)), empty
    )  # fmt: skip


@torch.no_grad()
def transport(model: DualGlow, pet: Tensor, source: LinkOutput, target: LinkOutput) -> Tensor:
    """The PET that has under ``target`` the noise, (z − mean) / sigma at each level, that ``pet`` has under ``source``.

    What the covariates and the MRI don't explain of a PET stays the person's own (Pearl's counterfactual: abduction,
    action, prediction). A PET drawn from ``source`` becomes one drawn from ``target``.
    """
    latents, _ = model.pet_latents(pet, source)
    moved = []
    for i, z in enumerate(latents):
        noise = (z - source.means[i]) * torch.exp(-source.log_sigmas[i])
        moved.append(target.means[i] + torch.exp(target.log_sigmas[i]) * noise)
    return model.pet_from_latents(moved, target)
