"""A plain U-Net that predicts the PET from T1 and covariates, and the Gaussian law of what it leaves over."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...model import encode_covariates
from ...preparation.t1 import PreparedT1
from ...training.data import Cohort
from ...values import bounded, one_of
from ..method import Losses, Method, MethodConfig, Settings, evenly
from .monai import need_monai
from .networks import check_levels, unet, with_maps
from .residuals import ResidualLaw

__all__ = ["UNetMethod"]

_MOST = 64  # cases whose residuals are looked at


@dataclass(frozen=True)
class UNetSettings(Settings):
    """Settings of ``unet``.

    Attributes:
        loss: ``"l1"`` or ``"l2"``, of the image.
        widths: channels of each level, the finest first.
        patterns: of the law of the residuals, see ``ResidualLaw``.
    """

    loss: str = one_of("l1", "l1", "l2")
    widths: tuple[int, ...] = bounded((32, 64, 128, 192), 8, 4096)
    patterns: int = bounded(16, 0, 4096)


class UNetMethod(Method):
    """A U-Net gives the PET as the training cases' mean and what differs from it, in standard deviations by voxel."""

    label = "U-Net"
    reference = "Çiçek Ö. et al., 3D U-Net: Learning dense volumetric segmentation from sparse annotation, MICCAI 2016"
    settings_type = UNetSettings

    def __init__(self, config: MethodConfig, pet_scale: float = 1.0, for_training: bool = False) -> None:
        super().__init__(config, pet_scale)
        self.net = unet(config.method, config.dims, 1 + config.codes, config.settings.widths)
        self.law = ResidualLaw(config.shape, config.settings.patterns)

    @classmethod
    def check(cls, config: MethodConfig) -> None:
        need_monai(config.method)
        check_levels(config, config.settings.widths)

    def forward(self, pet, mri, covariates, known=None, progress=1.0, image_only=False) -> Losses:
        difference = (self.image(mri, covariates) - pet).flatten(1)
        return Losses((difference.abs() if self.config.settings.loss == "l1" else difference.square()).mean(1))

    def image(self, mri: Tensor, covariates: Tensor) -> Tensor:
        return self.mean + self.sd * self.net(with_maps(mri, covariates))

    @torch.no_grad()
    def finish(self, cohort: Cohort, held_out: Cohort) -> None:
        self.law.fit(*(self._residuals(some) for some in (cohort, held_out)))

    def _residuals(self, cohort: Cohort) -> Tensor:
        """Of cases evenly taken, ``(n, *shape)``."""
        indices = evenly(len(cohort), _MOST)
        found = torch.zeros(len(indices), *self.config.shape)
        for row, index in zip(found, indices, strict=True):
            batch = cohort.batch([index])
            code = encode_covariates(self.config.covariates, batch.covariates, self.mean.device)
            row.copy_((batch.pet.to(self.mean) - self.image(batch.mri.to(self.mean), code))[0, 0])
        return found

    @torch.no_grad()
    def sample(
        self, prepared: PreparedT1, covariates: Mapping[str, object], samples: int, seed: int, /
    ) -> Iterator[np.ndarray]:
        """The prediction plus residuals from their law."""
        image = self.image(*self.inputs(prepared, covariates))
        for residual in self.law.draw(samples, seed):
            yield self.suvr(image + residual)

    @torch.no_grad()
    def log_prob(self, prepared: PreparedT1, covariates: Mapping[str, object], pet: np.ndarray, /) -> float:
        """Of the PET with the noise that DUAL-GLOW's training adds, drawn from a fixed seed."""
        image = self.image(*self.inputs(prepared, covariates))[0, 0]
        given = torch.from_numpy(np.ascontiguousarray(pet, dtype=np.float32)).to(image) / self.pet_scale
        return self.law.log_prob(given - image) - image.numel() * math.log(self.pet_scale)
