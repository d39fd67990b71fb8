"""Whether a model's calibration holds at a site: are the residuals of its cases exchangeable with the calibration's?

A permutation test (Pitman, Suppl. J. R. Stat. Soc. 4, 1937) with the largest of the regions' rank sums, which counts
how many regions were looked at and that they go together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..atlas.regions import REGIONS
from ..bundle.calibration import Calibration
from ..errors import InputError
from .calibrating import Residuals

__all__ = ["LEAST", "Exchangeability", "exchangeability"]

LEAST = 10
"""Cases that the test asks for: fewer show nothing but the grossest difference."""

_PERMUTATIONS, _AT_ONCE = 9999, 500
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Exchangeability:
    """What the test found.

    Attributes:
        p: probability of so large a difference, or a larger one, if the cases were exchangeable.
        cases, calibrated: number of the site's cases, and of those that the factors were fitted to.
        region: where the two differ most.
        ratio: median of the site's residuals there, in units of the samples' spread, over the calibration's.
        coverage: share of the site's cases that the intervals hold: ``mean`` over regions, each alone, and ``joint``.
        level: what the intervals promise.
    """

    p: float
    cases: int
    calibrated: int
    region: str
    ratio: float
    coverage: dict[str, float]
    level: float

    @property
    def sentences(self) -> str:
        """What follows for the site."""
        held, level = self.coverage, 100 * self.level
        beginning = (
            f"Of {self.cases} cases, {level:g} % intervals hold the region means of {100 * held['mean']:.0f} % (each "
            f"region alone) and {100 * held['joint']:.0f} % (all at once). "
        )
        there = f"{self.region.replace('_', ' ')}, where residuals are {self.ratio:.2f} times as large"
        if self.p <= _SIGNIFICANT:
            return beginning + (
                f"They are not like the {self.calibrated} cases of the calibration (p = {self.p:.2g}; most in "
                f"{there}): what the intervals promise does not hold here; calibrate with cases of this site, or adapt "
                "the model to it first."
            )
        return beginning + (
            f"No difference from the {self.calibrated} cases of the calibration was found (p = {self.p:.2g}; most in "
            f"{there}): nothing speaks against its intervals here, but differences that {self.cases} cases do not show "
            "remain possible."
        )


def exchangeability(calibration: Calibration, found: Residuals, seed: int = 0) -> Exchangeability:
    """Test whether a site's cases could be those of the calibration.

    Args:
        calibration: of the model.
        found: of the site's cases, which neither training nor calibration have seen, with as many samples each.
        seed: of the permutations.

    Raises:
        InputError: if there are fewer than ``LEAST`` cases, or the calibration was made before it kept its residuals.
    """
    from scipy.stats import rankdata

    names = [name for name in REGIONS if name in calibration.scores]
    count = len(found.cases)
    if not names:
        raise InputError(
            "The model's calibration was made before residuals were kept to compare with; run calibrate again."
        )
    if count < LEAST:
        raise InputError(f"{count} cases are too few to compare with a calibration; give at least {LEAST}.")
    places = [REGIONS.index(name) for name in names]
    mine, theirs = found.z[:, places], np.array([calibration.scores[name] for name in names]).T
    pooled = np.concatenate([mine, theirs])
    ranks = rankdata(pooled, axis=0)
    ranks = (ranks - ranks.mean(0)) / np.maximum(ranks.std(0), 1e-9)
    # Of n of N, the mean of standardised ranks has this variance under permutation.
    total = len(pooled)
    scale = math.sqrt((1 / count) * (total - count) / (total - 1))
    observed = np.abs(ranks[:count].mean(0)) / scale
    random, beyond, done = np.random.default_rng(seed), 0, 0
    while done < _PERMUTATIONS:
        number = min(_AT_ONCE, _PERMUTATIONS - done)
        chosen = random.random((number, total)).argpartition(count - 1, axis=1)[:, :count]
        members = np.zeros((number, total), np.float32)
        np.put_along_axis(members, chosen, 1, axis=1)
        drawn = np.abs(members @ ranks.astype(np.float32)).max(1) / (count * scale)
        beyond += int(np.count_nonzero(drawn >= observed.max() - 1e-4))
        done += number
    worst = int(observed.argmax())
    factors = np.array([calibration.factors[name] for name in names])
    return Exchangeability(
        p=(1 + beyond) / (1 + _PERMUTATIONS),
        cases=count,
        calibrated=len(theirs),
        region=names[worst],
        ratio=float(np.median(mine[:, worst]) / max(np.median(theirs[:, worst]), 1e-9)),
        coverage={
            "mean": float(np.mean(mine <= factors)),
            "joint": float(np.mean(np.all(mine <= calibration.joint * factors, axis=1))),
        },
        level=calibration.level,
    )
