"""What is asked of a model about one T1, in one form for command line, scripts, window and worker."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..errors import InputError
from ..spellings import is_missing
from ..values import with_values

__all__ = ["MAX_AGES", "MAX_SAMPLES", "MAX_TEMPERATURE", "Question"]

MAX_TEMPERATURE = 2.0
MAX_SAMPLES = 10_000
MAX_AGES = 60
"""Of a sweep."""

_SEEDS = 1 << 31


@dataclass(frozen=True)
class Question:
    """PETs of whom, and how they are drawn.

    >>> Question({"age": 72.0, "sex": None}, temperature=1.0, samples=8).at(age=80.0)
    Question(covariates={'age': 80.0}, temperature=1.0, samples=8, seed=0, below=None, first=0, antithetic=False)

    Attributes:
        covariates: by name, as the model spells them (``model.covariates.Covariate``); what is unknown is left out.
        temperature: factor on the latent noise, 0 to 2, or one for each level of the PET's flow, finest first; 0 gives
            the most likely latents, of which one sample is all there is.
        samples: how many are drawn.
        seed: of the noise.
        below: SUVR; asks for the samples' share below it.
        first: number of the first sample: 0, or k for those from sample k on of all that this seed has.
        antithetic: sample 2i + 1 takes minus the noise of sample 2i, so that the mean needs fewer samples.

    Raises:
        InputError: for a value that can't be, whatever the model.
    """

    covariates: dict[str, float | str | None] = field(default_factory=dict)
    temperature: float | tuple[float, ...] = 0.0
    samples: int = 1
    seed: int = 0
    below: float | None = None
    first: int = 0
    antithetic: bool = False

    def __post_init__(self) -> None:
        known = {name: value for name, value in self.covariates.items() if not is_missing(value)}
        object.__setattr__(self, "covariates", known)
        if isinstance(self.temperature, list | tuple):
            object.__setattr__(self, "temperature", tuple(self.temperature))
        for value in self.temperatures:
            if not 0 <= value <= MAX_TEMPERATURE:
                raise InputError(f"The temperature is {value:g}; take one from 0 to {MAX_TEMPERATURE:g}.")
        if not 1 <= self.samples <= MAX_SAMPLES:
            raise InputError(f"The number of samples is {self.samples}; take 1 to {MAX_SAMPLES}.")
        for name, value in (("seed", self.seed), ("number of the first sample", self.first)):
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _SEEDS:
                raise InputError(f"The {name} is {value!r}; take a whole number from 0 to {_SEEDS - 1}.")
        if self.below is not None and not 0 < self.below < math.inf:
            raise InputError(f"The SUVR threshold is {self.below:g}; take one above 0.")
        if self.antithetic and self.samples % 2 and self.samples > 1:
            text = "The number of samples is {}; antithetic samples come in pairs, take an even one."
            raise InputError(text.format(self.samples))

    @classmethod
    def of(cls, values: Mapping) -> Question:
        """From the names of the attributes, as JSON gives them.

        Raises:
            InputError: for an unknown name, and values of another type or that can't be.
        """
        return with_values(cls(), values, "question")

    @property
    def temperatures(self) -> tuple[float, ...]:
        """One for all levels, or one for each."""
        return self.temperature if isinstance(self.temperature, tuple) else (self.temperature,)

    @property
    def drawn(self) -> int:
        """How many samples differ: without noise one."""
        return self.samples if any(self.temperatures) else 1

    def at(self, **covariates: float | str | None) -> Question:
        """The same question with other values of these covariates, or with some unknown (None)."""
        return replace(self, covariates={**self.covariates, **covariates})

    def one(self, index: int) -> Question:
        """For sample number ``index`` of those that this question draws."""
        return replace(self, samples=1, first=self.first + index, below=None)
