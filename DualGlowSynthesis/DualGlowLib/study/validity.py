"""Whether synthetic PETs are of the person whose MRI was given: what image metrics alone can't tell."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

import numpy as np

from .methods import title_of
from .numbers import BEST
from .results import Results, features
from .table import Cell, Part, Table

__all__ = ["validity"]

_LOW = -1.5  # standard deviations of healthy subjects
_HEALTHY = "CN"
_LEAST = 5  # healthy subjects of the other folds
_HEADS = (
    "method", "own MRI nearer", "error by another's MRI, %", "identified", "by chance", "deficits found",
    "false alarms", "FWHM, mm", "FWHM of the PETs, mm",
)  # fmt: skip


def validity(results: Results) -> Part:
    """Of each method: another's MRI, identity, recall of deficits, effective resolution."""
    rows = []
    for method in results.methods:
        people = results.people(method)
        shown = [_shares(people, "predicted"), [_fwhm(people, "predicted"), _fwhm(people, "truth")]]
        rows.append((title_of(method), [*_swap(people), *shown[0], *shown[1]]))
    longest = max(map(results.people, results.methods), key=len)
    if all(row["law"] is not None for row in longest):
        rows.append((BEST, [*[Cell(None)] * 2, *_shares(longest, "law"), *[Cell(None)] * 2]))
    notes = [
        "Own MRI nearer: share of cases whose PET is nearer to what the method makes of their own MRI than of another "
        "subject's, with the same covariates; 0.5 if the MRI is of no use. Beside it, by how much the root mean "
        "squared error grows with the other MRI.",
        "Identified: share of cases whose own PET is the nearest of all held-out cases of the fold, in standardised "
        "region means.",
        f"Deficits: region means below {_LOW:g} standard deviations of {_HEALTHY} subjects of the other folds. Found: "
        "share of those of the PETs that the synthetic PETs show too; false alarms: share of all other region means "
        f"that they show. At least {_LEAST} such subjects are needed.",
        "FWHM: effective resolution by the differences of neighbours in the brain (Forman 1995), of synthetic PETs and "
        "of the PETs themselves: a larger one is smoother.",
    ]
    return Part("Validity", [Table("whose PET it is", _HEADS, rows)], notes=notes)


def _swap(people: Sequence[dict]) -> list[Cell]:
    pairs = [pair for row in people if (pair := row.get("swap")) and None not in pair]
    if not pairs:
        return [Cell(None), Cell(None)]
    nearer = fmean(1.0 if own < other else 0.5 if own == other else 0.0 for own, other in pairs)
    grown = [100 * (other / own - 1) for own, other in pairs]
    spread = stdev(grown) if len(grown) > 1 else None
    return [Cell(nearer, None, len(pairs), ".2f"), Cell(fmean(grown), spread, len(pairs), ".1f")]


def _shares(people: Sequence[dict], key: str) -> list[Cell]:
    """Identified, by chance, deficits found, false alarms."""
    truth, made = features(people, "truth"), features(people, key)
    folds = np.array([row["fold"] for row in people])
    healthy = np.array([row["diagnosis"] == _HEALTHY for row in people])
    known, chances, low, called = [], [], [], []
    for fold in sorted(set(folds)):
        inside, norm = folds == fold, (folds != fold) & healthy
        own, seen = truth[inside], made[inside]
        scale = np.maximum(own.std(0), 1e-9)
        distances = np.square((seen[:, None] - own[None]) / scale).sum(-1)
        known += (distances.argmin(1) == np.arange(len(own))).tolist()
        chances += [1 / len(own)] * len(own)
        if norm.sum() >= _LEAST:
            middle, spread = truth[norm].mean(0), np.maximum(truth[norm].std(0, ddof=1), 1e-9)
            low += ((own - middle) / spread < _LOW).ravel().tolist()
            called += ((seen - middle) / spread < _LOW).ravel().tolist()
    found = [shown for shown, is_low in zip(called, low, strict=True) if is_low]
    false = [shown for shown, is_low in zip(called, low, strict=True) if not is_low]
    lists = (known, chances, found, false)
    return [Cell(fmean(map(float, own)), None, len(own), ".2f") if own else Cell(None) for own in lists]


def _fwhm(people: Sequence[dict], key: str) -> Cell:
    values = [width for row in people if (width := row.get("fwhm", {}).get(key)) is not None]
    if not values:
        return Cell(None)
    return Cell(fmean(values), stdev(values) if len(values) > 1 else None, len(values), ".1f")
