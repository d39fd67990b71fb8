"""What all baselines that are trained and saved have in common: a module that is fitted, and a ``Predictor``."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..model import DEFAULT_COVARIATES, Covariate, encode_covariates, given_covariates
from ..preparation.t1 import PreparedT1
from ..training.data import T1_SCALE, Cohort
from ..values import check_fields, with_values

__all__ = ["PET_NOISE", "Losses", "Method", "MethodConfig", "Settings", "evenly", "sample_seed", "seeded"]

PET_NOISE = 0.008
"""Standard deviation of the noise that DUAL-GLOW adds to the PET: densities of it are compared with that in it too."""


@dataclass(frozen=True)
class Settings:
    """Settings of a method; of those that have none."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class MethodConfig:
    """All that fixes a baseline but its state.

    Attributes:
        method: its name, see ``methods.METHODS``.
        shape: of the images, three sides.
        covariates: what it gets besides the T1.
        settings: its own.
    """

    method: str
    shape: tuple[int, ...]
    covariates: tuple[Covariate, ...] = ()
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "covariates", tuple(self.covariates))

    @property
    def preset(self) -> str:
        """Its name, where a model has that of its preset."""
        return self.method

    @property
    def dims(self) -> int:
        return len(self.shape)

    @property
    def codes(self) -> int:
        """Numbers that the covariates are encoded in."""
        return sum(covariate.size for covariate in self.covariates)

    def to_dict(self) -> dict:
        """As JSON can hold it."""
        return {
            "method": self.method,
            "shape": list(self.shape),
            "covariates": [covariate.to_dict() for covariate in self.covariates],
            **asdict(self.settings),
        }

    def changed(self, values: Mapping, where: str) -> MethodConfig:
        """A copy with settings in place of its own, as a settings file gives them, and ``covariates`` if it has them.

        Raises:
            InputError: for an unknown name, or a value that can't be.
        """
        values = dict(values)
        given = given_covariates(values.pop("covariates"), where) if "covariates" in values else self.covariates
        return MethodConfig(self.method, self.shape, given, with_values(self.settings, values, where))

    def read(self, values: Mapping) -> MethodConfig:
        """The configuration of the same method from its ``to_dict``.

        Raises:
            InputError: if it is another's, or can't be.
        """
        values = dict(values)
        if values.pop("method", None) != self.method:
            raise InputError(f"The model is no {self.method}, but {reprlib.repr(values.get('preset', 'another'))}.")
        shape, covariates = values.pop("shape"), tuple(Covariate(**one) for one in values.pop("covariates"))
        return MethodConfig(self.method, shape, covariates, with_values(self.settings, values, "model"))


@dataclass
class Losses:
    """What a method's training minimises, and of what it is made; each ``(B,)``."""

    loss: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)

    def parts(self) -> dict[str, Tensor]:
        """What of it is recorded, by its name in the history of a run."""
        return {"loss": self.loss, **self.terms}


def evenly(count: int, most: int) -> list[int]:
    """Places of so many of ``count`` cases at most, as far from each other as can be."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()


def sample_seed(seed: int, number: int) -> int:
    """That of one of the samples that a seed gives: the first k of n are those of k."""
    return seed * 1_000_003 + number


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from torch's own generators what this seed gives; afterwards they are as before."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class Method(nn.Module):
    """A baseline: a ``Predictor`` whose state is that of a module.

    Images are ``(B, 1, *shape)`` in the units of a ``training.data.Cohort``, 0 to 1, but for ``predict``, ``sample``
    and ``log_prob``, which take and give volumes in SUVR. What is random comes from torch's own generators, which the
    trainer seeds for each step.

    Args:
        config: what it is.
        pet_scale: SUVR that is 1 in its units.
        for_training: whether it needs what only its training does, such as a discriminator.

    Attributes:
        label: what people call it.
        reference: where it was published.
        settings_type: the class of its settings.
        covariates: those that it gets if nothing is said.
        training_settings: those of its training that differ from the defaults of ``TrainingSettings``.
        is_closed: whether ``begin`` fits all of it, so that no steps are needed.
    """

    label: ClassVar[str] = ""
    reference: ClassVar[str] = ""
    settings_type: ClassVar[type[Settings]] = Settings
    covariates: ClassVar[tuple[Covariate, ...]] = DEFAULT_COVARIATES
    training_settings: ClassVar[Mapping[str, Any]] = {}
    is_closed: ClassVar[bool] = False

    def __init__(self, config: MethodConfig, pet_scale: float = 1.0, for_training: bool = False) -> None:
        super().__init__()
        self.config, self.pet_scale, self.name = config, pet_scale, self.label
        self.register_buffer("mean", torch.zeros(1, 1, *config.shape))
        self.register_buffer("sd", torch.ones(1, 1, *config.shape))

    @classmethod
    def check(cls, config: MethodConfig) -> None:
        """Refuse what can't be, before any work.

        Raises:
            InputError: for a grid or covariates that it can't do with, and for a package that is missing.
        """

    # ---- training

    def begin(self, cohort: Cohort) -> None:
        """Set what is known of the training cases before the first step: mean and standard deviation of their PETs.

        Raises:
            InputError: if there are too few cases.
        """
        mean, sd = cohort.statistics()
        self.pet_scale = cohort.pet_scale
        self.mean.copy_(mean[None])
        self.sd.copy_((sd[None].square() + PET_NOISE**2).sqrt())

    def add_noise(self, pet: Tensor, mri: Tensor, generator: torch.Generator, shared: tuple) -> tuple[Tensor, Tensor]:
        """What a step sees of the images; by default all as it is."""
        return pet, mri

    def forward(
        self,
        pet: Tensor,
        mri: Tensor,
        covariates: Tensor,
        known: Tensor | None = None,
        progress: float = 1.0,
        image_only: bool = False,
    ) -> Losses:
        """The losses of a batch; of methods in closed form the squared error of their prediction.

        Args:
            pet, mri: ``(B, 1, *shape)``.
            covariates: ``(B, n)`` from ``encode_covariates``, some of them hidden.
            known, progress, image_only: of DUAL-GLOW's objective; they don't count.
        """
        return Losses((self.image(mri, covariates) - pet).square().flatten(1).mean(1))

    def finish(self, cohort: Cohort, held_out: Cohort) -> None:
        """What is left to do after the last step, such as the spread of what the prediction leaves over."""

    # ---- use

    def image(self, mri: Tensor, covariates: Tensor) -> Tensor:
        """The one PET of each T1, ``(B, 1, *shape)``."""
        return self.mean.expand(len(mri), *self.mean.shape[1:])

    @torch.no_grad()
    def predict(self, prepared: PreparedT1, covariates: Mapping[str, object], /) -> np.ndarray:
        """The one PET, SUVR, float32, at least 0.

        Raises:
            InputError: for a T1 on another grid, or a covariate that can't be.
        """
        return self.suvr(self.image(*self.inputs(prepared, covariates)))

    def inputs(self, prepared: PreparedT1, covariates: Mapping[str, object]) -> tuple[Tensor, Tensor]:
        """T1 and covariates as the module takes them."""
        if tuple(prepared.grid.shape) != self.config.shape:
            raise InputError(
                f"{self.name} was trained on another grid than {prepared.grid.name}; prepare the T1 for that."
            )
        image = torch.from_numpy(np.ascontiguousarray(prepared.t1, dtype=np.float32))[None, None] / T1_SCALE
        code = encode_covariates(self.config.covariates, [covariates], self.mean.device)
        return image.to(self.mean), code

    def suvr(self, image: Tensor) -> np.ndarray:
        """``(1, 1, *shape)`` as a volume in SUVR, float32, at least 0."""
        return (image[0, 0] * self.pet_scale).clamp_min(0).float().cpu().numpy()
