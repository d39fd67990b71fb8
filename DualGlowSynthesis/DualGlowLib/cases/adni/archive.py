"""Images that were downloaded from the Image Data Archive, and those that its tables list.

Folders are ``[ADNI/]SUBJECT/DESCRIPTION/DATE/IMAGEID/``, in old downloads with the series (``S25144``) in place of the
image, whose name is then at the end of the files'. A search or a collection is saved as a CSV.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from ...files import is_unfetched
from ...spellings import is_missing
from ...volumes.dicom.file import is_dicom_file
from ..files import IMAGES
from ..tables import read_table
from .descriptions import Kind, kind_of

__all__ = ["Archive", "Image", "is_archive", "read_archive"]

_SUBJECT = re.compile(r"\d{3}_S_\d{4,5}")
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[_ T].*)?")
_TABLE_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")  # month first
_IMAGE_OF_FILE = re.compile(r"_I(\d+)(?:\.[A-Za-z.]+)?$")
_COLUMNS = {
    "id": ("image data id", "image id"),
    "subject": ("subject", "subject id"),
    "group": ("group", "research group"),
    "sex": ("sex",),
    "age": ("age",),
    "visit": ("visit",),
    "modality": ("modality",),
    "description": ("description",),
    "date": ("acq date", "study date"),
}
"""What a row is asked for, by the columns of collections and of searches."""


@dataclass(frozen=True)
class Image:
    """One image of the archive.

    Attributes:
        id: e.g. ``I118673``.
        subject: e.g. ``941_S_1311``.
        description: as the table has it, else the folder's name.
        day: of its acquisition; None where nothing says so.
        path: of the file or the folder of DICOM files; None if it is not there.
        why_not: why it can't be used; empty if it can.
        row: what the tables say of it, by the keys of ``_COLUMNS``.
        notes: what is odd about it.
        mistake: what is wrong with its row.
        listed: whether it is only listed in a table, and not there.
    """

    id: str
    subject: str
    description: str
    day: date | None
    path: Path | None = None
    why_not: str = ""
    row: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    mistake: str = ""
    listed: bool = False

    @property
    def kind(self) -> Kind:
        return kind_of(self.description, self.row.get("modality", ""))

    @property
    def label(self) -> str:
        return f"{self.id} ({self.description})"


@dataclass(frozen=True)
class Archive:
    """What a folder holds.

    Attributes:
        images: T1s and PETs that are there, and what the tables list besides of the same subjects.
        subjects: that have a folder.
        tables: names of the tables.
        absent: subjects that the tables list and that have no folder.
    """

    images: list[Image]
    subjects: list[str]
    tables: list[str]
    absent: list[str]


def is_archive(folder: Path) -> bool:
    """Whether folders of subjects lie in it, or one below, with a date two levels further down."""
    return any(
        _DATE.fullmatch(day.name) and day.is_dir()
        for root in _roots(folder)
        for subject in _subjects(root)
        for day in subject.glob("*/*")
    )


def read_archive(folder: Path) -> Archive:
    """All images of a folder, and the rows of every table of the archive that lies in it or beside the subjects.

    Raises:
        InputError: if a table can't be read.
    """
    roots = _roots(folder)
    tables = sorted({path for root in (folder, *roots) for path in root.iterdir() if _is_table(path)})
    rows, doubts = _rows(tables)
    found: dict[str, Image] = {}
    for root in roots:
        for subject in _subjects(root):
            for image in _images(subject):
                if image.id not in found or found[image.id].day is None:
                    found[image.id] = image
    there = {subject.name for root in roots for subject in _subjects(root)}
    for key, image in found.items():
        found[key] = _with_row(image, rows.get(key, {}), bool(tables), doubts.get(key, ()))
    for key, row in rows.items():
        if key not in found and row.get("subject", "") in there:
            why = f"is listed in {row['table']} but not there"
            day = _table_day(row.get("date", ""))
            found[key] = Image(key, row["subject"], row.get("description", ""), day, None, why, row, listed=True)
    absent = {row["subject"] for row in rows.values() if _SUBJECT.fullmatch(row.get("subject", ""))} - there
    return Archive(list(found.values()), sorted(there), [path.name for path in tables], sorted(absent))


def _roots(folder: Path) -> list[Path]:
    """The folder itself and those in it that hold folders of subjects."""
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not _SUBJECT.fullmatch(path.name))
    return [path for path in (folder, *below) if next(_subjects(path), None)]


def _subjects(root: Path) -> Iterable[Path]:
    return (path for path in root.glob("*_S_*") if _SUBJECT.fullmatch(path.name) and path.is_dir())


def _images(subject: Path) -> Iterable[Image]:
    """T1s and PETs; folders of other images, which may hold thousands of files, are not looked into."""
    for description in sorted(path for path in subject.iterdir() if kind_of(path.name).role and path.is_dir()):
        for leaf in sorted(path for path in description.glob("*/*") if path.is_dir()):
            found = _DATE.fullmatch(leaf.parent.name)
            day = _day(*found.groups()) if found else None
            for key, path, why in _contents(leaf):
                yield Image(key, subject.name, description.name, day, path, why)


def _contents(leaf: Path) -> Iterable[tuple[str, Path | None, str]]:
    """Images in the last folder: each one's name, place, and why it can't be used."""
    with os.scandir(leaf) as entries:
        files = sorted(leaf / one.name for one in entries if not one.name.startswith(".") and not one.is_dir())
    named = [f"I{found[1]}" for path in files if (found := _IMAGE_OF_FILE.search(path.name))]
    own = leaf.name if re.fullmatch(r"I\d+", leaf.name) or not named else named[0]
    volumes: dict[str, list[Path]] = {}
    for path in files:
        if path.name.lower().endswith(IMAGES):
            found = _IMAGE_OF_FILE.search(path.name)
            volumes.setdefault(f"I{found[1]}" if found else own, []).append(path)
    for key, paths in volumes.items():
        several = f"is {len(paths)} files, such as one for each frame; join them into one, or use the averaged image"
        yield (key, paths[0], "") if len(paths) == 1 else (key, None, several)
    if volumes:
        return
    if any(path.suffix.lower() == ".dcm" for path in files) or any(map(is_dicom_file, files[:1])):
        yield own, leaf, ""
    else:
        kinds = ", ".join(sorted({path.suffix for path in files})) or "empty"
        yield own, None, f"has no DICOM or NIfTI file in its folder ({kinds})"


def _with_row(image: Image, row: dict[str, str], has_tables: bool, doubts: Iterable[str]) -> Image:
    if not row:
        return replace(image, notes=(f"no table has a row for {image.id}",) if has_tables else ())
    notes, mistake = [*doubts], ""
    if row.get("subject", image.subject) != image.subject:
        mistake = f"{row['table']} says that {image.id} is of {row['subject']}, but it lies in {image.subject}"
    day = _table_day(row.get("date", ""))
    if day and image.day is None:
        notes.append(f"{image.id} is of {day} by {row['table']}; the name of its folder is no date")
    elif day and day != image.day:
        notes.append(f"{image.id} is of {image.day} by its folder, which counts, and of {day} in {row['table']}")
    description = row.get("description") or image.description
    day = image.day or day
    return replace(image, description=description, day=day, row=row, notes=tuple(notes), mistake=mistake)


# --------------------------------------------------------------------------------------------------------- tables


def _is_table(path: Path) -> bool:
    """Whether it is a CSV with columns for the archive's image and subject, by its first bytes.

    One that can't be read counts, so that ``read_table`` says so.
    """
    if path.suffix.lower() != ".csv" or path.is_dir():
        return False
    if is_unfetched(path):
        return True
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return True
    text = re.sub(rb"\0|^(?:\xff\xfe|\xfe\xff|\xef\xbb\xbf)", b"", head).decode("latin-1").lower()
    header = next(filter(str.strip, text.splitlines()), "")
    names = [name.strip('" ') for name in re.split("[,;\t]", header)]
    return any(name in names for name in _COLUMNS["id"]) and any(name in names for name in _COLUMNS["subject"])


def _rows(tables: Iterable[Path]) -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """Rows by image, of which the first table's counts and the others' fill what it leaves out; and where they differ.

    Of two ages the one with a decimal point counts: collections cut it to whole years, searches don't.
    """
    found: dict[str, dict[str, str]] = {}
    doubts: dict[str, list[str]] = {}
    for path in tables:
        for cells in read_table(path):
            row = {
                key: next((cells[name] for name in names if not is_missing(cells.get(name))), "")
                for key, names in _COLUMNS.items()
            }
            key = f"I{row['id'].lstrip('Ii')}"
            if not row["id"]:
                continue
            known = found.setdefault(key, {"table": path.name})
            for name, value in row.items():
                before = known.get(name, "")
                if not before or (name == "age" and "." in value and "." not in before):
                    known[name] = value
                elif name in ("subject", "group", "sex") and value and value != before:
                    text = f"the tables say {before} and {value} of the {name} of {key}; {before} counts"
                    doubts.setdefault(key, []).append(text)
    return found, doubts


def _table_day(text: str) -> date | None:
    if found := _TABLE_DATE.match(text):
        month, day, year = found.groups()
        return _day(year, month, day)
    return _day(*found.groups()) if (found := _DATE.fullmatch(text)) else None


def _day(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None
