"""What a model's intervals were measured to hold: factors for them, and the certificate, beside the model's files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..outputs import CALIBRATION, generated_by
from ..sealed import write_sealed
from .beside import read_beside

__all__ = ["CALIBRATION_FILE", "Calibration", "read_calibration", "write_calibration"]

CALIBRATION_FILE = "calibration.json"
_RAREST = 1e-9  # probability on one side of an interval; below it Student's quantiles of few samples have no end
_MOST_BYTES = 1 << 22


@dataclass(frozen=True)
class Calibration:
    """Split-conformal factors: an interval is the samples' mean ∓ factor · their spread.

    The spread is √(1 + 1/K) times the standard deviation of K samples at temperature 1.

    Attributes:
        bundle_sha256: of the model (its configuration).
        level: of the intervals, 0.9.
        samples: K with which it was measured.
        factors: by region, for that region alone.
        joint: the factors times this hold for all regions at once.
        certificate: how it was measured and what came out (``evaluation.calibrating.calibrate``).
        scores: by region, distance of the truth from the samples' mean over their spread, of each case that the factors
            were fitted to, to compare a site's with; empty in calibrations of former versions.
    """

    bundle_sha256: str
    level: float
    samples: int
    factors: dict[str, float]
    joint: float
    certificate: dict = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)

    def interval(
        self, names: Sequence[str], mean: np.ndarray, sd: np.ndarray, samples: int, is_joint: bool = False
    ) -> np.ndarray:
        """Lower and upper bounds, SUVR, ``(2, regions)``, at least 0; NaN for a region without a factor.

        The spread of few samples is less certain than that of many: with another number of samples than the factors
        were fitted with, they are changed as Student's quantiles of the same probability, which holds of a normal law.

        Args:
            names: of the regions.
            mean, sd: of the samples' region means, ``(regions,)``.
            samples: how many there are.
            is_joint: for all regions at once, in place of each alone.
        """
        from scipy.special import stdtr, stdtrit  # Student's law and quantiles

        factors = np.array([self.factors.get(name, math.nan) for name in names])
        alone = -stdtrit(self.samples - 1, (1 - self.level) / 2)
        wanted = self.joint * alone if is_joint else alone
        outside = max(stdtr(self.samples - 1, -wanted), _RAREST)
        there = wanted if samples == self.samples else -stdtrit(samples - 1, outside)
        half = factors * (there / alone) * math.sqrt(1 + 1 / samples) * sd
        return np.maximum(mean + np.array([[-1.0], [1.0]]) * half, 0)


def write_calibration(calibration: Calibration, folder: Path | str) -> Path:
    """Write it into a bundle's folder, in place of a former one."""
    path = Path(folder) / CALIBRATION_FILE
    write_sealed(path, {"GeneratedBy": generated_by(CALIBRATION), **asdict(calibration)}, {})
    return path


def read_calibration(folder: Path | str, bundle_sha256: str) -> Calibration | None:
    """That of the bundle in a folder; None if it has none.

    Raises:
        InputError: if it is damaged, or of another model.
    """
    return read_beside(
        Path(folder) / CALIBRATION_FILE,
        bundle_sha256,
        _checked,
        _MOST_BYTES,
        "run calibrate again with --force, or delete it",
        "run calibrate again, or delete it",
    )


def _checked(values: Mapping) -> Calibration:
    found = Calibration(**values)
    numbers = [found.joint, *found.factors.values()]
    scores = [score for of_region in found.scores.values() for score in of_region]
    if len({len(of_region) for of_region in found.scores.values()}) > 1 or not all(
        0 <= one < math.inf for one in scores
    ):
        raise ValueError("its scores can't be")
    if not (0 < found.level < 1 and found.samples > 1 and all(0 < number < math.inf for number in numbers)):
        raise ValueError("a number of it can't be")
    return found
