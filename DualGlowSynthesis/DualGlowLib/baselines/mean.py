"""The baseline of every comparison: the mean PET of the training cohort for everybody, whatever the T1 shows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..bundle.bundle import Bundle
from ..preparation.t1 import PreparedT1
from ..training.data import Cohort
from .closed import MeanMethod
from .method import Method

__all__ = ["MeanPET"]


class MeanPET:
    """A ``Predictor`` that knows one PET.

    Args:
        mean: SUVR, ``[x, y, z]``, on the grid.
    """

    name = "mean PET"

    def __init__(self, mean: np.ndarray) -> None:
        self.mean = mean

    @classmethod
    def fit(cls, cohort: Cohort) -> MeanPET:
        """The voxelwise mean of the cohort's PETs, made left-right symmetric."""
        return cls(cohort.statistics()[0][0].numpy() * cohort.pet_scale)

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> MeanPET | None:
        """That of the cohort that a model was trained on; None for the kinds of model that do not keep it, and
        for what is no more than this itself."""
        if isinstance(bundle.model, MeanMethod):
            return None
        if isinstance(bundle.model, Method):
            return cls(bundle.model.mean[0, 0].cpu().numpy() * bundle.pet_scale)
        base = getattr(bundle.model.link, "base_mean", None)
        return None if base is None else cls((base[0, 0].cpu().numpy() + 0.5) * bundle.pet_scale)

    def predict(self, prepared: PreparedT1, covariates: Mapping[str, object], /) -> np.ndarray:
        """The mean, whatever is asked."""
        return self.mean
