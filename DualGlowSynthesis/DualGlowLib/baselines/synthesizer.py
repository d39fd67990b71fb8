"""A saved baseline as what commands draw PETs for a T1 with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..errors import InputError
from ..preparation.t1 import PreparedT1
from ..synthesis.predictor import SamplingPredictor
from ..synthesis.question import Question
from ..synthesis.synthesizer import Synthesizer

__all__ = ["MethodSynthesizer"]


class MethodSynthesizer(Synthesizer):
    """The bundle of a ``Method`` on a device: at temperature 0 its prediction, at 1 its samples, if it has any."""

    def encode_prepared(self, t1: np.ndarray) -> PreparedT1:
        """The T1 itself: a baseline sees nothing else."""
        return PreparedT1(self.bundle.grid, t1, t1 > 0)

    def check(self, question: Question) -> tuple[float, ...]:
        """The temperature, after a look at whether the baseline can answer.

        Raises:
            InputError: for covariates as ``Synthesizer.check``; for a temperature other than 0, and 1 if it samples,
                and antithetic samples.
        """
        self.check_covariates(question)
        name, given = self.model.label, question.temperatures
        takes = "0 or 1" if isinstance(self.model, SamplingPredictor) else "0 alone, as it draws no samples"
        if len(given) > 1 or given[0] not in ((0.0, 1.0) if takes == "0 or 1" else (0.0,)):
            said = ",".join(f"{value:g}" for value in given)
            raise InputError(f"The baseline {name} takes the temperature {takes}, not {said}.")
        if question.antithetic:
            raise InputError(f"The baseline {name} has no antithetic samples; leave that out.")
        return given

    @torch.inference_mode()
    def images(self, encoding: PreparedT1, question: Question) -> Iterator[torch.Tensor]:
        (temperature,) = self.check(question)
        last = question.first + question.drawn
        found = (
            self.model.sample(encoding, question.covariates, last, question.seed)
            if temperature
            else iter([self.model.predict(encoding, question.covariates)] * last)
        )
        for number, image in enumerate(found):
            if number >= question.first:
                yield torch.from_numpy(image)
