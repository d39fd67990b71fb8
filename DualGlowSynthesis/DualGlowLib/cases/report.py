"""Which cases of a directory can be used, and why others can't."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files import is_unfetched
from ..volumes.dynamic.times import WINDOW
from .case import Case, Finding, Findings
from .files import check_header, check_pet_header
from .layouts import find_cases

__all__ = ["Report", "validate_cases"]


@dataclass
class Report:
    """What ``validate_cases`` found.

    Attributes:
        findings: every case and the directory's notes.
        deep: whether every voxel was read, not the headers alone.
    """

    findings: Findings
    deep: bool

    @property
    def usable(self) -> list[Case]:
        return [item.case for item in self.findings.items if item.is_usable()]

    @property
    def unusable(self) -> list[Finding]:
        return [item for item in self.findings.items if not item.is_usable()]

    def counts(self) -> dict:
        """Numbers of the usable cases: by diagnosis and sex, range of ages, sessions of each subject."""
        cases = self.usable
        ages = [float(case.covariates["age"]) for case in cases if "age" in case.covariates]
        per_subject = Counter(Counter(case.subject for case in cases).values())
        return {
            "cases": len(self.findings.items),
            "usable": len(cases),
            "subjects": len({case.subject for case in cases}),
            "sessions_per_subject": dict(sorted(per_subject.items())),
            "age": {"minimum": min(ages), "maximum": max(ages), "missing": len(cases) - len(ages)} if ages else None,
            **{
                key: dict(sorted(Counter(case.covariates.get(key, "missing") for case in cases).items()))
                for key in ("sex", "diagnosis")
            },
        }

    def to_dict(self) -> dict:
        """All of it, fit for JSON."""
        return {
            "folder": str(self.findings.folder),
            "layout": self.findings.layout,
            "deep": self.deep,
            "notes": self.findings.notes,
            **self.counts(),
            "list": [
                {
                    "case": item.name,
                    "subject": item.subject,
                    "session": item.session or None,
                    "usable": item.is_usable(),
                    "reasons": item.problems,
                    "notes": [*item.choices, *item.notes],
                    "t1": str(item.case.t1) if item.case else None,
                    "pet": str(item.case.pet) if item.case and item.case.pet else None,
                    "covariates": item.case.covariates if item.case else {},
                }
                for item in self.findings.items
            ],
        }

    def to_text(self) -> str:
        """A table of every case with aligned columns, and the numbers under it."""
        rows = [("case", "age", "sex", "diagnosis", "usable", "why not, or what to know")]
        for item in self.findings.items:
            known = item.case.covariates if item.case else {}
            words = "; ".join([*item.problems, *item.choices, *item.notes])
            values = [known.get(key, "-") for key in ("age", "sex", "diagnosis")]
            rows.append((item.name, *values, "yes" if item.is_usable() else "no", words))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = [
            "  ".join([*(f"{cell:{w}}" for cell, w in zip(row, widths, strict=False)), row[5]]).rstrip() for row in rows
        ]
        return "\n".join([*lines, "", *self._summary()])

    def _summary(self) -> list[str]:
        counts = self.counts()
        lines = [
            f"{counts['usable']} of {counts['cases']} cases can be used, of {_some(counts['subjects'], 'subject')}."
        ]
        if counts["usable"]:
            if counts["age"]:
                missing = f", missing in {counts['age']['missing']}" if counts["age"]["missing"] else ""
                lines.append(f"age        {counts['age']['minimum']:g} to {counts['age']['maximum']:g}{missing}")
            else:
                lines.append("age        missing in all")
            for key in ("sex", "diagnosis"):
                lines.append(f"{key:10} " + ", ".join(f"{value} {count}" for value, count in counts[key].items()))
            sessions = counts["sessions_per_subject"]
            lines.append(
                "sessions   " + ", ".join(f"{_some(count, 'subject')} with {n}" for n, count in sessions.items())
            )
        lines += [f"{note[:1].upper()}{note[1:]}." for note in self.findings.notes]
        lines.append(f"Layout: {self.findings.layout}." + ("" if self.deep else " Only headers were read."))
        return lines


def _some(count: int, word: str) -> str:
    return f"{count} {word}" + "s" * (count != 1)


def validate_cases(
    folder: Path | str,
    deep: bool = False,
    layout: str | None = None,
    progress: Callable[[str, float], None] | None = None,
    pet_window: tuple[float, float] = WINDOW,
) -> Report:
    """Look at every case of a directory.

    Args:
        folder: see ``read_cases``.
        deep: read all voxels too, which finds files that are cut or hold NaN; else only headers.
        layout: see ``read_cases``.
        progress: called with a case's name and how much of the whole is done.
        pet_window: minutes after injection whose frames are to be averaged of a dynamic PET.

    Raises:
        InputError: if there is no such folder, or a table can't be read at all.
    """
    found = find_cases(folder, layout)
    for index, item in enumerate(found.items):
        if item.case is not None:
            item.reasons += [
                reason for path in (item.case.t1, item.case.mask) if (reason := _unreadable(path, deep, item.choices))
            ]
            if not item.no_pet:
                item.no_pet = _unreadable(item.case.pet, deep, item.choices, pet_window, item.case.frames)
            if not item.no_pet and item.case.pet_to_t1 is not None:
                item.no_pet = _no_transform(item.case.pet_to_t1)
        if progress:
            progress(item.name, (index + 1) / len(found.items))
    return Report(found, deep)


def _no_transform(path: Path) -> str:
    """Why the transform from PET to T1 can't be used; empty if it can."""
    from ..preparation.transforms import read_transform

    try:
        read_transform(path)
    except InputError as error:
        return str(error).rstrip(".")
    return ""


def _unreadable(
    path: Path | None,
    deep: bool,
    choices: list[str],
    pet_window: tuple[float, float] | None = None,
    frames: Mapping | None = None,
) -> str:
    """Why a scan can't be read, a PET where a window is given; empty if it can.

    Which series or frames it is of several is added to ``choices``.
    """
    from ..volumes.dynamic.pet import frame_doubts, read_pet
    from ..volumes.marking import is_synthetic
    from ..volumes.reading import read_scan

    if path is None or not path.exists() or is_unfetched(path):  # which is said already
        return ""
    try:
        if pet_window is None:
            choices += check_header(path)
            if deep:
                read_scan(path)
            return ""
        choices += check_pet_header(path, pet_window, frames or {})
        if deep:
            scan = read_pet(path, pet_window, frames)
            choices += [reason.rstrip(".") for reason in frame_doubts(scan)]
            if is_synthetic(scan):
                return f"its PET {path.name} is synthetic"
    except InputError as error:
        return str(error).rstrip(".")
    return ""
