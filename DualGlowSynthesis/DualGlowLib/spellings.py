"""Age, sex and diagnosis as tables and users spell them, in one spelling."""

from __future__ import annotations

import re
from collections.abc import Callable

from .errors import InputError

__all__ = [
    "BROADER",
    "DIAGNOSES",
    "PARSERS",
    "YEARS_PER_UNIT",
    "is_missing",
    "number",
    "parse_age",
    "parse_diagnosis",
    "parse_sex",
    "unit_of",
]

_MISSING = {"", "n/a", "na", "nan", "none", "null", "missing", "unknown", "?", ".", "-", "-4", "-4.0"}  # -4: ADNI
_SEX = {
    **dict.fromkeys(("f", "female", "w", "woman", "girl"), "F"),
    **dict.fromkeys(("m", "male", "man", "boy"), "M"),
}
_OTHER_SEX = {"o", "other", "intersex", "diverse", "d"}
_DIAGNOSIS = {
    **dict.fromkeys(
        (
            *("cn", "nc", "hc", "nl", "cu", "ctrl", "control", "controls", "healthy", "normal", "healthy control"),
            *("healthy controls", "normal control", "cognitively normal", "cognitively unimpaired"),
        ),
        "CN",
    ),
    **dict.fromkeys(
        (
            *("smc", "significant memory concern", "significant memory concerns", "subjective memory concern"),
            "subjective memory concerns",
        ),
        "SMC",
    ),
    **dict.fromkeys(("emci", "early mci", "early mild cognitive impairment"), "EMCI"),
    **dict.fromkeys(("mci", "amci", "mild cognitive impairment"), "MCI"),
    **dict.fromkeys(("lmci", "late mci", "late mild cognitive impairment"), "LMCI"),
    **dict.fromkeys(("ad", "dat", "alzheimer", "alzheimers", "alzheimers disease", "dementia"), "AD"),
}
DIAGNOSES = ("CN", "SMC", "EMCI", "MCI", "LMCI", "AD")
"""Diagnoses in our spelling, in their order."""
BROADER = {"EMCI": "MCI", "LMCI": "MCI"}
"""What a diagnosis is a part of."""
_OLDEST = 120.0
_AGE = re.compile(r"(>=?|≥)?\s*(\d{1,5}(?:[.,]\d+)?)\s*(\+)?\s*([a-z]+)?(?: old)?", re.IGNORECASE)
YEARS_PER_UNIT = {"years": 1.0, "months": 1 / 12, "weeks": 7 / 365.25, "days": 1 / 365.25}
_UNITS = {
    **dict.fromkeys(("y", "yr", "yrs", "year", "years", "yo", "a"), "years"),
    **dict.fromkeys(("m", "mo", "mos", "mon", "month", "months"), "months"),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), "weeks"),
    **dict.fromkeys(("d", "day", "days"), "days"),
}


def is_missing(value: object) -> bool:
    """Whether nothing is known: None, NaN, or a table's cell that is empty, ``n/a``, ``-4`` (ADNI) and the like.

    ``-4`` stands for a missing value as text only; the number -4 is what it is.
    """
    if isinstance(value, float | int):
        return value != value  # NaN
    return value is None or str(value).strip().lower() in _MISSING


def number(text: str) -> float | None:
    """A plain number with a decimal point or comma, or None."""
    try:
        return float(text.strip().replace(",", ".", 1))
    except ValueError:
        return None


def unit_of(text: str) -> str:
    """A unit of time as a key of ``YEARS_PER_UNIT``; empty for what is none."""
    return _UNITS.get(text.strip().lower(), "")


def parse_age(text: str) -> tuple[str, str]:
    """Age in years and a note (empty where there is nothing to say).

    ``72``, ``72.5``, ``72,5``, ``072Y`` (DICOM), ``864M`` (months, as DICOM allows; so weeks and days) and ``72 years``
    are understood.
    Ages that were cut for privacy become the lowest that they can be: ``89+`` 89, ``>89`` 90; a note says so, and
    what units other than years became.

    Raises:
        InputError: for anything else, and for an age below 1 or above 120 years.
    """
    found = _AGE.fullmatch(text.strip())
    if not found or not (found[4] is None or unit_of(found[4])):
        raise InputError(f"age {text!r} is not understood; write years, e.g. 72.5, or n/a.")
    above, digits, plus, unit = found.groups()
    years = number(digits) * YEARS_PER_UNIT[unit_of(unit or "years")]
    if above == ">":
        years += 1
    if not 1 <= years <= _OLDEST:
        raise InputError(f"age {text!r} is outside 1 to {_OLDEST:g} years; correct it, or write n/a.")
    value = f"{round(years, 2):g}"
    odd = above or plus or (unit and unit_of(unit) != "years")
    return value, f"age {text.strip()!r} is taken as {value}" if odd else ""


def parse_sex(text: str) -> tuple[str, str]:
    """``F`` or ``M`` (empty for another one, of which models know nothing) and a note.

    Raises:
        InputError: for numbers and other codes, which cohorts use in opposite senses.
    """
    word = text.strip().lower()
    if word in _SEX:
        return _SEX[word], ""
    if word in _OTHER_SEX:
        return "", f"sex {text.strip()!r} is taken as missing"
    raise InputError(f"sex {text!r} could be either; write F, M or n/a, or explain it as Levels in participants.json.")


def parse_diagnosis(text: str) -> tuple[str, str]:
    """One of ``DIAGNOSES`` for its usual spellings, any other word as it is, and a note.

    Raises:
        InputError: for a number, which only its makers understand.
    """
    word = re.sub(r"\s+", " ", text.strip().lower().replace("'", "").replace("’", "").replace("_", " "))
    if word in _DIAGNOSIS:
        return _DIAGNOSIS[word], ""
    if number(word) is not None:
        raise InputError(
            f"diagnosis {text!r} is a number; write CN, MCI, AD or a word, or explain it in participants.json."
        )
    return text.strip(), f"diagnosis {text.strip()!r} is none of {', '.join(DIAGNOSES)}"


PARSERS: dict[str, Callable[[str], tuple[str, str]]] = {
    "age": parse_age,
    "sex": parse_sex,
    "diagnosis": parse_diagnosis,
}
"""Text to our spelling and a note, by covariate; other covariates are taken as they are written."""
