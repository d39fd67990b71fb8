"""What a model's intervals were measured to hold: factors for them, and the certificate, beside the model's files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..outputs import CALIBRATION, generated_by
from ..sealed import CHECKSUMS, is_sealed, parse_json, write_sealed

__all__ = ["CALIBRATION_FILE", "Calibration", "read_calibration", "write_calibration"]

CALIBRATION_FILE = "calibration.json"
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
    """

    bundle_sha256: str
    level: float
    samples: int
    factors: dict[str, float]
    joint: float
    certificate: dict = field(default_factory=dict)

    def interval(
        self, names: Sequence[str], mean: np.ndarray, sd: np.ndarray, samples: int, is_joint: bool = False
    ) -> np.ndarray:
        """Lower and upper bounds, SUVR, ``(2, regions)``, at least 0; NaN for a region without a factor.

        Args:
            names: of the regions.
            mean, sd: of the samples' region means, ``(regions,)``.
            samples: how many there are.
            is_joint: for all regions at once, in place of each alone.
        """
        factors = np.array([self.factors.get(name, math.nan) for name in names]) * (self.joint if is_joint else 1.0)
        half = factors * math.sqrt(1 + 1 / samples) * sd
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
    path = Path(folder) / CALIBRATION_FILE
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is larger than any calibration")
        values = parse_json(path.read_text(encoding="utf-8"))
        if not is_sealed(values, CALIBRATION_FILE):
            raise ValueError("it has no checksum")
        found = _checked({key: value for key, value in values.items() if key not in ("GeneratedBy", CHECKSUMS)})
    except (OSError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); run calibrate again, or delete it.") from error
    if found.bundle_sha256 != bundle_sha256:
        raise InputError(f"{path} was measured with another model; run calibrate again, or delete it.")
    return found


def _checked(values: Mapping) -> Calibration:
    found = Calibration(**values)
    numbers = [found.joint, *found.factors.values()]
    if not (0 < found.level < 1 and found.samples > 1 and all(0 < number < math.inf for number in numbers)):
        raise ValueError("a number of it can't be")
    return found
