"""A cohort of small pictures whose conditional density is known in closed form, and a model trained on it."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, avg_pool3d

from DualGlowLib.bundle.bundle import Bundle
from DualGlowLib.model import Covariate, DualGlow, ModelConfig, encode_covariates, preset
from DualGlowLib.preparation.t1 import PreparedT1
from DualGlowLib.volumes.grid import Grid

COVARIATES = (
    Covariate("age", "numeric", mean=70.0, sd=10.0, minimum=50.0, maximum=90.0),
    Covariate("sex", "categorical", values=("F", "M")),
)
SHAPES = {2: (8, 8), 3: (8, 8, 4)}
PET_SCALE = 2.0
_WHITE, _SHARED = 0.08, 0.03  # sd of the noise of each voxel, and of what all share


class ToyLaw:
    """PET = 0.4 + 0.8 · (blurred MRI − 0.5) − pattern · age + 0.03 (men) + noise, images spanning 0..1.

    The MRI is white. The noise is Gaussian with covariance ``white² I + shared² 11ᵀ``, to which the training adds
    ``pet_noise²`` on the diagonal; age is in standard deviations. Volumes are ``(B, 1, *shape)``.
    """

    def __init__(self, shape: tuple[int, ...], pet_noise: float = 0.0, white: float = _WHITE, shared: float = _SHARED):
        self.shape = shape
        self.white, self.shared = math.hypot(white, pet_noise), shared
        self.clean_white = white
        voxels = math.prod(shape)
        self.covariance = self.white**2 * torch.eye(voxels) + shared**2 * torch.ones(voxels, voxels)
        self.sd = math.hypot(self.white, shared)
        self.pattern = 0.05 * torch.linspace(0.4, 1.6, shape[0]).reshape(-1, *[1] * (len(shape) - 1)).expand(shape)

    def cases(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """MRIs and covariates' codes."""
        mri = 0.5 + 0.1 * torch.randn(count, 1, *self.shape, generator=generator)
        age = 40 * torch.rand(count, generator=generator) + 50
        men = torch.rand(count, generator=generator) < 0.5
        people = [{"age": float(a), "sex": "FM"[int(m)]} for a, m in zip(age, men, strict=True)]
        return mri, encode_covariates(COVARIATES, people)

    def mean(self, mri: Tensor, codes: Tensor) -> Tensor:
        x = mri - 0.5
        x = 0.5 * x + 0.5 * (avg_pool2d if mri.dim() == 4 else avg_pool3d)(x, 3, 1, 1)
        place = (-1, 1, *[1] * len(self.shape))
        return 0.4 + 0.8 * x - codes[:, 0].reshape(place) * self.pattern + 0.03 * codes[:, 3].reshape(place)

    def draw(self, mri: Tensor, codes: Tensor, generator: torch.Generator) -> Tensor:
        """PETs without the noise that training adds."""
        mean = self.mean(mri, codes)
        white = self.clean_white * torch.randn(mean.shape, generator=generator)
        shared = self.shared * torch.randn(len(mean), *[1] * (mean.dim() - 1), generator=generator)
        return mean + white + shared

    def log_prob(self, pet: Tensor, mri: Tensor, codes: Tensor) -> Tensor:
        """log p(PET + noise of training | MRI, covariates), ``(B,)``."""
        law = torch.distributions.MultivariateNormal(torch.zeros(len(self.covariance)), self.covariance)
        return law.log_prob((pet - self.mean(mri, codes)).flatten(1))


def toy_config(dims: int) -> ModelConfig:
    """The default model at the size of the pictures; the MRI without noise, so that the law above is the model's."""
    config = preset("standard", (8,) * dims)
    return replace(
        config,
        shape=SHAPES[dims],
        mri=replace(config.mri, depths=(1, 1), widths=(8, 8)),
        pet=replace(config.pet, depths=(1, 1), widths=(8, 8)),
        link=replace(config.link, widths=(16, 24), context=(2, 2), patterns=2),
        covariates=COVARIATES,
        mri_noise=0.0,
    )


def train_toy(
    dims: int, steps: int = 1500, batch: int = 32, rate: float = 4e-3, seed: int = 0
) -> tuple[DualGlow, ToyLaw]:
    """A model trained on fresh cases at each step, its weights averaged over the last ones; and the law of its PETs."""
    torch.manual_seed(seed)
    config = toy_config(dims)
    model, law = DualGlow(config), ToyLaw(config.shape, config.pet_noise)
    generator = torch.Generator().manual_seed(seed)

    def fresh(count: int) -> tuple[Tensor, Tensor, Tensor]:
        mri, codes = law.cases(count, generator)
        return *model.add_noise(law.draw(mri, codes, generator), mri, generator), codes

    pet, mri, codes = fresh(512)
    if model.config.link.kind == "unet":
        model.link.set_base((pet - 0.5).mean(0), pet.std(0))
    model.initialize(pet, mri, codes)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1, final_div_factor=30)
    for _ in range(steps):
        loss = model(*fresh(batch)).loss.mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval().requires_grad_(False), law


def toy_bundle(model: DualGlow) -> Bundle:
    """The model as a bundle, PET_SCALE its SUVR that becomes 1. Its grid serves no scan."""
    shape = model.config.shape
    return Bundle(model, Grid("toy", (*shape, 1)[:3], (10.0,) * 3), 1.0, PET_SCALE, "toy")


class Deadly:
    """A method that ends its process at one case."""

    name = "deadly"

    def predict(self, prepared: PreparedT1, covariates: Mapping[str, object]) -> np.ndarray:
        if covariates.get("age") == "70":
            os.kill(os.getpid(), signal.SIGKILL)
        return np.ones(prepared.grid.shape, np.float32)
