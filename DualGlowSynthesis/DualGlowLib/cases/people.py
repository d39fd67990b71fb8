"""Covariates of person-sessions from the tables of a BIDS or CAPS directory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path

from ..errors import InputError
from ..spellings import is_missing, number, parse_age, parse_diagnosis, parse_sex
from .case import Finding
from .tables import read_table

__all__ = ["People", "understand"]

_AGE = ("age", "age_at_scan", "age_at_session", "scan_age")
_BASELINE_AGE = ("age", "age_bl", "baseline_age", "age_baseline", "age_at_baseline", "age_at_entry")
_SEX = ("sex", "gender")
_DIAGNOSIS = ("diagnosis", "dx", "group", "diagnosis_bl", "dx_bl", "diagnosis_sc")
_DAYS = ("days_since_baseline", "days_from_baseline", "days_to_visit")
_DATE = ("acq_time", "examination_date", "session_date", "scan_date", "date")
_SUBJECT, _SESSION = ("participant_id", "subject_id", "subject"), ("session_id", "session")
_DAYS_IN_YEAR = 365.25


def first(row: dict[str, str], columns: Iterable[str]) -> str:
    """The first of the columns that says something."""
    return next((row[column] for column in columns if not is_missing(row.get(column))), "")


def understand(finding: Finding, text: str, parse: Callable, levels: dict[str, str] | None = None) -> str:
    """A covariate in our spelling; what is not understood becomes a mistake of the finding, what is odd a note."""
    if is_missing(text):
        return ""
    if levels and text in levels:
        text = re.split(r"[;,(]", str(levels[text]))[0].strip()
    try:
        value, note = parse(text)
    except InputError as error:
        finding.mistake(str(error).rstrip("."))
        return ""
    if note:
        finding.notes.append(note)
    return value


class People:
    """The tables of a directory, looked up by person and session.

    ``participants.tsv`` has a row a person or, with a column ``session_id`` (as Clinica's merged tables), one a
    person-session; ``sub-*/sub-*_sessions.tsv``, or ``sessions.tsv`` at the top, has a row a session and comes first.

    Args:
        folder: with ``participants.tsv``.
        subjects: with the ``sub-*`` folders; the same folder in BIDS.
        more: other tables at the top with ``participant_id`` and ``session_id``, each used if it is there.
    """

    def __init__(self, folder: Path, subjects: Path | None = None, more: Iterable[str] = ()) -> None:
        self.folder, self.subjects = folder, subjects or folder
        self.persons: dict[str, dict[str, str]] = {}
        self.visits: dict[str, dict[str, dict[str, str]]] = {}  # person, session, row
        self.doubles: dict[str, str] = {}
        for name in ("participants.tsv", "sessions.tsv", *more):
            path = folder / name
            if path.is_file():
                self._add(path)

    def _add(self, path: Path) -> None:
        rows = read_table(path)
        if rows and not any(column in rows[0] for column in _SUBJECT):
            raise InputError(f"{path} has no column participant_id; give each row's person there.")
        for row in rows:
            subject, session = self._subject(first(row, _SUBJECT)), first(row, _SESSION)
            if not subject:
                continue
            if session:
                place, key = self.visits.setdefault(subject, {}), self._session(session)
            else:
                place, key = self.persons, subject
            if key in place and path.name != "participants.tsv":
                place[key] = {**row, **{k: v for k, v in place[key].items() if not is_missing(v)}}
                continue
            if key in place and place[key] != row:
                self.doubles[subject] = f"{path.name} has two different rows for it"
            place[key] = row

    @staticmethod
    def _subject(text: str) -> str:
        return text.strip().removeprefix("sub-")

    @staticmethod
    def _session(text: str) -> str:
        return text.strip().removeprefix("ses-")

    @cached_property
    def levels(self) -> dict[str, dict[str, str]]:
        """What ``participants.json`` says that codes mean, by column."""
        try:
            values = json.loads((self.folder / "participants.json").read_text(encoding="utf-8-sig"))
            return {k.lower(): v["Levels"] for k, v in values.items() if isinstance(v, dict) and "Levels" in v}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    @cache  # noqa: B019 (it lives as long as a directory is searched)
    def sessions(self, subject: str) -> dict[str, dict[str, str]]:
        """Rows of a person's sessions by label without ``ses-``."""
        rows = dict(self.visits.get(self._subject(subject), {}))
        path = self.subjects / subject / f"{subject}_sessions.tsv"
        for row in read_table(path) if path.is_file() else []:
            session = self._session(first(row, _SESSION))
            if session:
                known = {key: value for key, value in row.items() if not is_missing(value)}
                rows[session] = {**rows.get(session, {}), **known}
        return rows

    def describe(self, finding: Finding, sessions: list[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Covariates and the other columns of a finding; mistakes and notes go into it.

        Age at the scan is, in this order: the session's own ``age``; the person's age at baseline
        (``participants.tsv``) plus the time since then, which is ``days_since_baseline``, or the difference of
        ``acq_time`` to the earliest session's, or the months in the session's name (``ses-M12``, ``ses-m012``); the
        age at baseline itself for a person's only session or the one named M0, baseline or bl. Else it is missing.

        Args:
            finding: whose subject and session are looked up.
            sessions: names of all the person's sessions.
        """
        subject, session = self._subject(finding.subject), self._session(finding.session)
        if subject in self.doubles:
            finding.mistake(self.doubles[subject])
        person = self.persons.get(subject, {})
        rows = self.sessions(finding.subject)
        visit = rows.get(session, {})
        if not person and not visit and (self.persons or self.visits):
            finding.notes.append("no table has a row for it")

        found = {}
        for key, columns, parse in (("sex", _SEX, parse_sex), ("diagnosis", _DIAGNOSIS, parse_diagnosis)):
            text = first(visit, columns) or first(person, columns)
            levels = next((self.levels[column] for column in columns if column in self.levels), None)
            found[key] = understand(finding, text, parse, levels)
        found["age"] = self._age(finding, person, visit, rows, [self._session(s) for s in sessions])
        if found["diagnosis"] and not first(visit, _DIAGNOSIS) and self._later(session, rows, sessions):
            finding.notes.append("the diagnosis is the person's, not the session's")
        used = {*_SUBJECT, *_SESSION, *_SEX, *_DIAGNOSIS, *_AGE, *_BASELINE_AGE}
        columns = {
            key: value for key, value in {**person, **visit}.items() if key not in used and not is_missing(value)
        }
        return {key: found[key] for key in ("age", "sex", "diagnosis") if found[key]}, columns

    def _age(self, finding: Finding, person: dict, visit: dict, rows: dict, sessions: list[str]) -> str:
        text = first(visit, _AGE)
        if text:
            return understand(finding, text, parse_age)
        baseline = understand(finding, first(person, _BASELINE_AGE), parse_age)
        if not baseline:
            return ""
        session = self._session(finding.session)
        years = self.years_since_baseline(session, rows)
        if years is None:
            if len(sessions) < 2:
                return baseline
            finding.notes.append("age is missing: nothing says how long after the baseline this session was")
            return ""
        return f"{round(float(baseline) + years, 2):g}"

    def _later(self, session: str, rows: dict, sessions: list[str]) -> bool:
        years = self.years_since_baseline(session, rows)
        return len(sessions) > 1 if years is None else years > 0.25

    def years_since_baseline(self, session: str, rows: dict[str, dict[str, str]]) -> float | None:
        """Years from a person's first session to this one, or None if nothing says so."""
        days = number(first(rows.get(session, {}), _DAYS))
        if days is not None:
            return days / _DAYS_IN_YEAR
        dates = {name: date for name, row in rows.items() if (date := _date(first(row, _DATE)))}
        if session in dates and len(dates) == len(rows):
            return (dates[session] - min(dates.values())).total_seconds() / 86400 / _DAYS_IN_YEAR
        months = re.fullmatch(r"m0*(\d+)", session, re.IGNORECASE)
        if months:
            return int(months[1]) / 12
        return 0.0 if session.lower() in ("bl", "baseline") else None


def _date(text: str) -> datetime | None:
    """A date as BIDS writes it (ISO 8601, with or without time), without its zone."""
    try:
        return datetime.fromisoformat(text.strip().rstrip("Zz")).replace(tzinfo=None)
    except ValueError:
        return None
