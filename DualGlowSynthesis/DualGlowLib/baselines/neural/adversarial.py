"""Baselines of the paper with a discriminator: cGAN, UcGAN and pix2pix.

Generator and discriminator take their steps at the same time: the discriminator's loss has no gradient in the
generator, nor the generator's in the discriminator, so that one optimiser serves both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ...preparation.t1 import PreparedT1
from ...training.data import Cohort
from ...values import bounded, one_of
from ..method import Losses, Method, MethodConfig, Settings, sample_seed, seeded
from .monai import need_monai
from .networks import GROUPS, check_levels, convolution, halving, unet, with_maps

__all__ = ["CGanMethod", "Pix2PixMethod", "UCGanMethod"]


@dataclass(frozen=True)
class AdversarialSettings(Settings):
    """Settings of ``cgan``.

    Attributes:
        loss: ``"l1"`` or ``"l2"``, of the image, whose values span −1 to 1 for it.
        image_weight: of that loss.
        gradient_weight: of the difference between the images' gradients (Nie's GDL).
        adversarial_weight: of the discriminator's verdict.
        width: channels of the generator's convolutions.
        discriminator_width: channels of the discriminator's first block.
    """

    loss: str = one_of("l2", "l1", "l2")
    image_weight: float = bounded(100.0, 0)
    gradient_weight: float = bounded(10.0, 0)
    adversarial_weight: float = bounded(0.5, 0)
    width: int = bounded(32, 8, 4096)
    discriminator_width: int = bounded(16, 8, 4096)


@dataclass(frozen=True)
class UCGanSettings(AdversarialSettings):
    """Settings of ``ucgan``: those of ``cgan``, but for its width.

    Attributes:
        widths: channels of each level of the generator, the finest first.
    """

    width: int = 0
    widths: tuple[int, ...] = bounded((32, 64, 128, 192), 8, 4096)


class CGanMethod(Method):
    """Nie's: twelve convolutions at full resolution; a discriminator of eight residual blocks."""

    label = "cGAN"
    reference = "Nie D. et al., Medical image synthesis with context-aware generative adversarial networks, MICCAI 2017"
    settings_type = AdversarialSettings
    training_settings: ClassVar[Mapping[str, Any]] = {"clip": 1000.0}  # the image's weight makes all gradients large

    def __init__(self, config: MethodConfig, pet_scale: float = 1.0, for_training: bool = False) -> None:
        super().__init__(config, pet_scale)
        self.net = self.generator()
        self.critic = self.discriminator(2 + config.codes) if for_training else None

    @classmethod
    def check(cls, config: MethodConfig) -> None:
        need_monai(config.method)
        check_levels(config, (config.settings.width,) * 2)

    def generator(self) -> nn.Module:
        """From T1 and maps of the covariates to what the PET differs from the mean, in standard deviations."""
        config, blocks = self.config, need_monai(self.config.method).blocks
        widths = [1 + config.codes, *[config.settings.width] * 11]
        norm = ("GROUP", {"num_groups": GROUPS})
        layers = [
            blocks.Convolution(config.dims, before, after, norm=norm, act="PRELU") for before, after in pairwise(widths)
        ]
        return nn.Sequential(*layers, convolution(config.dims, widths[-1], 1, 3))

    def discriminator(self, channels: int) -> nn.Module:
        """From T1, maps of the covariates and a PET, as the generator gives it, to a logit or a map of them."""
        config = self.config
        first = config.settings.discriminator_width
        widths = [channels, *(first * 2 ** (block // 2) for block in range(8))]
        blocks = halving(config.method, config.dims, widths, [2 - block % 2 if block < 6 else 1 for block in range(8)])
        return nn.Sequential(*blocks, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(widths[-1], 1))

    def image(self, mri: Tensor, covariates: Tensor) -> Tensor:
        return self.mean + self.sd * self.net(with_maps(mri, covariates))

    def forward(self, pet, mri, covariates, known=None, progress=1.0, image_only=False) -> Losses:
        chosen, given = self.config.settings, with_maps(mri, covariates)
        made = self.net(given)
        difference = 2 * (self.mean + self.sd * made - pet)
        error = (difference.abs() if chosen.loss == "l1" else difference.square()).flatten(1).mean(1)
        if not self.training:  # of cases kept out, by which runs are compared
            return Losses(error)
        true = (pet - self.mean) / self.sd
        frozen = {name: weight.detach() for name, weight in self.critic.named_parameters()}
        verdict = torch.func.functional_call(self.critic, frozen, (torch.cat([given, made], 1),))
        terms = {"image": error, "adversarial": _entropy(verdict, 1.0)}
        loss = chosen.image_weight * error + chosen.adversarial_weight * terms["adversarial"]
        if chosen.gradient_weight:
            terms["edges"] = _gradient_difference(2 * (self.mean + self.sd * made), 2 * pet)
            loss = loss + chosen.gradient_weight * terms["edges"]
        verdicts = self.critic(torch.cat([given, true], 1)), self.critic(torch.cat([given, made.detach()], 1))
        terms["discriminator"] = 0.5 * (_entropy(verdicts[0], 1.0) + _entropy(verdicts[1], 0.0))
        return Losses(loss + terms["discriminator"], terms)

    def finish(self, cohort: Cohort, held_out: Cohort) -> None:
        self.critic = None


class UCGanMethod(CGanMethod):
    """A U-Net generates; the discriminator is cGAN's."""

    label = "UcGAN"
    reference = "Sun H. et al., DUAL-GLOW, ICCV 2019, table 1"
    settings_type = UCGanSettings

    @classmethod
    def check(cls, config: MethodConfig) -> None:
        need_monai(config.method)
        check_levels(config, config.settings.widths)

    def generator(self) -> nn.Module:
        config = self.config
        return unet(config.method, config.dims, 1 + config.codes, config.settings.widths)


@dataclass(frozen=True)
class Pix2PixSettings(Settings):
    """Settings of ``pix2pix``.

    Attributes:
        loss, image_weight, gradient_weight, adversarial_weight: as of ``cgan``.
        widths: channels of each level of the generator, the finest first.
        dropout: share of the generator's features that is left out at random, also when it draws samples.
        discriminator_width: channels of the discriminator's first layer.
        discriminator_layers: its layers that halve the image; each verdict is on a patch.
    """

    loss: str = one_of("l1", "l1", "l2")
    image_weight: float = bounded(100.0, 0)
    gradient_weight: float = bounded(0.0, 0)
    adversarial_weight: float = bounded(1.0, 0)
    widths: tuple[int, ...] = bounded((32, 64, 128, 192), 8, 4096)
    dropout: float = bounded(0.2, 0, 0.95)
    discriminator_width: int = bounded(32, 8, 4096)
    discriminator_layers: int = bounded(3, 1, 8)


class Pix2PixMethod(UCGanMethod):
    """Isola's in three dimensions: a U-Net with dropout, and a discriminator of patches."""

    label = "pix2pix"
    reference = "Isola P. et al., Image-to-image translation with conditional adversarial networks, CVPR 2017"
    settings_type = Pix2PixSettings

    def generator(self) -> nn.Module:
        config = self.config
        chosen = config.settings
        return unet(config.method, config.dims, 1 + config.codes, chosen.widths, chosen.dropout)

    def discriminator(self, channels: int) -> nn.Module:
        chosen, nets = self.config.settings, need_monai(self.config.method).nets
        return _Last(
            nets.PatchDiscriminator(
                self.config.dims, chosen.discriminator_width, channels, num_layers_d=chosen.discriminator_layers,
                norm=("GROUP", {"num_groups": GROUPS}),
            )
        )  # fmt: skip

    @torch.no_grad()
    def sample(
        self, prepared: PreparedT1, covariates: Mapping[str, object], samples: int, seed: int, /
    ) -> Iterator[np.ndarray]:
        """PETs by the generator with its dropout, the only noise that it has."""
        given = self.inputs(prepared, covariates)
        for number in range(samples):
            with seeded(sample_seed(seed, number), self.mean.device):
                self.net.train()
                image = self.image(*given)
                self.net.eval()
            yield self.suvr(image)


class _Last(nn.Module):
    """The last of the features that a network gives."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image)[-1]


def _entropy(logits: Tensor, truth: float) -> Tensor:
    """Binary cross-entropy, ``(B,)``."""
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth), reduction="none").flatten(1).mean(1)


def _gradient_difference(made: Tensor, true: Tensor) -> Tensor:
    """Squared difference of the absolute differences between neighbours, ``(B,)``."""
    axes = range(2, made.dim())
    return sum((made.diff(dim=axis).abs() - true.diff(dim=axis).abs()).square().flatten(1).mean(1) for axis in axes)
