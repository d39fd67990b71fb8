"""Discriminators: networks that read the covariates off latents while the model trains (paper §3.3, eq. 16)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .covariates import Covariate, columns
from .reversal import reversal_factor, reverse_gradient

__all__ = ["Discriminator", "Discriminators", "covariate_loss", "surprise"]

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_SMALL = 4  # a lattice with a side of at most this many voxels is read as it is


def covariate_loss(covariates: Sequence[Covariate], outputs: Tensor, targets: Tensor) -> Tensor:
    """Sum over the attributes that are known of each one's loss, ``(B,)``; 0 for a case of which nothing is known.

    The square of the error in standard deviations for a numeric attribute, cross-entropy in nats for a categorical one.

    Args:
        covariates: the attributes.
        outputs: ``(B, Σ heads)``, one number for a numeric attribute and a logit per category.
        targets: ``(B, Σ size)`` from ``encode_covariates``, which says itself what is missing.
    """
    loss, start = outputs.new_zeros(len(outputs)), 0
    for covariate, place in zip(covariates, columns(covariates), strict=True):
        target = targets[:, place]
        if covariate.kind == "numeric":
            loss = loss + target[:, 1] * (outputs[:, start] - target[:, 0]).square()
            start += 1
        else:
            logits = outputs[:, start : start + covariate.size]
            loss = loss - (target * F.log_softmax(logits, 1)).sum(1)
            start += covariate.size
    return loss


def surprise(covariates: Sequence[Covariate], outputs: Tensor, codes: Tensor) -> Tensor:
    """``codes`` less what a discriminator's ``outputs`` expect of them, ``(B, Σ size)``; 0 where nothing is known.

    A numeric attribute keeps its flag. ``outputs`` may be those of one case for all rows of ``codes``.
    """
    parts, start = [], 0
    for covariate, place in zip(covariates, columns(covariates), strict=True):
        code = codes[:, place]
        if covariate.kind == "numeric":
            known = code[:, 1:]
            parts += [known * (code[:, :1] - outputs[:, start : start + 1]), known]
            start += 1
        else:
            expected = F.softmax(outputs[:, start : start + covariate.size], 1)
            parts.append(code - code.sum(1, keepdim=True) * expected)
            start += covariate.size
    return torch.cat(parts, 1)


class Discriminator(nn.Module):
    """From one latent ``(B, C, *spatial)`` to a head per attribute: convolutions, then two layers with SiLU between.

    As many strided convolutions as bring the shortest side to 4 voxels (the paper's "adaptive number of layers"), so
    that what is left is small and still knows where it lies. Each ends in a normalisation over the whole volume: a flow
    that makes its latents large or small hides nothing from it.
    """

    def __init__(self, shape: Sequence[int], covariates: Sequence[Covariate], width: int, hidden: int) -> None:
        super().__init__()
        channels, *space = shape
        layers: list[nn.Module] = []
        while not layers or min(space) > _SMALL:
            stride = 2 if min(space) > _SMALL else 1
            layers += [_CONV[len(space)](channels, width, 3, stride, padding=1), nn.GroupNorm(1, width), nn.SiLU()]
            channels, space = width, [(side - 1) // stride + 1 for side in space]
        voxels = torch.Size(space).numel()
        heads = sum(1 if covariate.kind == "numeric" else covariate.size for covariate in covariates)
        self.net = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(width * voxels, hidden), nn.SiLU(), nn.Linear(hidden, heads)
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)


class Discriminators(nn.Module):
    """One per level of the MRI flow and one for the PET's top latent: five for the paper's four levels.

    Those of the MRI's levels below the top lie behind a gradient reversal: they learn to read the covariates, and the
    flow learns to leave nothing to read. Those of both top levels do not: there the covariates are to stay.
    """

    def __init__(self, config: ModelConfig, mri: Sequence[Sequence[int]], pet: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.covariates, self.config = config.covariates, config.discriminators
        sizes = self.covariates, self.config.width, self.config.hidden
        self.mri = nn.ModuleList(Discriminator(shape, *sizes) for shape in mri)
        self.pet = Discriminator(pet[-1], *sizes)

    def forward(
        self, mri: Sequence[Tensor], pet: Sequence[Tensor], targets: Tensor, progress: float
    ) -> dict[str, Tensor]:
        """Each one's loss, ``(B,)``: ``mri_1`` (finest) to ``mri_k`` (top), and ``pet``.

        Args:
            mri, pet: latents of both images, finest first.
            targets: ``(B, Σ size)``, the covariates as they are, without any dropout.
            progress: share of the training done, for the schedule of the reversal.
        """
        factor = self.config.reversal * reversal_factor(self.config.schedule, progress)
        losses = {}
        for level, (net, z) in enumerate(zip(self.mri, mri, strict=True), 1):
            outputs = net(z if level == len(mri) else reverse_gradient(z, factor))
            losses[f"mri_{level}"] = covariate_loss(self.covariates, outputs, targets)
        losses["pet"] = covariate_loss(self.covariates, self.pet(pet[-1]), targets)
        return losses
