"""Means over regions, in rows for a table."""

from __future__ import annotations

import numpy as np

from .draws import Distribution
from .simulate.regions import REGIONS

__all__ = ["interval90", "region_rows"]

_RANKS_FROM = 19  # samples: a central 90 % interval of order statistics exists (``Distribution.interval``)
# 95th percentile of Student's law with 1, 2, … degrees of freedom (any table of it).
_STUDENT = (
    6.3138, 2.9200, 2.3534, 2.1318, 2.0150, 1.9432, 1.8946, 1.8595, 1.8331, 1.8125, 1.7959, 1.7823, 1.7709, 1.7613,
    1.7531, 1.7459, 1.7396,
)  # fmt: skip


def interval90(found: Distribution) -> np.ndarray:
    """What a further sample's region mean lies in with probability 0.9, SUVR, ``(2, regions)``.

    From 19 samples on by their order statistics. Fewer have no 5th percentile; there the law is taken as normal
    (Student's prediction interval), so that few samples give a wide interval and not a narrow one.
    """
    count = len(found.regions)
    if count >= _RANKS_FROM:
        return found.interval(0.9)
    half = _STUDENT[count - 2] * found.regions.std(0, ddof=1) * np.sqrt(1 + 1 / count)
    return np.maximum(found.regions.mean(0) + np.array([[-1.0], [1.0]]) * half, 0)


def region_rows(found: Distribution) -> list[dict]:
    """``region``, ``mean``, ``sd``, ``low`` and ``high`` (90 %, see ``interval90``) of each; None for one sample."""
    means = found.regions.mean(0)
    empty = [None] * len(means)
    sd, low, high = empty, empty, empty
    if found.samples > 1:
        sd, (low, high) = found.regions.std(0, ddof=1).tolist(), interval90(found).tolist()
    names = ("region", "mean", "sd", "low", "high")
    return [dict(zip(names, row, strict=True)) for row in zip(REGIONS, means.tolist(), sd, low, high, strict=True)]
