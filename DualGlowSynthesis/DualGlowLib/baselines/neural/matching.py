"""Conditional flow matching, today's peer: an ordinary differential equation from noise to the PET, by a U-Net."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...preparation.t1 import PreparedT1
from ...values import bounded, one_of
from ..method import Losses, Method, MethodConfig, Settings, sample_seed, seeded
from .monai import need_monai
from .networks import GROUPS, check_levels, with_maps

__all__ = ["FlowMatchingMethod"]

_TIMES = 1000.0  # what MONAI's embedding of time is made for


@dataclass(frozen=True)
class FlowMatchingSettings(Settings):
    """Settings of ``flow-matching``.

    Attributes:
        widths: channels of each level of the U-Net, the finest first.
        blocks: residual blocks a level.
        solver: ``"heun"``, which asks the network twice a step, or ``"euler"``.
        solver_steps: steps from noise to PET.
    """

    widths: tuple[int, ...] = bounded((16, 48, 128), 8, 4096)
    blocks: int = bounded(1, 1, 16)
    solver: str = one_of("heun", "heun", "euler")
    solver_steps: int = bounded(8, 1, 1000)


class FlowMatchingMethod(Method):
    """Straight paths from noise to the PET's difference from the mean, in standard deviations (Lipman 2023).

    Its one PET is where the path of no noise ends.
    """

    label = "flow matching"
    reference = "Lipman Y. et al., Flow matching for generative modeling, ICLR 2023"
    settings_type = FlowMatchingSettings

    def __init__(self, config: MethodConfig, pet_scale: float = 1.0, for_training: bool = False) -> None:
        super().__init__(config, pet_scale)
        chosen = config.settings
        self.net = need_monai(config.method).nets.DiffusionModelUNet(
            config.dims,
            2 + config.codes,
            1,
            num_res_blocks=chosen.blocks,
            channels=chosen.widths,
            attention_levels=[False] * len(chosen.widths),
            norm_num_groups=GROUPS,
            num_head_channels=GROUPS,
            use_flash_attention=True,  # of the middle, whose places are many on fine grids
        )

    @classmethod
    def check(cls, config: MethodConfig) -> None:
        need_monai(config.method)
        check_levels(config, config.settings.widths)

    def velocity(self, state: Tensor, time: Tensor, given: Tensor) -> Tensor:
        """Of a state ``(B, 1, *shape)`` at times ``(B,)``, 0 to 1."""
        return self.net(torch.cat([state, given], 1), _TIMES * time)

    def forward(self, pet, mri, covariates, known=None, progress=1.0, image_only=False) -> Losses:
        true = (pet - self.mean) / self.sd
        noise, time = torch.randn_like(true), torch.rand(len(true), device=true.device)
        place = time.reshape(-1, *[1] * (true.dim() - 1))
        found = self.velocity((1 - place) * noise + place * true, time, with_maps(mri, covariates))
        return Losses((found - (true - noise)).square().flatten(1).mean(1))

    def solved(self, noise: Tensor, given: Tensor) -> Tensor:
        """Where the path that begins at a noise ends."""
        chosen, state = self.config.settings, noise
        step = 1 / chosen.solver_steps
        for number in range(chosen.solver_steps):
            time = noise.new_full((len(noise),), number * step)
            slope = self.velocity(state, time, given)
            if chosen.solver == "heun":
                slope = 0.5 * (slope + self.velocity(state + step * slope, time + step, given))
            state = state + step * slope
        return state

    def image(self, mri: Tensor, covariates: Tensor) -> Tensor:
        return self.mean + self.sd * self.solved(torch.zeros_like(mri), with_maps(mri, covariates))

    @torch.no_grad()
    def sample(
        self, prepared: PreparedT1, covariates: Mapping[str, object], samples: int, seed: int, /
    ) -> Iterator[np.ndarray]:
        """PETs where the paths of noises end."""
        given = with_maps(*self.inputs(prepared, covariates))
        for number in range(samples):
            with seeded(sample_seed(seed, number), self.mean.device):
                noise = torch.randn_like(self.mean)
            yield self.suvr(self.mean + self.sd * self.solved(noise, given))
