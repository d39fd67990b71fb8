"""Cases listed in a table, and cases that are folders of their own."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..files import is_unfetched
from ..spellings import PARSERS, is_missing, number
from ..volumes.dicom.file import is_dicom_file
from .ages import about_columns, with_ages
from .case import Case, Finding
from .files import IMAGES, stem, synthetic_reason
from .people import first, understand
from .tables import read_table

__all__ = ["TABLES", "find_flat", "find_plain", "person_in_header", "scan_in"]

TABLES = ("cases.csv", "cases.tsv")
_NAME = ("case", "name", "case_id", "id", "participant_id", "subject_id", "subject")
_COLUMNS = {"age": ("age",), "sex": ("sex", "gender"), "diagnosis": ("diagnosis", "dx", "group")}
_OWN = ("case", "t1", "pet", "subject", "session", "mask", "pet_resolution")
_T1, _PET, _MASK = ("t1", "t1w", "mri"), ("pet", "fdg", "fdg_pet"), ("mask", "brain_mask", "t1_mask", "brainmask")


def find_flat(table: Path) -> list[Finding]:
    """Every row of a ``cases.csv``.

    Columns ``case,t1,pet,age,sex,diagnosis``, and any of ``subject`` (default: the case), ``session``, ``mask`` and
    ``pet_resolution`` (millimetres); others are kept. Paths are relative to the table and may be DICOM folders, whose
    headers give the age and sex that the table leaves out.

    Raises:
        InputError: if the table has no column ``t1`` or names a case twice.
    """
    rows = _rows(table)
    if rows and "t1" not in rows[0]:
        raise InputError(f"{table} has no column t1; it must have case,t1,pet and may have age,sex,diagnosis.")
    found: dict[str, Finding] = {}
    for index, row in enumerate(rows, start=2):
        name = _name(row)
        if not name:
            raise InputError(f"{table}, line {index}, has no case; give each row a name in the column case.")
        if name in found:
            raise InputError(f"{table} names the case {name!r} twice; give each row a name of its own.")
        subject = first(row, ("subject", "subject_id", "participant_id")) or name
        finding = found[name] = Finding(name, subject, first(row, ("session", "session_id")))
        paths = {key: _path(table, row.get(key, "")) for key in ("t1", "pet", "mask")}
        resolution = row.get("pet_resolution", "")
        if not is_missing(resolution) and not (number(resolution) or 0) > 0:
            finding.mistake(f"pet_resolution must be a number of millimetres, not {resolution!r}")
        _complete(finding, paths["t1"], paths["pet"], paths["mask"], row, number(resolution))
    return list(found.values())


def _rows(table: Path) -> list[dict[str, str]]:
    about = about_columns(table.with_suffix(".json"))
    return [with_ages(row, about) for row in read_table(table)]


def _name(row: dict[str, str]) -> str:
    return next((row[column] for column in _NAME if row.get(column)), "")  # somebody may be called None


def _path(table: Path, text: str) -> Path | None:
    return None if is_missing(text) else table.parent / Path(text.replace("\\", "/")).expanduser()


def find_plain(folder: Path) -> list[Finding]:
    """Every sub-folder ``ID/`` with a T1 (``t1.*``, ``t1w.*``, ``mri.*`` or a DICOM folder of that name) or a PET.

    PETs are ``pet.*`` or ``fdg.*``, masks ``mask.*``. Covariates come from ``cases.csv``, ``participants.tsv`` or
    ``participants.csv`` beside the folders, by their names; age and sex that these leave out, from a DICOM T1's header.
    """
    rows: dict[str, dict[str, str]] = {}
    tables = [folder / name for name in (*TABLES, "participants.tsv", "participants.csv")]
    table = next((path for path in tables if path.is_file() or is_unfetched(path)), None)
    for row in _rows(table) if table else []:
        key = _name(row)
        if key in rows:
            raise InputError(f"{table} names the case {key!r} twice; give each row a name of its own.")
        rows[key] = row
    found = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        finding = Finding(place.name, place.name)
        t1, pet, mask = (scan_in(place, names, finding) for names in (_T1, _PET, _MASK))
        if t1 is None and pet is None:
            continue
        row = rows.get(place.name, rows.get(f"sub-{place.name}"))
        if row is None and table:
            finding.notes.append(f"{table.name} has no row for it")
        row = row or {}
        finding.subject = first(row, ("subject", "subject_id")) or place.name
        finding.session = first(row, ("session", "session_id"))
        _complete(finding, t1, pet, mask, row, number(row.get("pet_resolution", "")))
        found.append(finding)
    return found


def scan_in(folder: Path, names: tuple[str, ...], finding: Finding | None = None) -> Path | None:
    """The image, or folder of DICOM files, of one of these names (upper or lower case)."""
    for name in names:
        found = sorted(
            path for path in folder.iterdir()
            if stem(path).lower() == name and (path.is_dir() or path.name.lower().endswith(IMAGES))
        )  # fmt: skip
        if len(found) > 1 and finding is not None:
            finding.choices.append(f"{len(found)} files named {name}, {found[0].name} is used")
        if found:
            return found[0]
    return None


def person_in_header(t1: Path) -> dict[str, str]:
    """Age and sex in the header of a DICOM T1; nothing of another."""
    if not t1.is_dir() and not is_dicom_file(t1):
        return {}
    from ..volumes.dicom.volume import person_in

    return person_in(t1)


def _complete(
    finding: Finding,
    t1: Path | None,
    pet: Path | None,
    mask: Path | None,
    row: dict[str, str],
    resolution: float | None,
) -> None:
    """Turn paths and a table's row into the finding's case and reasons."""
    covariates = {}
    for key, columns in _COLUMNS.items():
        value = understand(finding, first(row, columns), PARSERS[key])
        if value:
            covariates[key] = value
    if t1 is not None and t1.exists() and not {"age", "sex"} <= set(covariates):
        for key, value in person_in_header(t1).items():
            if key not in covariates:
                covariates[key] = value
                finding.notes.append(f"its {key} {value} is that of the T1's DICOM header")
    if pet is None:
        finding.no_pet = "no PET"
    elif not (pet.exists() or is_unfetched(pet)):
        finding.no_pet = f"its PET {pet} does not exist"
    else:
        finding.no_pet = synthetic_reason(pet)
    if mask is not None and not (mask.exists() or is_unfetched(mask)):
        finding.mistake(f"its mask {mask} does not exist")
    if t1 is None:
        finding.reasons.append("no T1")
        return
    if not (t1.exists() or is_unfetched(t1)):
        finding.reasons.append(f"its T1 {t1} does not exist")
    known = {*_OWN, *_NAME, "session_id", *(name for names in _COLUMNS.values() for name in names)}
    columns = {key: value for key, value in row.items() if key not in known and not is_missing(value)}
    finding.case = Case(
        finding.name, finding.subject, t1, None if finding.no_pet else pet, covariates, mask,
        finding.session, pet_resolution=resolution, columns=columns,
    )  # fmt: skip
