"""Covariates of person-sessions from the tables of a BIDS or CAPS directory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path

from ..errors import InputError
from ..files import UNFETCHED, is_unfetched
from ..spellings import BROADER, is_missing, parse_age, parse_diagnosis, parse_sex
from .ages import (
    AGE,
    BASELINE_AGE,
    about_columns,
    date_of,
    label_key,
    stated_time,
    time_in_label,
    with_ages,
)
from .case import Finding
from .tables import read_table

__all__ = ["People", "understand"]

_SEX = ("sex", "gender")
_DIAGNOSIS = ("diagnosis", "dx", "group")
_BASELINE_DIAGNOSIS = ("diagnosis_bl", "dx_bl", "diagnosis_sc", "dx_sc", "baseline_diagnosis", "diagnosis_baseline")
_SUBJECT, _SESSION = ("participant_id", "subject_id", "subject"), ("session_id", "session")
_FIRST = {"", "1", "v1", "visit1", "t1", "tp1"}  # labels of a first session, as far as they say anything


def first(row: dict[str, str], columns: Iterable[str]) -> str:
    """The first of the columns that says something."""
    return next((row[column] for column in columns if not is_missing(row.get(column))), "")


def understand(finding: Finding, text: str, parse: Callable, levels: Mapping[str, object] | None = None) -> str:
    """A covariate in our spelling; what is not understood becomes a mistake of the finding, what is odd a note.

    Where ``levels`` say what the text stands for, that counts; the text itself where they say it in words of their own.
    """
    if is_missing(text):
        return ""
    level = (levels or {}).get(text, "")
    meaning = level.get("Description", "") if isinstance(level, dict) else level
    said = re.split(r"[;,(]", str(meaning))[0].strip()
    try:
        value, note = parse(text)
        known = not note
    except InputError as error:
        value, note, known, refusal = "", "", False, str(error).rstrip(".")
    else:
        refusal = ""
    if said:
        with suppress(InputError):
            other, odd = parse(said)
            if not (odd and known):
                value, note, refusal = other, odd, ""
    if refusal:
        finding.mistake(refusal)
        return ""
    if note:
        finding.notes.append(note)
    return value


class People:
    """The tables of a directory, looked up by person and session.

    ``participants.tsv`` has a row a person or, with a column ``session_id`` (as Clinica's merged tables), one a
    person-session; ``sub-*/sub-*_sessions.tsv``, or ``sessions.tsv`` at the top, has a row a session and comes first.
    ``*_scans.tsv`` says when a session's T1 was acquired. JSON files beside the tables give codes and units. Labels of
    sessions are the same in any padding (M06, M006).

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
        self.unread: list[str] = []
        for name in ("participants.tsv", "sessions.tsv", *more):
            self._add(folder / name)

    def _add(self, path: Path) -> None:
        if is_unfetched(path):
            self.unread.append(f"{path.name} {UNFETCHED}")
            return
        rows = self._rows(path)
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
        return label_key(text)

    def _rows(self, path: Path) -> list[dict[str, str]]:
        """A table's rows with ages in one place, see ``with_ages``; none if there is no such file."""
        if not path.is_file():
            return []
        kind = path.stem.rpartition("_")[2]
        about = about_columns(*(self.folder / f"{name}.json" for name in ("participants", kind)))
        about |= about_columns(path.with_suffix(".json"))
        return [with_ages(row, about) for row in read_table(path)]

    @cached_property
    def levels(self) -> dict[str, dict[str, object]]:
        """What JSON says that codes mean, by column: texts, or objects with a ``Description``."""
        about = about_columns(self.folder / "sessions.json", self.folder / "participants.json")
        return {name: of["Levels"] for name, of in about.items() if isinstance(of.get("Levels"), dict)}

    @cache  # noqa: B019 (it lives as long as a directory is searched)
    def sessions(self, subject: str) -> dict[str, dict[str, str]]:
        """Rows of a person's sessions by ``label_key`` of their labels."""
        rows = dict(self.visits.get(self._subject(subject), {}))
        path = self.subjects / subject / f"{subject}_sessions.tsv"
        for row in [] if is_unfetched(path) else self._rows(path):
            session = self._session(first(row, _SESSION))
            if session:
                rows[session] = _over(row, rows.get(session, {}))
        for session, row in self._scans(subject).items():
            if row:
                rows[session] = _over(rows.get(session, {}), row)
        return rows

    def _scans(self, subject: str) -> dict[str, dict[str, str]]:
        """Date and age of each session in ``*_scans.tsv``: of the T1, else of the first scan."""
        found: dict[str, dict[str, str]] = {}
        ranks: dict[str, int] = {}
        folder = self.subjects / subject
        for path in sorted([*folder.glob(f"{subject}_scans.tsv"), *folder.glob(f"ses-*/{subject}_ses-*_scans.tsv")]):
            for row in [] if is_unfetched(path) else self._rows(path):
                name = row.get("filename", "")
                label = re.search(r"ses-([A-Za-z0-9]+)", name if path.parent == folder else path.parent.name)
                session, rank = self._session(label[1] if label else ""), 0 if "_T1w" in name else 1
                known = {key: row[key] for key in ("acq_time", AGE) if not is_missing(row.get(key))}
                if known and rank < ranks.get(session, 2):
                    found[session], ranks[session] = known, rank
        return found

    def describe(self, finding: Finding, sessions: list[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Covariates and the other columns of a finding; mistakes and notes go into it.

        Age at the scan is, in this order: the session's own ``age``; the person's age at baseline
        (``participants.tsv``) plus the time since then (``years_since_baseline``); the age at baseline itself for a
        person's only session. Else it is missing, and a note says why. A diagnosis is the session's own; the
        person's where no session states another.

        Args:
            finding: whose subject and session are looked up.
            sessions: names of all the person's sessions.
        """
        subject, session = self._subject(finding.subject), self._session(finding.session)
        if subject in self.doubles:
            finding.mistake(self.doubles[subject])
        own = self.subjects / finding.subject
        tables = [own / f"{finding.subject}_sessions.tsv", *own.glob("*_scans.tsv"), *own.glob("ses-*/*_scans.tsv")]
        for text in [*self.unread, *(f"{path.name} {UNFETCHED}" for path in tables if is_unfetched(path))]:
            finding.mistake(text)
        person = self.persons.get(subject, {})
        rows = self.sessions(finding.subject)
        visit = rows.get(session, {})
        if not person and not visit and (self.persons or self.visits):
            finding.notes.append("no table has a row for it")
        elif session and not visit and (self.visits.get(subject) or tables[0].is_file()):
            finding.notes.append(f"the tables have rows for other sessions of it, none for {finding.session}")

        found = {"sex": self._coded(finding, first(visit, _SEX) or first(person, _SEX), _SEX, parse_sex)}
        found["diagnosis"] = self._diagnosis(finding, person, visit, rows)
        found["age"] = self._age(finding, person, visit, rows, sessions)
        used = {*_SUBJECT, *_SESSION, *_SEX, *_DIAGNOSIS, *_BASELINE_DIAGNOSIS, AGE, BASELINE_AGE}
        columns = {
            key: value for key, value in {**person, **visit}.items() if key not in used and not is_missing(value)
        }
        return {key: found[key] for key in ("age", "sex", "diagnosis") if found[key]}, columns

    def _coded(self, finding: Finding, text: str, columns: Iterable[str], parse: Callable) -> str:
        levels = next((self.levels[column] for column in columns if column in self.levels), None)
        return understand(finding, text, parse, levels)

    def _diagnosis(self, finding: Finding, person: dict, visit: dict, rows: dict[str, dict[str, str]]) -> str:
        columns = (*_DIAGNOSIS, *_BASELINE_DIAGNOSIS)
        if own := first(visit, _DIAGNOSIS):
            return self._coded(finding, own, columns, parse_diagnosis)
        text = first(person, columns) or first(visit, _BASELINE_DIAGNOSIS)
        found = self._coded(finding, text, columns, parse_diagnosis)
        years = self.years_since_baseline(finding.subject, finding.session)
        if not (found and (len(self._labels(finding.subject)) > 1 if years is None else years > 0.25)):
            return found
        quiet = Finding("", "")  # what is odd about other sessions is theirs to say
        stated = {self._coded(quiet, first(row, _DIAGNOSIS), columns, parse_diagnosis) for row in rows.values()}
        if {BROADER.get(one, one) for one in stated} - {"", BROADER.get(found, found)}:
            words = ", ".join(sorted(stated - {""} | {found}))
            finding.notes.append(f"diagnosis is missing: it changes between sessions ({words}), and this one has none")
            return ""
        finding.notes.append("the diagnosis is the person's, not the session's")
        return found

    def _age(self, finding: Finding, person: dict, visit: dict, rows: dict, sessions: list[str]) -> str:
        own, repeated = first(visit, (AGE,)), self._repeats_baseline(finding.subject, rows)
        if own and not repeated:
            return understand(finding, own, parse_age)
        stated = first(person, (BASELINE_AGE, AGE)) or first(visit, (BASELINE_AGE,)) or own
        baseline = understand(finding, stated, parse_age)
        if not baseline:
            return ""
        years = self.years_since_baseline(finding.subject, finding.session)
        alone, label = len(sessions) < 2, self._session(finding.session)
        if years is None and alone:
            if label in _FIRST or not (label[-1:].isdigit() or first(person, (BASELINE_AGE,))):
                return baseline
            if not first(person, (BASELINE_AGE,)):
                finding.notes.append(f"age {baseline} is the person's; nothing says when {finding.session} was")
                return baseline
        if years is None:
            finding.notes.append("age is missing: nothing says how long after the baseline this session was")
            return ""
        age = f"{round(float(baseline) + years, 2):g}"
        if years and (alone or repeated):
            how = "which the tables repeat, " if repeated else ""
            finding.notes.append(f"age {age} is {baseline} at the baseline, {how}and {years:.1f} years since")
        return age

    def _repeats_baseline(self, subject: str, rows: dict[str, dict[str, str]]) -> bool:
        """Whether the sessions' rows have one age though a year or more lies between them, as merged tables may."""
        known = {label: first(row, (AGE,)) for label, row in rows.items() if first(row, (AGE,))}
        times = [years for label in known if (years := self.years_since_baseline(subject, label)) is not None]
        return len(set(known.values())) == 1 and len(times) > 1 and max(times) - min(times) >= 1

    def _labels(self, subject: str) -> set[str]:
        """Of all sessions that a person has a folder or a row for."""
        folders = (path.name for path in (self.subjects / subject).glob("ses-*"))
        return {self._session(label) for label in (*folders, *self.sessions(subject))}

    def years_since_baseline(self, subject: str, session: str) -> float | None:
        """Years from a person's first session to this one, or None if nothing says so.

        By a column such as ``days_since_baseline``; else by the dates of this and of a session whose time is known,
        or of all sessions, the earliest of which is then the baseline; else by the session's label.
        """
        return self._timeline(subject).get(self._session(session))

    @cache  # noqa: B019 (as above)
    def _timeline(self, subject: str) -> dict[str, float | None]:
        rows, labels = self.sessions(subject), self._labels(subject)
        person = self.persons.get(self._subject(subject), {})
        age = understand(Finding("", ""), first(person, (BASELINE_AGE, AGE)), parse_age)
        stated = {label: stated_time(rows.get(label, {})) for label in labels}
        named = {label: time_in_label(label, float(age) if age else None) for label in labels}
        dates = {label: date for label in labels if (date := date_of(rows.get(label, {}), label))}
        known = {
            label: years
            for label in dates
            if (years := named[label] if stated[label] is None else stated[label]) is not None
        }
        if not known and dates and len(dates) == len(labels):
            known = {min(dates, key=dates.__getitem__): 0.0}
        anchor = min(known, key=dates.__getitem__) if known else None
        found = {}
        for label in labels:
            found[label] = stated[label]
            if found[label] is None and anchor is not None and label in dates:
                found[label] = known[anchor] + (dates[label] - dates[anchor]).total_seconds() / 86400 / 365.25
            if found[label] is None:
                found[label] = named[label]
        return found


def _over(row: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """Two rows of one session, the first of which counts where both say something."""
    return {**other, **{key: value for key, value in row.items() if not is_missing(value)}}
