"""Baselines in closed form: they are fitted to the training cases at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..model import DEFAULT_COVARIATES, Covariate
from ..preparation.t1 import PreparedT1
from ..training.data import T1_SCALE, Cohort
from ..values import bounded
from .method import Method, MethodConfig, Settings, evenly
from .regression import RegressedPET

__all__ = ["LinearMethod", "MeanAgeMethod", "MeanMethod"]


class MeanMethod(Method):
    """The mean PET of the training cases for everybody, made left-right symmetric."""

    label = "mean PET"
    covariates: ClassVar[tuple[Covariate, ...]] = ()
    is_closed = True


@dataclass(frozen=True)
class LinearSettings(Settings):
    """Settings of a regression.

    Attributes:
        residuals: of so many training cases at most, evenly taken, the residual images are kept, from which samples
            are made.
    """

    residuals: int = bounded(64, 2, 100_000)


class LinearMethod(Method):
    """Least squares in each voxel, on the covariates and the grey-matter density there (``regression``)."""

    label = "linear model"
    settings_type = LinearSettings
    is_closed = True
    with_tissue: ClassVar[bool] = True

    def __init__(self, config: MethodConfig, pet_scale: float = 1.0, for_training: bool = False) -> None:
        super().__init__(config, pet_scale)
        rows = 1 + config.codes
        self.register_buffer("coefficients", torch.zeros(rows, *config.shape))
        self.register_buffer("residuals", torch.zeros(0, *config.shape, dtype=torch.float16))
        self.register_buffer("tissue_means", torch.zeros(rows if self.with_tissue else 0, *config.shape))
        self.register_buffer("tissue_slope", torch.zeros(config.shape))

    def _load_from_state_dict(self, state: Mapping[str, Tensor], prefix: str, *others: object) -> None:
        found = state.get(f"{prefix}residuals")
        if found is not None and found.shape[1:] == self.config.shape:  # as many as there were cases
            self.residuals = self.residuals.new_zeros(found.shape)
        super()._load_from_state_dict(state, prefix, *others)

    def begin(self, cohort: Cohort) -> None:
        super().begin(cohort)
        fitted = RegressedPET.fit(cohort, self.with_tissue, self.config.covariates)
        kept = evenly(len(cohort), self.config.settings.residuals)
        self.coefficients.copy_(torch.from_numpy(fitted.coefficients))
        self.residuals = torch.from_numpy(fitted.residuals[kept]).to(self.mean.device)
        if fitted.tissue is not None:
            self.tissue_means.copy_(torch.from_numpy(fitted.tissue[0]))
            self.tissue_slope.copy_(torch.from_numpy(fitted.tissue[1]))

    @property
    def _regression(self) -> RegressedPET:
        buffers = (self.coefficients, self.residuals, self.tissue_means, self.tissue_slope)
        coefficients, residuals, *tissue = (one.cpu().numpy() for one in buffers)
        return RegressedPET(
            self.config.covariates, coefficients, residuals, tuple(tissue) if self.with_tissue else None
        )

    def image(self, mri: Tensor, covariates: Tensor) -> Tensor:
        regression, rows = self._regression, covariates.cpu().numpy()
        found = [
            regression.value(t1[0].cpu().numpy() * T1_SCALE, row) for t1, row in zip(mri.float(), rows, strict=True)
        ]
        return torch.from_numpy(np.stack(found))[:, None].to(self.mean) / self.pet_scale

    def sample(
        self, prepared: PreparedT1, covariates: Mapping[str, object], samples: int, seed: int, /
    ) -> Iterator[np.ndarray]:
        """The prediction plus the residual image of a training case, drawn with equal probability."""
        yield from self._regression.sample(prepared, covariates, samples, seed)


class MeanAgeMethod(LinearMethod):
    """The mean PET at an age: least squares in each voxel, on age alone."""

    label = "age-regressed mean PET"
    covariates: ClassVar[tuple[Covariate, ...]] = tuple(one for one in DEFAULT_COVARIATES if one.name == "age")
    with_tissue = False

    def begin(self, cohort: Cohort) -> None:
        if not self.config.covariates:
            raise InputError("No case has an age, which the method mean-age needs; give ages, or take mean.")
        super().begin(cohort)
