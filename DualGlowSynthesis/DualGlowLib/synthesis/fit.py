"""How an image fits a law, in numbers: its log-likelihood in parts, and its rank among samples of the law."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..model import LogLikelihood, chi_square_percentile

__all__ = ["all_finite", "numbers", "rank"]


def numbers(found: LogLikelihood) -> dict:
    """The log-likelihood of one image, fit for JSON: what ``Synthesizer.log_likelihood`` returns of it."""
    levels = [
        {
            "dims": level.dims,
            "gaussian": level.gaussian.item(),
            "log_det": level.log_det.item(),
            "chi_square": level.chi_square.item(),
            "percentile": chi_square_percentile(level.chi_square.item(), level.dims) if level.dims else None,
        }
        for level in found.levels
    ]
    dims, chi_square = sum(level["dims"] for level in levels), found.chi_square.item()
    return {
        "nats": found.total.item(),
        "bits_per_dim": 8.0 - found.total.item() / (math.log(2) * dims),  # of 256 bins of the images' span 0..1
        "levels": levels,
        "image": found.image.item(),
        "chi_square": chi_square,
        "chi_square_percentile": chi_square_percentile(chi_square, dims),
    }


def rank(value: float, others: Sequence[float]) -> dict:
    """Where a value lies among others: ``percentile`` (strictly between 0 and 100), their mean and spread.

    If all are of one law, every percentile is equally likely.
    """
    below = sum(other < value for other in others) + 0.5 * sum(other == value for other in others)
    return {
        "samples": len(others),
        "percentile": 100 * (below + 0.5) / (len(others) + 1),
        "expected": float(np.mean(others)),
        "sd": float(np.std(others, ddof=1)) if len(others) > 1 else None,
    }


def all_finite(found: object) -> bool:
    """Whether all numbers in arrays, tensors, lists, dictionaries and attributes of a result are finite."""
    if isinstance(found, torch.Tensor):
        return bool(found.isfinite().all())
    if isinstance(found, np.ndarray | float):
        return bool(np.isfinite(found).all())
    if isinstance(found, dict):
        return all(map(all_finite, found.values()))
    if isinstance(found, list | tuple):
        return all(map(all_finite, found))
    return not hasattr(found, "__dict__") or all_finite(vars(found))
