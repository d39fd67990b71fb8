"""Figures of numbers: errors by method (Fig. 4), regions over age (Figs. 7 and 14)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..pictures.charts import Curve, boxes, curves
from .methods import MEAN, title_of
from .results import TRUTH, Found, Results
from .table import Cell, Part, Table

__all__ = ["fig4", "fig7", "fig14", "left_out_ages", "main_method", "spoken"]

_THREE = ("posterior_cingulate_precuneus", "lateral_temporal", "medial_temporal")
"""Regions of Fig. 7; of pairs the mean of both sides."""


_MOST = 30
"""Regions of Fig. 14, as many as the paper's."""


def main_method(results: Results) -> str:
    """The method that figures of one method show: the first that is not the mean PET."""
    return next((name for name in results.methods if name != MEAN), MEAN)


def fig4(results: Results) -> Part:
    """Fig. 4: the mean absolute error of every held-out case, by method."""
    values, best = {}, None
    for method in results.methods:
        rows = [case["methods"] for one in results.of(method) for case in one.evaluation["cases"]]
        values[title_of(method)] = [row[method]["mae"] for row in rows]
        truth = [row[TRUTH]["mae"] for row in rows if TRUTH in row]
        best = float(np.mean(truth)) if truth and len(truth) == len(rows) else best
    rows = [
        (name, [Cell(float(np.median(own)), None, len(own), ".4f"),
                *(Cell(float(end), None, len(own), ".4f") for end in np.quantile(own, (0.25, 0.75)))])
        for name, own in values.items()
    ]  # fmt: skip
    chart = boxes(values, "Error of held-out cases", "mean absolute error in the brain, SUVR", best)
    table = Table("mean absolute error, SUVR", ["method", "median", "first quartile", "third quartile"], rows)
    notes = ["Boxes: median and quartiles; whiskers: to 1.5 times their distance; each point is a held-out case."]
    return Part("Fig. 4: mean absolute error", [table], {"": chart.png}, {"": chart.svg}, notes)


def fig7(results: Results) -> Part:
    """Fig. 7: three regions over the age that is asked for, by diagnosis, with 95 % bands of the mean."""
    method = main_method(results)
    found = results.of(method)
    names, ages = _merged(found[0].measures["regions"]), found[0].measures["ages"]
    by_diagnosis: dict[str, list[np.ndarray]] = {}
    for one in found:
        for case in one.measures["sweep"]:
            by_diagnosis.setdefault(case["diagnosis"] or "no diagnosis", []).append(_sides(case["means"], names))
    shown = [name for name in _THREE if name in names] or list(names)[:3]
    panels, rows = {}, []
    for region in shown:
        place = list(names).index(region)
        panels[spoken(region)] = own = []
        for group, (diagnosis, cases) in enumerate(sorted(by_diagnosis.items())):
            values = np.array([means[:, place] for means in cases])
            middle, half = _band(values)
            own.append(
                Curve(f"{diagnosis} (n = {len(cases)})", *_line(ages, middle, middle - half, middle + half), group)
            )
            cells = [Cell(_or_none(m), None, len(cases)) for m in middle]
            rows.append((f"{spoken(region)}, {diagnosis}", cells))
    title = f"{method}: regions over age at fixed MRI"
    chart = curves(panels, title, "age asked for, years", "SUVR")
    table = Table("mean SUVR by age", ["region, diagnosis", *(f"{age:g}" for age in ages)], rows)
    notes = ["Bands: 95 % confidence intervals of the mean over cases.", *left_out_ages(ages, _taken(ages, found))]
    return Part("Fig. 7: regions over age", [table], {"": chart.png}, {"": chart.svg}, notes)


def fig14(results: Results) -> Part:
    """Fig. 14: every region over age for a subject of each diagnosis, with bands that hold 95 % of further samples."""
    method = main_method(results)
    first = results.of(method)[0]
    names, ages = first.measures["regions"], first.measures["ages"]
    shown: dict[str, dict] = {}
    for case in first.measures["sweep"]:
        shown.setdefault(case["diagnosis"] or "no diagnosis", case)
    panels: dict[str, list[Curve]] = {}
    rows = []
    for place, region in enumerate(names[:_MOST]):
        panels[spoken(region)] = own = []
        for group, (diagnosis, case) in enumerate(sorted(shown.items())):
            lines = [
                np.array([math.nan if row is None else row[place] for row in case[key]], np.float64)
                for key in ("means", "low", "high")
                if case.get(key)
            ]
            own.append(Curve(f"{case['case']} ({diagnosis})", *_line(ages, *lines), group))
            rows.append((f"{spoken(region)}, {case['case']}", [Cell(_or_none(value)) for value in lines[0]]))
    chart = curves(panels, f"{method}: every region over age", "age asked for, years", "SUVR", 5)
    table = Table("SUVR by age", ["region, case", *(f"{age:g}" for age in ages)], rows)
    has_bands = any(case.get("low") for case in shown.values())
    note = (
        "Bands hold a further sample with probability 0.95."
        if has_bands
        else "The method drew no samples, so there are no bands."
    )
    notes = [note, *left_out_ages(ages, _taken(ages, results.of(method)[:1]))]
    return Part("Fig. 14: every region over age", [table], {"": chart.png}, {"": chart.svg}, notes)


def left_out_ages(asked: Sequence[float], taken: Sequence[float]) -> list[str]:
    """What is said of ages that a method was not asked for.

    >>> left_out_ages([50, 100], [50])
    ['100 years is beyond what the method was trained on.']
    """
    beyond = [f"{age:g}" for age in asked if age not in taken]
    if not beyond:
        return []
    return [f"{', '.join(beyond)} years {'is' if len(beyond) == 1 else 'are'} beyond what the method was trained on."]


def _taken(ages: Sequence[float], found: Sequence[Found]) -> list[float]:
    """Ages at which there is a PET of any case."""
    means = [case["means"] for one in found for case in one.measures["sweep"]]
    return [age for place, age in enumerate(ages) if any(own[place] is not None for own in means)]


def _merged(regions: Sequence[str]) -> dict[str, list[int]]:
    """Places of regions, those of both sides under one name."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(regions):
        found.setdefault(name[:-2] if name.endswith(("_L", "_R")) else name, []).append(place)
    return found


def _sides(means: Sequence[Sequence[float] | None], names: dict[str, list[int]]) -> np.ndarray:
    """``(ages, merged regions)``, NaN where there is none."""
    return np.array(
        [[math.nan if row is None else _mean([row[place] for place in own]) for own in names.values()] for row in means]
    )


def _mean(values: Sequence[float | None]) -> float:
    """Of both sides; of one where the case lacks the other, NaN where it lacks both."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else math.nan


def _band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over cases, ``(ages,)``, and half the width of its 95 % interval by Student's law; 0 of a single case."""
    from scipy.stats import t

    middle, n = values.mean(0), len(values)
    if n < 2:
        return middle, np.zeros_like(middle)
    return middle, t.ppf(0.975, n - 1) * values.std(0, ddof=1) / math.sqrt(n)


def _line(ages: Sequence[float], *lines: np.ndarray) -> tuple[list[float], ...]:
    """Ages and values where there are any."""
    known = [place for place in range(len(ages)) if math.isfinite(lines[0][place])]
    kept = [[float(line[place]) for place in known] for line in lines]
    return ([ages[place] for place in known], *kept, *([[], []] if len(lines) == 1 else []))


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def spoken(region: str) -> str:
    """A region's name as tables and charts have it."""
    return region.replace("_L", " left").replace("_R", " right").replace("_", " ")
