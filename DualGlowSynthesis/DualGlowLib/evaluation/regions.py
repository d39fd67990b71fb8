"""Region means of predicted against acquired PETs: bias with its limits, agreement, asymmetry."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..cases.case import Case

__all__ = ["Weights", "agreement", "asymmetries", "intraclass_correlation", "kernels_of"]

Weights = np.ndarray | Callable[[Case], np.ndarray]
"""Of regions' voxels, ``(regions, *grid.shape)``, each summing to 1: the same for all cases, or what gives a case's own
(``segmentations``), NaN for a region that it lacks."""


def kernels_of(weights: Weights, case: Case) -> np.ndarray:
    """The weights for a case, float64 ``(regions, voxels)``.

    Raises:
        InputError: if the case's own can't be had.
    """
    own = weights(case) if callable(weights) else weights
    return np.asarray(own, np.float64).reshape(len(own), -1)


def agreement(names: Sequence[str], predicted: np.ndarray, truth: np.ndarray) -> list[dict]:
    """How region means agree over cases, a row for each region.

    Args:
        names: of the regions.
        predicted, truth: SUVR, ``(cases, regions)``; NaN where a case has no such value.

    Returns:
        Rows of ``region``, ``cases``, ``bias`` (mean of predicted minus truth, SUVR), ``low`` and ``high`` (95 % limits
        of agreement: bias ∓ 1.96 standard deviations; Bland & Altman, Lancet 1986), ``icc`` (see
        ``intraclass_correlation``) and ``correlation`` (Pearson). None where there are too few cases.
    """
    rows = []
    for name, ours, theirs in zip(names, predicted.T, truth.T, strict=True):
        known = np.isfinite(ours) & np.isfinite(theirs)
        ours, theirs = ours[known].astype(np.float64), theirs[known].astype(np.float64)
        row = {"region": name, "cases": len(ours)}
        row |= dict.fromkeys(("bias", "low", "high", "icc", "correlation"))
        if len(ours):
            row["bias"] = float(np.mean(ours - theirs))
        if len(ours) > 1:
            sd = float(np.std(ours - theirs, ddof=1))
            row |= {"low": row["bias"] - 1.96 * sd, "high": row["bias"] + 1.96 * sd}
        if len(ours) > 2:
            row["icc"] = _number(intraclass_correlation(ours, theirs))
            flat = min(ours.std(), theirs.std()) == 0
            row["correlation"] = None if flat else float(np.corrcoef(ours, theirs)[0, 1])
        rows.append(row)
    return rows


def intraclass_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """ICC(A,1): absolute agreement of single values, two-way model (McGraw & Wong, Psychol Methods 1, 1996).

    Args:
        first, second: ``(n,)``, n at least 2.

    Returns:
        1 for equal values; NaN where nothing varies.
    """
    values = np.stack([first, second], axis=1).astype(np.float64)
    n, k = values.shape
    overall = values.mean()
    rows = k * np.square(values.mean(1) - overall).sum() / (n - 1)
    columns = n * np.square(values.mean(0) - overall).sum() / (k - 1)
    rest = np.square(values - values.mean(1, keepdims=True) - values.mean(0) + overall).sum() / ((n - 1) * (k - 1))
    below = rows + (k - 1) * rest + k * (columns - rest) / n
    return float((rows - rest) / below) if below > 0 else math.nan


def asymmetries(names: Sequence[str], means: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names of the paired regions, and asymmetry indices in per cent, 200 · (L − R) / (L + R), ``(cases, pairs)``.

    A pair has names that end in ``_L`` and ``_R``.
    """
    places = {name: place for place, name in enumerate(names)}
    pairs = [name[:-2] for name in names if name.endswith("_L") and f"{name[:-2]}_R" in places]
    left, right = (means[:, [places[f"{name}_{side}"] for name in pairs]] for side in "LR")
    with np.errstate(divide="ignore", invalid="ignore"):
        return pairs, 200 * (left - right) / (left + right)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
