"""Age at the scan: in which columns and units tables state it, and how long after the baseline a session was."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from ..spellings import YEARS_PER_UNIT, is_missing, number, unit_of

__all__ = ["AGE", "BASELINE_AGE", "about_columns", "date_of", "label_key", "stated_time", "time_in_label", "with_ages"]

AGE, BASELINE_AGE = "age", "age_bl"
"""Columns of a row that ``with_ages`` gave: as the table's ``age`` or ``age_at_scan``, and at the baseline for sure."""

_UNIT = r"(?:_(?:in_)?(?P<unit>years?|yrs?|y|months?|mos?|m|weeks?|wks?|w|days?|d)|(?P<joined>years|yrs|months|days))?"
_AT_SCAN = re.compile(
    r"(?:age|age_?(?:at_?)?(?:the_?)?(?:scan|session|visit|mri|mr|pet|acquisition|imaging)|(?:scan|visit|session)_?age)"
    + _UNIT
)
_WORDS = r"(?:bl|baseline|base|entry|enrol+ment|inclusion|screening|sc)"
_AT_BASELINE = re.compile(rf"(?:age_?(?:at_?)?{_WORDS}|{_WORDS}_?age)" + _UNIT)
_DESCRIBED = re.compile(r"\b(?:in|unit:?|units:?) (years|months|weeks|days)\b|\((years|months|weeks|days)\)", re.I)
_NO_UNIT = {"numeric", "number", "integer", "int", "float", "real", "arbitrary"}

_SINCE = re.compile(
    r"(years?|months?|weeks?|days?)_(?:since|from|after)_(?:the_)?(?:bl|baseline|entry|enrol+ment|first_\w+)"
)
_TO_VISIT = "days_to_visit"
_LABEL = re.compile(r"(?:(?P<unit>[a-z]+)(?P<count>\d+)|(?P<first>\d+)(?P<after>[a-z]+))", re.IGNORECASE)
_BASELINE = {"bl", "baseline", "base", "sc", "screening", "scmri", "init", "initial", "entry", "m0"}
_DATES = ("acq_time", "examination_date", "session_date", "scan_date", "date")
_DATE = re.compile(r"\s*((?:1[89]|20)\d\d)(-?)(\d\d)\2(\d\d)(?:[T ](\d\d):(\d\d).*)?\s*")
_LONGEST, _ADULT = 60.0, 18.0  # years


def about_columns(*paths: Path) -> dict[str, dict]:
    """What the JSON files beside tables say of columns, by name in lower case; later files over earlier ones.

    A file that is not there, or is none such, says nothing.
    """
    found: dict[str, dict] = {}
    for path in paths:
        try:
            values = json.loads(path.read_text(encoding="utf-8-sig"))
            found |= {str(key).lower(): value for key, value in values.items() if isinstance(value, dict)}
        except (OSError, ValueError, AttributeError):
            continue
    return found


def with_ages(row: Mapping[str, str], about: Mapping[str, dict]) -> dict[str, str]:
    """A table's row whose ages stand in ``AGE`` and ``BASELINE_AGE``, each with its unit where that is not years.

    Args:
        row: by columns in lower case, e.g. ``age_at_scan``, ``age_months``, ``age_at_entry``.
        about: what JSON says of the columns (``about_columns``): ``Units``, or a ``Description`` such as "in months".
    """
    changed = {}
    for column, cell in row.items():
        name = re.sub(r"[^a-z0-9]+", "_", column).strip("_")
        scan, baseline = _AT_SCAN.fullmatch(name), _AT_BASELINE.fullmatch(name)
        if not (scan or baseline):
            changed.setdefault(column, cell)
            continue
        place = AGE if scan else BASELINE_AGE
        if is_missing(changed.get(place)) or (column == place and not is_missing(cell)):
            found = scan or baseline
            changed[place] = _with_unit(cell, found["unit"] or found["joined"] or _json_unit(about.get(column, {})))
    return changed


def _with_unit(cell: str, unit: str) -> str:
    plain = not is_missing(cell) and re.search(r"\d[+\s]*$", cell)
    return f"{cell} {unit_of(unit) or unit}" if plain and unit and unit_of(unit) != "years" else cell


def _json_unit(about: Mapping) -> str:
    stated = str(about.get("Units") or about.get("Unit") or "").strip().lower()
    if not is_missing(stated) and stated not in _NO_UNIT:
        return unit_of(re.split(r"[\s(/]", stated)[0]) or stated
    found = _DESCRIBED.search(str(about.get("Description") or ""))
    return next(filter(None, found.groups()), "").lower() if found else ""


def label_key(label: str) -> str:
    """A session's label without padding, so that M06, M006 and m6 are one; ``bl`` is ``m0``."""
    key = re.sub(r"(?<!\d)0+(?=\d)", "", label.strip().removeprefix("ses-").lower())
    return "m0" if key in ("bl", "baseline") else key


def stated_time(row: Mapping[str, str]) -> float | None:
    """Years since the baseline that a session's row states, as in ``days_since_baseline``; None if it states none."""
    for column, cell in row.items():
        found = _SINCE.fullmatch(column)
        value = number(cell) if found or column == _TO_VISIT else None
        if value is not None and not is_missing(cell):
            return value * YEARS_PER_UNIT[unit_of(found[1]) if found else "days"]
    return None


def time_in_label(label: str, baseline: float | None = None) -> float | None:
    """Years since the baseline that a session's label says: M12, m006, d0129, y2, bl; None where it says nothing.

    Args:
        label: without ``ses-``.
        baseline: age there in years. Labels such as ``12mo`` are ages where children were scanned, so they count only
            for adults.
    """
    key = label_key(label)
    if key in _BASELINE:
        return 0.0
    found = _LABEL.fullmatch(key)
    if not found or (found["after"] and not (baseline or 0) >= _ADULT):
        return None
    unit = unit_of(found["unit"] or found["after"])
    years = float(found["count"] or found["first"]) * YEARS_PER_UNIT[unit] if unit else None
    return years if years is not None and years <= _LONGEST else None


def date_of(row: Mapping[str, str], label: str = "") -> datetime | None:
    """When a session was, by its row or, written as YYYYMMDD, its label; without a zone. None if neither says so."""
    for text in [*(row.get(column) or "" for column in _DATES), label.removeprefix("ses-")]:
        found = _DATE.fullmatch(text)
        if found:
            try:
                year, _, month, day, *clock = found.groups()
                return datetime(int(year), int(month), int(day), *(int(part or 0) for part in clock))
            except ValueError:
                continue
    return None
