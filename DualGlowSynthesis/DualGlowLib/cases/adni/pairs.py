"""Cases of an ADNI download: each FDG-PET with the T1 of the same subject that is nearest in time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import groupby
from pathlib import Path

from ...spellings import PARSERS
from ..case import Case, Finding
from ..flat import person_in_header
from ..people import first, understand
from .archive import Archive, Image, read_archive

__all__ = ["LONGEST", "find_adni"]

LONGEST = 365
"""Days that T1 and PET may be apart."""
_NO_DIAGNOSIS = {"patient", "volunteer", "phantom"}
_MOST_NAMED = 5
_COVARIATES = {"age": "age", "sex": "sex", "diagnosis": "group"}


def find_adni(folder: Path) -> tuple[list[Finding], list[str]]:
    """One case for each day on which a subject had an FDG-PET, and notes on the whole.

    Of several images of that day the most processed is used (``descriptions``). The T1 is of the nearest day, at most
    ``LONGEST`` days away; of its images of that day again the first in order. Subjects without an FDG-PET have a case
    for each day with a T1. Age is that in the PET's row; what no table says, a DICOM T1's header may.
    """
    archive = read_archive(folder)
    found: list[Finding] = []
    images = sorted(archive.images, key=lambda image: (image.subject, image.id))
    for subject, group in groupby(images, key=lambda image: image.subject):
        found += _cases(subject, list(group))
    nothing = set(archive.subjects) - {finding.subject for finding in found}
    found += [Finding(subject, subject, reasons=["no T1"], no_pet="no FDG-PET") for subject in nothing]
    return found, _notes(archive)


def _notes(archive: Archive) -> list[str]:
    notes = []
    if not archive.tables:
        notes.append(
            "there is no table of the Image Data Archive (a CSV with Image Data ID) beside the subjects, so age, sex "
            "and diagnosis are those of DICOM headers, or missing"
        )
    tables = " and ".join(archive.tables)
    if listed := sorted(one.id for one in archive.images if one.listed and one.kind.role in ("T1", "FDG")):
        notes.append(f"of the T1s and FDG-PETs that {tables} lists, {len(listed)} are not there ({_some(listed)})")
    if undated := sorted(one.id for one in archive.images if one.day is None and not one.listed and one.kind.role):
        notes.append(
            f"{len(undated)} images are passed over, since neither a folder such as 2007-06-01_10_57_32.0 nor a table "
            f"says of which day they are ({_some(undated)})"
        )
    if archive.absent:
        notes.append(
            f"of the subjects that {tables} lists, {len(archive.absent)} have no folder ({_some(archive.absent)})"
        )
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")


def _cases(subject: str, images: list[Image]) -> list[Finding]:
    by_role = {role: _by_day(image for image in images if image.kind.role == role) for role in ("T1", "FDG")}
    t1s, pets = by_role["T1"], by_role["FDG"]
    others = sorted({image.kind.tracer for image in images if image.kind.role == "PET" and image.path})
    found = []
    for day, group in pets.items():
        finding = _finding(subject, day)
        pet = _choose(group, "FDG-PET", finding)
        if pet is None:
            finding.no_pet = f"its FDG-PET {group[0].label} {group[0].why_not}"
        near = sorted((abs(other - day), other) for other in t1s)
        within = [other for apart, other in near if apart.days <= LONGEST]
        usable = [other for other in within if any(image.path for image in t1s[other])]
        for other in within[: within.index(usable[0])] if usable else ():
            first_t1 = t1s[other][0]
            finding.choices.append(f"its nearer T1 {first_t1.label} of {other} {first_t1.why_not}")
        t1 = _choose(t1s[usable[0]], "T1", finding) if usable else None
        if t1 is None:
            finding.reasons.append(_why_no_t1(day, near[0][1] if near else None, t1s, bool(within)))
        _complete(finding, t1, pet, group, images)
        found.append(finding)
    if not pets:
        only = f" ({', '.join(others)} only)" if others else ""
        for day, group in t1s.items():
            finding = _finding(subject, day)
            finding.no_pet = f"no FDG-PET{only}"
            t1 = _choose(group, "T1", finding)
            if t1 is None:
                finding.reasons.append(f"its T1 {group[0].label} {group[0].why_not}")
            _complete(finding, t1, None, group, images)
            found.append(finding)
        if not t1s and others:
            found.append(Finding(subject, subject, reasons=["no T1"], no_pet=f"no FDG-PET{only}"))
    elif others:
        for finding in found:
            finding.notes.append(f"PET of {', '.join(others)} is not used")
    return found


def _by_day(images: Iterable[Image]) -> dict[date, list[Image]]:
    """Images by day, in the order in which they are preferred."""
    days: dict[date, list[Image]] = defaultdict(list)
    for image in sorted(images, key=lambda image: (image.kind.rank, image.description, image.id)):
        if image.day is not None:
            days[image.day].append(image)
    return dict(sorted(days.items()))


def _finding(subject: str, day: date) -> Finding:
    return Finding(f"{subject}_{day:%Y%m%d}", subject, f"ses-{day:%Y%m%d}")


def _choose(group: list[Image], what: str, finding: Finding) -> Image | None:
    """The first of a day's images that is there; the finding is told what else there is."""
    usable = [image for image in group if image.path is not None]
    if not usable:
        return None
    if rest := [image.label for image in usable[1:]]:
        told = _some(rest)
        finding.choices.append(f"{len(usable)} {what}s of {usable[0].day}, {usable[0].label} is used and not {told}")
    better = group[: group.index(usable[0])]
    finding.choices += [f"its {what} {image.label}, which comes first, {image.why_not}" for image in better]
    return usable[0]


def _why_no_t1(day: date, nearest: date | None, t1s: dict[date, list[Image]], near: bool) -> str:
    if nearest is None:
        return "no T1"
    if near:
        return f"its T1 {t1s[nearest][0].label} {t1s[nearest][0].why_not}"
    return f"no T1 within {LONGEST} days (the nearest is of {nearest}, {abs(nearest - day).days} days away)"


def _complete(finding: Finding, t1: Image | None, pet: Image | None, visit: list[Image], images: list[Image]) -> None:
    """Turn the chosen images and the rows about them into the finding's case and notes."""
    for image in filter(None, (pet, t1)):
        finding.notes += image.notes
        if image.mistake:
            finding.mistake(image.mistake)
    rows = [image.row for image in (pet, *visit, t1) if image is not None]
    covariates = {}
    for name, column in _COVARIATES.items():
        # Sex and group are the person's; the age is that of the day.
        known = rows if name == "age" else [*rows, *(image.row for image in images)]
        text = next((row[column] for row in known if first(row, (column,))), "")
        if name == "diagnosis" and text.lower() in _NO_DIAGNOSIS:
            finding.notes.append(f"its group {text!r} is no diagnosis, which is missing")
        elif value := understand(finding, text, PARSERS[name]):
            covariates[name] = value
    if "age" in covariates and t1 and not any(first(row, ("age",)) for row in rows[:-1]):
        finding.notes.append("its age is that at the T1")
    if t1 is None:
        return
    if not {"age", "sex"} <= set(covariates):
        for name, value in person_in_header(t1.path).items():
            if name not in covariates:
                covariates[name] = value
                finding.notes.append(f"its {name} {value} is that of the T1's DICOM header")
    columns = {"visit": first(visit[0].row, ("visit",)), "t1_image": t1.id, "t1_description": t1.description}
    if pet is not None:
        apart = (pet.day - t1.day).days
        columns |= {"pet_image": pet.id, "pet_description": pet.description, "days_from_t1_to_pet": str(apart)}
        if apart:
            side = "before" if apart > 0 else "after"
            finding.notes.append(f"its T1 is of {t1.day}, {abs(apart)} days {side} the PET")
    finding.case = Case(
        finding.name,
        finding.subject,
        t1.path,
        pet.path if pet else None,
        covariates,
        session=finding.session,
        pet_resolution=pet.kind.resolution if pet else None,
        columns={key: text for key, text in columns.items() if text},
    )
