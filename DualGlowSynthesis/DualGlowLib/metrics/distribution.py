"""How good a law is that is known by its samples: proper scores, coverage and width of intervals, ranks.

The scores are scoringrules' (Zanetta & Allen; Apache-2.0), an extra that Slicer's Python doesn't need.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import numpy as np

from ..errors import InputError

__all__ = ["LEVELS", "distribution_metrics", "energy_score", "rank_fifths", "ranks"]

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Of the central intervals that are measured."""


def distribution_metrics(samples: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Averages over values that each have a law of their own, such as voxels or regions.

    Args:
        samples: independent draws, ``(K, n)``, K at least 2.
        truth: what came true, ``(n,)``, of the same unit.

    Returns:
        ``crps`` (fair: its expectation doesn't depend on K), and for each level ``coverage_90`` and ``width_90`` of the
        central interval for one further draw: the samples' mean and Student's t with their standard deviation, which
        holds for every K if the law is normal.
    """
    from scipy.stats import t

    count = len(samples)
    crps = _library().crps_ensemble(truth, samples.T, estimator="pwm", backend="numpy")  # O(K log K), and fair
    mean, sd = samples.mean(0), samples.std(0, ddof=1)
    found = {"crps": float(np.mean(crps))}
    for level in LEVELS:
        half = float(t.ppf(0.5 + level / 2, count - 1)) * np.sqrt(1 + 1 / count) * sd
        found[f"coverage_{100 * level:g}"] = float(np.mean(np.abs(truth - mean) <= half))
        found[f"width_{100 * level:g}"] = float(np.mean(2 * half))
    return found


def energy_score(samples: np.ndarray, truth: np.ndarray) -> float:
    """Of all values together (Gneiting & Raftery, JASA 102, 2007), fair; arguments as for ``distribution_metrics``."""
    return float(_library().es_ensemble(truth, samples, estimator="fair", backend="numpy"))


def ranks(samples: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How many of the K samples lie below what came true, ``(n,)``, 0 to K: uniform if the law is right."""
    return np.count_nonzero(samples < truth, axis=0)


def rank_fifths(found: np.ndarray, samples: int) -> list[float]:
    """Share of ranks in each fifth of their range; 0.2 each if the law is right.

    A rank stands for the K + 1st part of the range that it is, and counts for each fifth by how much of it lies there.
    """
    edges = np.linspace(0, 1, 6)
    low, high = found.reshape(-1, 1) / (samples + 1), (found.reshape(-1, 1) + 1) / (samples + 1)
    share = np.clip(np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1]), 0, None) * (samples + 1)
    return share.mean(0).tolist()


@lru_cache(maxsize=1)
def _library() -> ModuleType:
    try:
        import scoringrules
    except ImportError:
        raise InputError(
            "Measuring a distribution needs the Python package scoringrules; install it with: pip install scoringrules"
        ) from None
    return scoringrules
