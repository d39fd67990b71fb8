"""Who is in a cohort: numbers, ages and sexes by diagnosis, as papers print them."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..spellings import number

__all__ = ["Group", "ages_by_decade", "demographics", "people_of"]

_SITES = ("site", "site_id", "centre", "center")
"""Columns that say where a case was acquired."""


@dataclass(frozen=True)
class Group:
    """The cases of one diagnosis.

    Attributes:
        diagnosis: as the cases have it; empty for those without.
        cases: how many.
        ages: in years, of those that have one.
        women, men: how many.
    """

    diagnosis: str
    cases: int
    ages: tuple[float, ...]
    women: int
    men: int

    def to_text(self) -> str:
        """One line.

        >>> Group("CN", 3, (70.0, 74.0), 2, 1).to_text()
        'CN: n = 3, age 72.0 ± 2.8 (70 to 74), 2 F, 1 M'
        """
        parts = [f"{self.diagnosis or 'no diagnosis'}: n = {self.cases}"]
        if self.ages:
            sd = f" ± {statistics.stdev(self.ages):.1f}" if len(self.ages) > 1 else ""
            parts.append(f"age {statistics.fmean(self.ages):.1f}{sd} ({min(self.ages):g} to {max(self.ages):g})")
        else:
            parts.append("age unknown")
        return ", ".join([*parts, f"{self.women} F", f"{self.men} M"])


def demographics(people: Iterable[Mapping[str, str]]) -> list[Group]:
    """A group for each diagnosis, in the order of the alphabet.

    Args:
        people: covariates of the cases, see ``Case.covariates``.
    """
    groups: dict[str, list[Mapping[str, str]]] = {}
    for person in people:
        groups.setdefault(person.get("diagnosis", ""), []).append(person)
    return [
        Group(
            diagnosis,
            len(members),
            tuple(sorted(float(one["age"]) for one in members if "age" in one)),
            sum(one.get("sex") == "F" for one in members),
            sum(one.get("sex") == "M" for one in members),
        )
        for diagnosis, members in sorted(groups.items())
    ]


def ages_by_decade(groups: Iterable[Group]) -> tuple[list[int], dict[str, list[int]]]:
    """Beginnings of decades from the youngest to the oldest, and how many of each diagnosis are in them.

    >>> ages_by_decade([Group("AD", 1, (81.0,), 0, 1), Group("CN", 2, (59.9, 60.0), 2, 0)])
    ([50, 60, 70, 80], {'AD': [0, 0, 0, 1], 'CN': [1, 1, 0, 0]})
    """
    groups = list(groups)
    decades = [int(age // 10) * 10 for group in groups for age in group.ages]
    if not decades:
        return [], {}
    bins = list(range(min(decades), max(decades) + 10, 10))
    return bins, {
        group.diagnosis: [sum(low <= age < low + 10 for age in group.ages) for low in bins] for group in groups
    }


def people_of(people: Iterable[Mapping[str, str]]) -> dict:
    """Counts for a model's card: nobody can be told from them.

    Args:
        people: covariates and other columns of the cases, see ``Case.attributes``.

    Returns:
        ``age``: ``known`` (of how many cases), ``mean``, ``sd``, ``minimum``, ``maximum`` in years; ``sex``,
        ``diagnosis`` and ``site``: cases by value. What no case states is left out.

    >>> people_of([{"age": "70", "sex": "F", "Site": "A"}, {"age": "74", "sex": "F"}])
    {'age': {'known': 2, 'mean': 72.0, 'sd': 2.8, 'minimum': 70.0, 'maximum': 74.0}, 'sex': {'F': 2}, 'site': {'A': 1}}
    """
    rows = [{key.lower(): value for key, value in one.items()} for one in people]
    ages = [age for row in rows if math.isfinite(age := number(str(row.get("age", ""))) or math.nan)]
    found: dict = {}
    if ages:
        sd = round(statistics.stdev(ages), 1) if len(ages) > 1 else 0.0
        mean = round(statistics.fmean(ages), 1)
        found["age"] = {"known": len(ages), "mean": mean, "sd": sd, "minimum": min(ages), "maximum": max(ages)}
    sites = [next(filter(None, map(row.get, _SITES)), "") for row in rows]
    values = {key: [row.get(key, "") for row in rows] for key in ("sex", "diagnosis")} | {"site": sites}
    for key, column in values.items():
        if counts := Counter(filter(None, map(str, column))):
            found[key] = dict(sorted(counts.items()))
    return found
