"""Methods that predict a PET from a prepared T1: what evaluation asks of each, and the ``Synthesizer`` as one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from ..errors import InputError
from ..model import Encoding
from ..preparation.t1 import PreparedT1
from .question import Question
from .synthesizer import Synthesizer

__all__ = ["DensityPredictor", "ModelPredictor", "Predictor", "SamplingPredictor"]


class Predictor(Protocol):
    """A method that predicts the PET of a T1: a model, or a baseline to compare it with.

    Nothing has to be inherited; whatever has these members will do. A method may also draw PETs (``SamplingPredictor``)
    or know how likely a given one is (``DensityPredictor``).

    Attributes:
        name: what tables call it.
    """

    name: str

    def predict(self, prepared: PreparedT1, covariates: Mapping[str, object], /) -> np.ndarray:
        """The PET that the method would give if it may give only one.

        Args:
            prepared: the T1 on the grid, arrays ``[x, y, z]``, white matter near 1, and the mask of the brain; not to
                be changed. What ``prepare`` returns will do.
            covariates: by name, numbers or the text of the cohort's tables, such as ``{"age": "72", "sex": "F"}``; one
                that is left out or None is unknown.

        Returns:
            SUVR, ``[x, y, z]``, of the grid's shape.

        Raises:
            InputError: for a grid or a covariate that the method can't take.
        """
        ...


@runtime_checkable
class SamplingPredictor(Predictor, Protocol):
    """A method that also draws PETs from its law."""

    def sample(
        self, prepared: PreparedT1, covariates: Mapping[str, object], samples: int, seed: int, /
    ) -> Iterable[np.ndarray]:
        """That many PETs, each as ``predict`` returns one; best one after the other, so that memory doesn't grow.

        Equal seeds give equal PETs, and the first k of n samples are those of k.
        """
        ...


@runtime_checkable
class DensityPredictor(Predictor, Protocol):
    """A method that also knows the density of its law."""

    def log_prob(self, prepared: PreparedT1, covariates: Mapping[str, object], pet: np.ndarray, /) -> float:
        """Natural logarithm of p(PET | T1, covariates), a density over the grid's voxels in SUVR, ``[x, y, z]``."""
        ...


class ModelPredictor:
    """A ``Synthesizer`` as a ``Predictor`` that samples and knows densities.

    Args:
        synthesizer: the model on its device.
        name: what tables call it; by default the bundle's name.
    """

    def __init__(self, synthesizer: Synthesizer, name: str = "") -> None:
        self.synthesizer, self.name = synthesizer, name or synthesizer.bundle.name
        self._latest: tuple[PreparedT1, Encoding] | None = None

    def predict(self, prepared: PreparedT1, covariates: Mapping[str, object], /) -> np.ndarray:
        """The PET at temperature 0, float32; see ``Synthesizer.distribution``."""
        question = Question(self.synthesizer.known(covariates))
        return self.synthesizer.distribution(self._encoding(prepared), question).mean

    def sample(
        self, prepared: PreparedT1, covariates: Mapping[str, object], samples: int, seed: int, /
    ) -> Iterator[np.ndarray]:
        """PETs at temperature 1, float32: those that ``Synthesizer.distribution`` draws, one after the other."""
        by = self.synthesizer
        question = Question(by.known(covariates), 1.0, samples, seed)
        for image in by.images(self._encoding(prepared), question):
            yield by._finite("PET", image.cpu().numpy())

    def log_prob(self, prepared: PreparedT1, covariates: Mapping[str, object], pet: np.ndarray, /) -> float:
        """Of the PET with the noise that training adds, drawn from a fixed seed; see ``Scoring.log_likelihood``."""
        found = self.synthesizer.log_likelihood(self._encoding(prepared), pet, dict(covariates))
        return found["nats"] - np.size(pet) * math.log(self.synthesizer.bundle.pet_scale)

    def _encoding(self, prepared: PreparedT1) -> Encoding:
        """Encoded once, while the same T1 is asked for."""
        if self._latest is None or self._latest[0] is not prepared:
            grid, own = prepared.grid, self.synthesizer.bundle.grid
            if not own.holds(grid.shape, grid.affine):
                raise InputError(
                    f"The T1 was prepared for the grid {grid.name!r}; prepare it for {own.name!r}, on which the model "
                    f"{self.synthesizer.bundle.name} works."
                )
            self._latest = prepared, self.synthesizer.encode_prepared(prepared.t1)
        return self._latest[1]
