"""Means over regions, in rows for a table."""

from __future__ import annotations

import numpy as np

from ..atlas.regions import REGIONS
from ..bundle.calibration import Calibration
from .draws import Distribution

__all__ = ["interval90", "region_rows", "student_interval"]

_RANKS_FROM = 19  # samples: a central 90 % interval of order statistics exists (``Distribution.interval``)


def interval90(found: Distribution) -> np.ndarray:
    """What a further sample's region mean lies in with probability 0.9, SUVR, ``(2, regions)``.

    From 19 samples on by their order statistics. Fewer have no 5th percentile; there the law is taken as normal
    (Student's prediction interval), so that few samples give a wide interval and not a narrow one.
    """
    if len(found.regions) >= _RANKS_FROM:
        return found.interval(0.9)
    return student_interval(found.regions, 0.9)


def student_interval(samples: np.ndarray, level: float) -> np.ndarray:
    """What a further sample lies in with probability ``level`` if the law is normal (Student), at least 0.

    Args:
        samples: of region means, at least 2, ``(samples, regions)``.
        level: 0 to 1.

    Returns:
        ``(2, regions)``.
    """
    from scipy.special import stdtrit  # Student's quantiles; those of scipy.stats are the same and slow to load

    count = len(samples)
    half = stdtrit(count - 1, (1 + level) / 2) * samples.std(0, ddof=1) * np.sqrt(1 + 1 / count)
    return np.maximum(samples.mean(0) + np.array([[-1.0], [1.0]]) * half, 0)


def region_rows(
    found: Distribution, known: np.ndarray | None = None, calibration: Calibration | None = None
) -> list[dict]:
    """``region``, ``mean``, ``sd``, ``low`` and ``high`` (90 %, see ``interval90``, or calibrated) of each,
    ``low_all`` and ``high_all`` (for all regions at once; None without a calibration), and ``low_sample`` and
    ``high_sample``: the number, from 1, of the sample whose region mean lies nearest to that bound.

    Args:
        found: samples with their regions.
        known: bool for each region, whether the T1 shows it (``Prepared.regions_known``); None for all.
        calibration: of the model that drew them, at temperature 1; used if it is one of 90 %.

    Returns:
        Rows. Of one sample only the mean is not None, of a region that isn't known only its name.
    """
    means = found.regions.mean(0)
    empty = [None] * len(means)
    columns = [means.tolist(), *[empty] * 7]
    if found.samples > 1:
        sd, bounds = found.regions.std(0, ddof=1), interval90(found)
        if calibration is not None and calibration.level == 0.9:
            alone, together = (
                calibration.interval(REGIONS, means, sd, found.samples, is_joint) for is_joint in (False, True)
            )
            bounds = np.where(np.isnan(alone), bounds, alone)  # a region that was not calibrated
            columns[4:6] = [[None if np.isnan(value) else value for value in part.tolist()] for part in together]
        nearest = 1 + np.abs(found.regions - bounds[:, None]).argmin(1)
        columns[1:4], columns[6:] = [sd.tolist(), *bounds.tolist()], nearest.tolist()
    names = ("region", "mean", "sd", "low", "high", "low_all", "high_all", "low_sample", "high_sample")
    rows = [dict(zip(names, row, strict=True)) for row in zip(REGIONS, *columns, strict=True)]
    if known is None:
        return rows
    unknown = dict.fromkeys(names[1:])
    return [row if shown else row | unknown for row, shown in zip(rows, known, strict=True)]
