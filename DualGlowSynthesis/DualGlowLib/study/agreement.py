"""How region means of synthetic PETs agree with those of the cases' own, over all held-out cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..cases.layouts import is_simulated
from ..evaluation.regions import agreement, asymmetries
from .curves import spoken
from .methods import title_of
from .numbers import BEST
from .results import Results
from .table import Cell, Part, Table

__all__ = ["regions"]


def regions(results: Results) -> Part:
    """Bland and Altman's bias with its standard deviation, ICC, and the error of the asymmetry index, by region."""
    names = results.found[0].measures["regions"]
    rows_by_method = {title_of(name): results.people(name) for name in results.methods}
    values = {name: (_values(rows, "predicted"), _values(rows, "truth")) for name, rows in rows_by_method.items()}
    longest = max(rows_by_method.values(), key=len)
    if all(row["law"] is not None for row in longest):
        values[BEST] = _values(longest, "law"), _values(longest, "truth")
    found = {name: agreement(names, *both) for name, both in values.items()}
    pairs = asymmetries(names, np.zeros((0, len(names))))[0]
    turned = {
        name: agreement(pairs, *(asymmetries(names, means)[1] for means in both)) for name, both in values.items()
    }
    given = "simulated PET" if is_simulated(results.study.source) else "acquired PET"
    tables = [
        _table(f"synthetic minus {given}, SUVR: mean ± sd over cases", names, found, "bias", ".3f"),
        _table("agreement, ICC(A,1)", names, found, "icc", ".2f"),
        _table(f"asymmetry index, synthetic minus {given}, %: mean ± sd over cases", pairs, turned, "bias", ".2f"),
    ]
    notes = [
        "ICC(A,1): absolute agreement over cases, 1 if all are equal, near 0 if cases are not told apart.",
        "Asymmetry index: 200 · (left - right) / (left + right) of the region means.",
        "95 % limits of agreement (Bland and Altman) are the mean ∓ 1.96 sd.",
        "PETs are synthesized without the diagnosis, as for Table 2.",
    ]
    return Part("Regions", [table for table in tables if table.rows], notes=notes)


def _values(rows: Sequence[dict], key: str) -> np.ndarray:
    """``(cases, regions)``, NaN where a case lacks a region."""
    return np.array([row[key] for row in rows], np.float64)


def _table(title: str, names: Sequence[str], found: Mapping[str, list[dict]], key: str, form: str) -> Table:
    """Regions by methods."""
    rows = []
    for place, name in enumerate(names):
        cells = []
        for own in (rows_of[place] for rows_of in found.values()):
            has_sd = key == "bias" and own["high"] is not None
            sd = (own["high"] - own["low"]) / (2 * 1.96) if has_sd else None
            cells.append(Cell(own[key], sd, own["cases"], form))
        rows.append((spoken(name), cells))
    return Table(title, ["region", *found], rows)
