"""Rates of a classifier of two groups, in both definitions that papers use, and which of them published ones can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Rates", "share_of_positives", "sum_of_rates"]


@dataclass(frozen=True)
class Rates:
    """Counts of a classifier's answers.

    Attributes:
        hits, misses: positives (patients) that it found, and that it did not.
        rejections, alarms: negatives that it took for such, and for positives.
    """

    hits: int
    misses: int
    rejections: int
    alarms: int

    @classmethod
    def of(cls, truth: Sequence[bool], answers: Sequence[bool]) -> Rates:
        """Counts, given who is positive and who is taken for such.

        >>> Rates.of([True, True, False], [True, False, False])
        Rates(hits=1, misses=1, rejections=1, alarms=0)
        """
        truth, answers = np.asarray(truth, bool), np.asarray(answers, bool)
        pairs = (truth & answers, truth & ~answers, ~truth & ~answers, ~truth & answers)
        return cls(*(int(pair.sum()) for pair in pairs))

    @property
    def subjects(self) -> int:
        return self.hits + self.misses + self.rejections + self.alarms

    @property
    def accuracy(self) -> float:
        return (self.hits + self.rejections) / self.subjects

    @property
    def of_all(self) -> tuple[float, float]:
        """Misses and false alarms as shares of all subjects, as the paper's Table 2 has them."""
        return self.misses / self.subjects, self.alarms / self.subjects

    @property
    def of_group(self) -> tuple[float, float]:
        """Misses as a share of the positives, false alarms as one of the negatives: what the names usually mean."""
        positives, negatives = self.hits + self.misses, self.rejections + self.alarms
        return self.misses / max(positives, 1), self.alarms / max(negatives, 1)


def sum_of_rates(accuracy: float, misses: float, alarms: float) -> float:
    """Accuracy and both rates together: exactly 1 if the rates are shares of all subjects.

    >>> round(sum_of_rates(0.91, 0.06, 0.03), 6)
    1.0
    """
    return accuracy + misses + alarms


def share_of_positives(
    accuracy: float, misses: float, alarms: float, rounding: float = 0.005
) -> tuple[float, float] | None:
    """Between which shares of positives among the subjects published rates can be those of each group.

    Accuracy is then 1 − (share · misses + (1 − share) · alarms).

    Args:
        accuracy, misses, alarms: as published.
        rounding: by how much each may be off.

    Returns:
        The lowest and the highest share; None if there is none.

    >>> share_of_positives(0.91, 0.06, 0.03) is None
    True
    """
    errors = 1 - accuracy - rounding, 1 - accuracy + rounding
    shares = np.linspace(0, 1, 10_001)
    least = shares * max(misses - rounding, 0) + (1 - shares) * max(alarms - rounding, 0)
    most = shares * (misses + rounding) + (1 - shares) * (alarms + rounding)
    possible = shares[(most >= errors[0]) & (least <= errors[1])]
    return (float(possible[0]), float(possible[-1])) if len(possible) else None
