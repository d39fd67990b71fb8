"""iGlow, a baseline of the paper (appendix 6.2): one Glow over T1 and PET together.

It learns the joint density p(x_m, x_p). The PET of a T1 is then looked for, not computed: the voxels x_p are moved up
the gradient of log p(x_m, x_p) while x_m stays. The paper found this unstable. Here the ascent starts at the mean PET,
moves each voxel in units of its standard deviation in the training cohort, and returns the best image that it met.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..flow import FlowConfig, MultiScaleFlow, initialize
from ..model import Covariate
from ..preparation.t1 import PreparedT1
from ..training.data import T1_SCALE, Cohort
from ..training.optim import Adam
from ..values import bounded
from .method import Losses, Method, MethodConfig, Settings

__all__ = ["IGLOW", "IGlow", "IGlowMethod"]

IGLOW = FlowConfig(depths=(10,) * 4, widths=(512,) * 4)
"""The paper's: 4 levels of 10 couplings; the width, which it does not state here, is that of its other flows."""


def _cosine(optimizer: torch.optim.Optimizer, steps: int, warmup: int = 1) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate rises over ``warmup`` steps and falls to 0 along a cosine."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))
    )


class IGlow(nn.Module):
    """One flow over the channels of T1 and PET, N(0, I) on all its latents.

    Images are ``(B, channels, *spatial)`` in the units of a ``data.Cohort``, 0..1; only ``predict``, which makes it a
    ``Predictor``, takes and gives volumes. Training adds the noise that ``model.ModelConfig`` adds by default in the
    preset ``standard``. Its state is that of a module, the PETs' mean, standard deviation and scale included:
    ``state_dict`` holds all.

    Args:
        shape: spatial, 2 or 3 sides.
        flow: levels, depths and widths.
        channels: of the T1 and of the PET.
        noise: standard deviations of what is added to T1 and PET in training.
        seed: of the starting weights, the order of cases, augmentation and noise.
        ascent: steps up the gradient that ``predict`` takes.

    Raises:
        InputError: if the shape does not divide by 2^levels.
    """

    name = "iGlow"

    def __init__(
        self,
        shape: Sequence[int],
        flow: FlowConfig = IGLOW,
        channels: tuple[int, int] = (1, 1),
        noise: tuple[float, float] = (0.01, 0.008),
        seed: int = 0,
        ascent: int = 200,
    ) -> None:
        super().__init__()
        self.ascent = ascent
        self.shape, self.channels, self.noise, self.seed = tuple(shape), channels, noise, seed
        if any(side % 2 ** len(flow.depths) for side in self.shape):
            raise InputError(f"The grid {self.shape} does not divide by {2 ** len(flow.depths)}; take fewer levels.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.flow = MultiScaleFlow(sum(channels), len(self.shape), flow)
        self.flow.to(memory_format=torch.channels_last_3d if len(self.shape) == 3 else torch.channels_last)
        self.register_buffer("mean", torch.zeros(channels[1], *self.shape))
        self.register_buffer("sd", torch.ones(channels[1], *self.shape))
        self.register_buffer("pet_scale", torch.tensor(1.0))
        self.register_buffer("fitted", torch.tensor(False))

    def joint_log_prob(self, t1: Tensor, pet: Tensor) -> Tensor:
        """log p(x_m, x_p), ``(B,)``."""
        latents, log_det = self.flow(torch.cat([t1, pet], 1) - 0.5)
        squares = sum(z.square().flatten(1).sum(1) for z in latents)
        return log_det - 0.5 * (squares + math.log(2 * math.pi) * self._dimensions)

    def bits(self, t1: Tensor, pet: Tensor) -> Tensor:
        """Bits per dimension of both images together (nominally 8-bit), ``(B,)``."""
        return 8.0 - self.joint_log_prob(t1, pet) / (math.log(2) * self._dimensions)

    @property
    def _dimensions(self) -> int:
        return sum(self.channels) * math.prod(self.shape)

    def _batch(self, cohort: Cohort, indices: list[int], generator: torch.Generator, augment: bool) -> list[Tensor]:
        batch = cohort.batch(indices, generator if augment else None)
        pairs = zip((batch.mri, batch.pet), self.noise, strict=True)
        noisy = [image + sd * torch.randn(image.shape, generator=generator) for image, sd in pairs]
        return [image.to(self.mean.device) for image in noisy]

    def fit(
        self,
        cohort: Cohort,
        steps: int,
        batch: int = 4,
        learning_rate: float = 1e-3,
        augment: bool = True,
        report: Callable[[dict], None] | None = None,
    ) -> IGlow:
        """Maximise the likelihood of the cohort's pairs; a further call goes on from the weights, with a new optimiser.

        Args:
            cohort: a ``data.Cohort``, or what has its ``batch``, ``statistics`` and ``pet_scale``, as
                ``photos.PhotoPairs``.
            steps: of Adam, each on ``batch`` cases; one whose loss or gradient is not finite is skipped.
            learning_rate: at its highest; it rises over a tenth of the steps and falls to 0 along a cosine.
            augment: as ``Cohort.batch`` does it: flips, intensities.
            report: called with ``step``, ``bits`` and ``skipped`` after every step.
        """
        generator = self.set_from(cohort, augment)
        self.requires_grad_(True)
        optimizer = Adam(self.parameters(), lr=learning_rate, betas=(0.9, 0.99))
        schedule = _cosine(optimizer, steps, max(1, steps // 10))
        order: list[int] = []
        skipped = 0
        for step in range(1, steps + 1):
            if len(order) < min(batch, len(cohort)):
                order = torch.randperm(len(cohort), generator=generator).tolist()
            indices, order = order[:batch], order[batch:]
            bits = self.bits(*self._batch(cohort, indices, generator, augment)).mean()
            optimizer.zero_grad(set_to_none=True)
            bits.backward()
            norm = nn.utils.clip_grad_norm_(self.parameters(), 1.0)
            if torch.isfinite(bits) and torch.isfinite(norm):
                optimizer.step()
            else:
                skipped += 1
            schedule.step()
            if report:
                report({"step": step, "bits": bits.item(), "skipped": skipped})
        self.fitted.fill_(True)
        return self.eval()

    def set_from(self, cohort: Cohort, augment: bool = False) -> torch.Generator:
        """What the flow begins with, from the cases: their PETs' mean and spread, and the ActNorms.

        Returns:
            The source of what is random afterwards.
        """
        generator = torch.Generator().manual_seed(self.seed)
        mean, sd = cohort.statistics()
        self.pet_scale.fill_(cohort.pet_scale)
        self.mean.copy_(mean)
        self.sd.copy_((sd.square() + self.noise[1] ** 2).sqrt())
        first = torch.randperm(len(cohort), generator=generator)[:16].tolist()
        initialize(self, [tuple(self._batch(cohort, first, generator, augment))], "joint_log_prob")
        return generator

    def predict(self, prepared: PreparedT1, covariates: Mapping[str, object], /) -> np.ndarray:
        """The PET that ``ascend`` finds in ``ascent`` steps, SUVR, float32, ``[x, y, z]``; covariates are not used.

        Raises:
            InputError: before ``fit``, or for a T1 on a grid of another shape.
        """
        image = torch.from_numpy(np.ascontiguousarray(prepared.t1, dtype=np.float32))[None, None] / T1_SCALE
        pet = self.ascend(image, self.ascent)[0, 0] * float(self.pet_scale)
        return pet.clamp_min(0).float().cpu().numpy()

    def ascend(self, t1: Tensor, steps: int = 200, rate: float = 0.1) -> Tensor:
        """The PET ``(B, channels, *spatial)`` of the highest log p(t1, ·) that ``steps`` steps of Adam find.

        The search starts at the cohort's mean PET, draws nothing at random and never ends below its start.

        Args:
            t1: ``(B, channels, *spatial)``.
            steps: gradient steps; at 0 the mean PET is returned.
            rate: of Adam, in standard deviations of each voxel; it falls to 0 along a cosine.

        Raises:
            InputError: before ``fit``, or for images of another shape.
        """
        if not self.fitted:
            raise InputError("This iGlow is not trained; call fit first, or load the state of one that is.")
        if tuple(t1.shape[1:]) != (self.channels[0], *self.shape):
            raise InputError(f"The T1 is {tuple(t1.shape[1:])}; this iGlow takes {(self.channels[0], *self.shape)}.")
        t1 = t1.to(self.mean)
        self.requires_grad_(False)
        offset = t1.new_zeros(len(t1), *self.mean.shape).requires_grad_()
        best, highest = self.mean.expand_as(offset).clone(), t1.new_full((len(t1),), -math.inf)
        optimizer = Adam([offset], lr=rate)
        schedule = _cosine(optimizer, steps)
        for step in range(steps + 1):
            with torch.enable_grad():
                pet = self.mean + self.sd * offset
                values = self.joint_log_prob(t1, pet)
            better = values.detach() > highest  # never where the value is not a number
            highest[better], best[better] = values.detach()[better], pet.detach()[better]
            if step < steps:
                offset.grad = torch.autograd.grad(-values.sum() / self._dimensions, offset)[0]
                optimizer.step()
                schedule.step()
        return best


@dataclass(frozen=True)
class IGlowSettings(Settings):
    """Settings of ``iglow``.

    Attributes:
        depths, widths: of the flow at each level, the finest first; the paper's are four times 10 and 512.
        ascent: steps up the gradient that a prediction takes.
    """

    depths: tuple[int, ...] = bounded((4, 4, 4), 1, 256)
    widths: tuple[int, ...] = bounded((48, 72, 96), 1, 8192)
    ascent: int = bounded(200, 0, 100_000)


class IGlowMethod(Method):
    """``IGlow`` as a method that ``train`` trains; covariates are not used."""

    label = IGlow.name
    reference = "Sun H. et al., DUAL-GLOW, ICCV 2019, appendix 6.2"
    settings_type = IGlowSettings
    covariates: ClassVar[tuple[Covariate, ...]] = ()

    def __init__(self, config: MethodConfig, pet_scale: float = 1.0, for_training: bool = False) -> None:
        super().__init__(config, pet_scale)
        chosen = config.settings
        self.glow = IGlow(config.shape, FlowConfig(depths=chosen.depths, widths=chosen.widths), ascent=chosen.ascent)

    @classmethod
    def check(cls, config: MethodConfig) -> None:
        if config.covariates:
            raise InputError("The method iglow knows T1 and PET alone; leave covariates out.")
        if len(config.settings.depths) != len(config.settings.widths):
            raise InputError("depths and widths of iglow must be as many; give one of each for every level.")
        if any(side % 2 ** len(config.settings.depths) for side in config.shape):
            raise InputError(f"The grid {config.shape} does not divide by {2 ** len(config.settings.depths)}.")

    def begin(self, cohort: Cohort) -> None:
        super().begin(cohort)
        self.glow.set_from(cohort)

    def add_noise(self, pet, mri, generator, shared) -> tuple[Tensor, Tensor]:
        count, rows = shared
        noisy = [
            image + sd * torch.randn(count, *image.shape[1:], generator=generator)[rows]
            for image, sd in zip((mri, pet), self.glow.noise, strict=True)
        ]
        return noisy[1], noisy[0]

    def forward(self, pet, mri, covariates, known=None, progress=1.0, image_only=False) -> Losses:
        return Losses(self.glow.bits(mri, pet))

    def finish(self, cohort: Cohort, held_out: Cohort) -> None:
        self.glow.fitted.fill_(True)

    def predict(self, prepared: PreparedT1, covariates: Mapping[str, object], /) -> np.ndarray:
        """What the ascent finds, SUVR, float32, at least 0."""
        mri, _ = self.inputs(prepared, covariates)
        return self.suvr(self.glow.ascend(mri, self.glow.ascent))
