"""Baselines that nobody should be worse than: linear regressions of each voxel's uptake on what is known of a case.

On the covariates alone, which no image is needed for; and on the covariates and the T1 there, as grey-matter density.
Both draw PETs too: prediction plus the residual image of a training case, so that the residuals keep their pattern in
space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..errors import InputError
from ..model import DEFAULT_COVARIATES, Covariate, encode_covariates, fit_covariates
from ..preparation.t1 import PreparedT1
from ..training.data import T1_SCALE, Cohort

__all__ = ["RegressedPET", "grey_matter"]

_GREY, _SPREAD = 0.7, 0.25  # of a prepared T1, whose white matter is 1: middle and width of grey matter
_BLUR = 0.8  # voxels
_RIDGE = 1e-3  # of a column's own square
_LEAST = 0.01  # standard deviation of grey-matter density: where it varies less, it says little


def grey_matter(t1: np.ndarray) -> np.ndarray:
    """Grey-matter density of a prepared T1 ``[x, y, z]``, 0 to 1: high where the T1 is as bright as grey matter."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.exp(-(((t1 - _GREY) / _SPREAD) ** 2)) * (t1 > 0), _BLUR).astype(np.float32)


class RegressedPET:
    """A ``Predictor`` that samples: least squares in each voxel.

    Args:
        covariates: with the numbers of the training cohort.
        coefficients: SUVR for each column of ``encode_covariates`` and, first, the constant, ``(p, *shape)``.
        residuals: of the training cases, as large as those of other cases, ``(n, *shape)``, float16.
        tissue: None, or grey-matter density's mean by the same columns, ``(p, *shape)``, and its slope ``shape``.
    """

    def __init__(
        self,
        covariates: Sequence[Covariate],
        coefficients: np.ndarray,
        residuals: np.ndarray,
        tissue: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.covariates, self.coefficients, self.residuals, self.tissue = covariates, coefficients, residuals, tissue
        self.name = "regression on covariates" + ("" if tissue is None else " and grey matter")

    @classmethod
    def fit(
        cls, cohort: Cohort, with_tissue: bool = False, covariates: Sequence[Covariate] | None = None
    ) -> RegressedPET:
        """Fit to a cohort.

        Args:
            cohort: the training cases.
            with_tissue: also regress on the grey-matter density of the voxel.
            covariates: with the numbers of the cohort; by default the usual ones.

        Raises:
            InputError: if there are too few cases for so many columns.
        """
        if covariates is None:
            covariates = fit_covariates(DEFAULT_COVARIATES, [case.attributes for case in cohort.cases])
        design = cls._design(covariates, [case.attributes for case in cohort.cases])
        shape, (count, columns) = tuple(cohort.pet.shape[2:]), design.shape
        if count < columns + 3 + with_tissue:
            raise InputError(f"{count} cases are too few to regress on {columns} columns; give {columns + 4} at least.")
        # With a little ridge for columns that depend on each other, as two sexes and the constant do.
        solve = np.linalg.solve(design.T @ design + _RIDGE * np.diag(np.square(design).sum(0) + 1e-9), design.T)
        pet = cohort.pet[:, 0].float().numpy().reshape(count, -1) * cohort.pet_scale
        coefficients = solve @ pet
        rest, tissue = pet - design @ coefficients, None
        if with_tissue:  # Frisch, Waugh and Lovell: regress what the columns leave of both
            images = cohort.t1[:, 0].float().numpy() * T1_SCALE
            grey = np.stack([grey_matter(image) for image in images]).reshape(count, -1)
            means = solve @ grey
            grey -= design @ means
            power = np.square(grey).sum(0)
            slope = (grey * rest).sum(0) / (power + count * _LEAST**2)
            rest -= grey * slope
            tissue = means.reshape(columns, *shape).astype(np.float32), slope.reshape(shape).astype(np.float32)
        rest *= np.sqrt(count / (count - columns - with_tissue))
        shaped = coefficients.reshape(columns, *shape).astype(np.float32)
        return cls(covariates, shaped, rest.reshape(count, *shape).astype(np.float16), tissue)

    @staticmethod
    def _design(covariates: Sequence[Covariate], cases: Sequence[Mapping[str, object]]) -> np.ndarray:
        codes = encode_covariates(covariates, cases).double().numpy()
        return np.column_stack([np.ones(len(cases)), codes])

    def predict(self, prepared: PreparedT1, covariates: Mapping[str, object], /) -> np.ndarray:
        """The regression's value, at least 0, float32."""
        if prepared.grid.shape != self.coefficients.shape[1:]:
            raise InputError(f"{self.name} was fitted on another grid than {prepared.grid.name}; fit it on that.")
        return np.maximum(self.value(prepared.t1, encode_covariates(self.covariates, [covariates])[0].numpy()), 0)

    def value(self, t1: np.ndarray, code: np.ndarray) -> np.ndarray:
        """The regression's value, SUVR, for a prepared T1 ``[x, y, z]`` and a row of ``encode_covariates``."""
        row = np.concatenate([[1.0], code]).astype(np.float32)
        image = np.tensordot(row, self.coefficients, 1)
        if self.tissue is not None:
            means, slope = self.tissue
            image += slope * (grey_matter(t1) - np.tensordot(row, means, 1))
        return image

    def sample(
        self, prepared: PreparedT1, covariates: Mapping[str, object], samples: int, seed: int, /
    ) -> Iterator[np.ndarray]:
        """The prediction plus the residual image of a training case, drawn with equal probability."""
        mean, draws = self.predict(prepared, covariates), np.random.default_rng(seed)
        for number in draws.integers(0, len(self.residuals), samples):
            yield np.maximum(mean + self.residuals[number].astype(np.float32), 0)
