"""C-VAE, a baseline of the paper: a conditional variational autoencoder in the shape of a U-Net."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...preparation.t1 import PreparedT1
from ...values import bounded
from ..method import Losses, Method, MethodConfig, Settings, sample_seed, seeded
from .monai import need_monai
from .networks import check_levels, convolution, halving, with_maps

__all__ = ["CVaeMethod"]


@dataclass(frozen=True)
class CVaeSettings(Settings):
    """Settings of ``cvae``.

    Attributes:
        widths: channels of each of the four levels, the finest first.
        latent: channels of the latent, which has the coarsest level's places.
    """

    widths: tuple[int, int, int, int] = bounded((16, 64, 96, 128), 8, 4096)
    latent: int = bounded(16, 1, 4096)


class CVaeMethod(Method):
    """``z ~ N(0, I)``, ``PET ~ N(decoder(T1, z), σ² sd²)``; thirteen residual blocks.

    Four encode T1 and covariates, four T1, covariates and PET to the latent's law in training, five decode. σ is
    learned, so that nothing has to weigh the image against the latent.
    """

    label = "C-VAE"
    reference = (
        "Sohn K. et al., Learning structured output representation using deep conditional generative models, "
        "NeurIPS 2015"
    )
    settings_type = CVaeSettings

    def __init__(self, config: MethodConfig, pet_scale: float = 1.0, for_training: bool = False) -> None:
        super().__init__(config, pet_scale)
        method, dims, chosen = config.method, config.dims, config.settings
        widths, latent, given = chosen.widths, chosen.latent, 1 + config.codes
        self.encoder = nn.ModuleList(halving(method, dims, (given, *widths), (1, 2, 2, 2)))
        self.posterior = None
        if for_training:
            law = convolution(dims, widths[-1], 2 * latent, 1)
            self.posterior = nn.Sequential(*halving(method, dims, (given + 1, *widths), (1, 2, 2, 2)), law)
        ups = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.decoder = nn.ModuleList(
            [
                *halving(method, dims, (widths[-1] + latent, widths[-1]), (1,)),
                *(halving(method, dims, (below + skip, skip), (1,))[0] for below, skip in ups),
                *halving(method, dims, (widths[0], widths[0]), (1,)),
            ]
        )
        self.last = convolution(dims, widths[0], 1, 1)
        self.log_sigma = nn.Parameter(torch.zeros(()))

    @classmethod
    def check(cls, config: MethodConfig) -> None:
        need_monai(config.method)
        check_levels(config, config.settings.widths)

    def decoded(self, given: Tensor, latent: Tensor) -> Tensor:
        """The mean of the PET's law, as its difference from the mean image in standard deviations."""
        features = [given]
        for block in self.encoder:
            features.append(block(features[-1]))
        bottom, *ups, last = self.decoder
        x = bottom(torch.cat([features[-1], latent], 1))
        for block, skip in zip(ups, features[-2:0:-1], strict=True):
            x = block(torch.cat([nn.functional.interpolate(x, scale_factor=2), skip], 1))
        return self.last(last(x))

    def _latent_shape(self, count: int) -> tuple[int, ...]:
        return count, self.config.settings.latent, *(side // 8 for side in self.config.shape)

    def image(self, mri: Tensor, covariates: Tensor) -> Tensor:
        """At the latent's mean."""
        nothing = mri.new_zeros(self._latent_shape(len(mri)))
        return self.mean + self.sd * self.decoded(with_maps(mri, covariates), nothing)

    def forward(self, pet, mri, covariates, known=None, progress=1.0, image_only=False) -> Losses:
        """Minus the evidence's lower bound in nats a voxel; in evaluation too, where the run is one of training."""
        given, true = with_maps(mri, covariates), (pet - self.mean) / self.sd
        mean, log_sd = self.posterior(torch.cat([given, true], 1)).chunk(2, 1)
        log_sd = log_sd.clamp(-10, 5)
        latent = mean + log_sd.exp() * torch.randn_like(mean)
        voxels = math.prod(self.config.shape)
        error = (self.decoded(given, latent) - true).square().flatten(1).mean(1)
        log_sigma = self.log_sigma.clamp(-7, 5)
        image = 0.5 * error * torch.exp(-2 * log_sigma) + log_sigma + 0.5 * math.log(2 * math.pi)
        divergence = (0.5 * (mean.square() + (2 * log_sd).exp() - 1) - log_sd).flatten(1).sum(1) / voxels
        return Losses(image + divergence, {"image": error, "divergence": divergence})

    def finish(self, cohort, held_out) -> None:
        self.posterior = None

    @torch.no_grad()
    def sample(
        self, prepared: PreparedT1, covariates: Mapping[str, object], samples: int, seed: int, /
    ) -> Iterator[np.ndarray]:
        """PETs of latents from their prior, with the noise that the law of the image has."""
        given = with_maps(*self.inputs(prepared, covariates))
        for number in range(samples):
            with seeded(sample_seed(seed, number), self.mean.device):
                latent = torch.randn(self._latent_shape(1), device=self.mean.device)
                noise = torch.randn_like(self.mean)
            image = self.decoded(given, latent) + self.log_sigma.clamp(-7, 5).exp() * noise
            yield self.suvr(self.mean + self.sd * image)
