"""Which layout a directory of paired cases has, and its cases."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..files import UNFETCHED, description_of, is_unfetched
from .adni.archive import is_archive
from .adni.pairs import find_adni
from .bids import find_bids
from .case import Case, Finding, Findings
from .derivatives.caps import find_caps
from .derivatives.petprep import find_petprep, is_petprep
from .files import frame_keys, sidecar
from .flat import TABLES, find_flat, find_plain
from .records import check_records
from .splits import keep_doubles_together, name_visits
from .tables import read_table

__all__ = ["LAYOUTS", "find_cases", "is_simulated", "read_cases"]

LAYOUTS = {
    "bids": "sub-*/[ses-*/]anat/*_T1w.nii.gz, pet/*_trc-18FFDG_pet.nii.gz and participants.tsv",
    "petprep": "sub-*/[ses-*/]pet/*_space-T1w_*_pet.nii.gz and anat/*_desc-preproc_T1w.nii.gz of PETPrep",
    "caps": "subjects/sub-*/ses-*/t1_linear and pet_linear of Clinica, and participants.tsv",
    "adni": "[ADNI/]SUBJECT/DESCRIPTION/DATE/IMAGEID/ of the Image Data Archive, and the CSV of its search",
    "flat": "cases.csv with case,t1,pet,age,sex,diagnosis",
    "plain": "ID/t1.nii.gz and ID/pet.nii.gz",
}


def read_cases(folder: Path | str, layout: str | None = None, t1_only: bool = False) -> list[Case]:
    """Every usable case of a directory, sorted by name.

    Cases that lack a scan, or whose PET is synthetic, are passed over (``validate_cases`` lists them); a mistake in a
    table is not.

    Args:
        folder: the directory, or the table of a flat one.
        layout: one of ``LAYOUTS``; by default whichever the directory has.
        t1_only: also take cases without a PET.

    Raises:
        InputError: if the folder does not exist, has no usable case, or a table holds what can't be understood.
    """
    found = find_cases(folder, layout)
    for finding in found.items:
        if finding.mistakes:
            raise InputError(f"{finding.name} in {found.folder}: {finding.mistakes[0]}.")
    cases = [finding.case for finding in found.items if finding.is_usable(t1_only)]
    if not cases:
        why = Counter(reason for finding in found.items for reason in finding.problems[:1]).most_common(1)
        raise InputError(
            f"{found.folder} has no case with both a T1 and an FDG-PET ({len(found.items)} found"
            + (f"; the first reason: {why[0][0]}" if why else "")
            + f"); as {found.layout} it must hold {LAYOUTS[found.layout]}."
        )
    return cases


def find_cases(folder: Path | str, layout: str | None = None) -> Findings:
    """Every person-session of a directory, usable or not.

    Only names, tables and JSON are looked at, and where a table leaves out age or sex the header of a DICOM T1.

    The layout is, in this order: ``flat`` if there is a ``cases.csv`` (or ``.tsv``) with a column ``t1``, ``caps`` if
    there is ``subjects/sub-*``, ``petprep`` if its description names PETPrep, ``bids`` if there is ``sub-*``,
    ``adni`` if there is ``SUBJECT/*/DATE`` with ADNI's names of subjects, else ``plain``.

    Raises:
        InputError: if the folder does not exist or is a file, other than a table of cases, there is no such layout, or
            a table can't be read.
    """
    folder = Path(folder)
    if not folder.exists():
        raise InputError(f"There is no folder {folder}; give the directory that holds the cases.")
    if folder.is_file() and folder.suffix.lower() not in (".csv", ".tsv"):
        raise InputError(f"{folder} is a file; give the directory that holds the cases.")
    if layout not in (None, *LAYOUTS):
        raise InputError(f"There is no layout {layout!r}; there are {', '.join(LAYOUTS)}.")
    table = folder if folder.is_file() else next((folder / name for name in TABLES if _is_there(folder / name)), None)
    folder = folder.parent if folder.is_file() else folder
    layout, notes = layout or _layout(folder, table), []
    if layout == "flat":
        if table is None:
            raise InputError(f"{folder} has no {' or '.join(TABLES)}; write one with the columns case,t1,pet.")
        items = find_flat(table)
        if any(path.is_dir() for path in folder.glob("sub-*")):
            notes.append(f"the cases are those of {table.name}; sub-* folders are not searched")
    elif layout == "adni":
        items, notes = find_adni(folder)
    else:
        items = {"bids": find_bids, "petprep": find_petprep, "caps": find_caps, "plain": find_plain}[layout](folder)
    if layout != "adni" and items and not any(item.case.covariates for item in items if item.case):
        notes.append("no case has age, sex or diagnosis; they would be in participants.tsv (or cases.csv)")
    name_visits(items, whole=layout in ("flat", "plain"))
    for item in items:
        _check_fetched(item)
        if item.case is not None and item.case.pet is not None and not item.case.frames:
            item.case = replace(item.case, frames=frame_keys(sidecar(item.case.pet)))
    notes += keep_doubles_together(items)
    check_records(folder, items)
    names = Counter(item.name for item in items)
    for item in items:
        if names[item.name] > 1:
            item.mistake(f"the name {item.name} is there twice")
    return Findings(folder, layout, sorted(items, key=lambda item: item.name), notes)


def _is_there(path: Path) -> bool:
    """Whether there is such a file, be it a link whose content was not fetched, which can't be passed over."""
    return path.is_file() or is_unfetched(path)


def _check_fetched(item: Finding) -> None:
    """Say which scans are links whose content isn't there, as in data of DataLad that were not fetched."""
    if item.case is None:
        return
    missing = [path for path in (item.case.t1, item.case.mask) if path is not None and is_unfetched(path)]
    item.reasons += [f"{path.name} {UNFETCHED}" for path in missing]
    if item.case.pet is not None and not item.no_pet and is_unfetched(item.case.pet):
        item.no_pet = f"its PET {item.case.pet.name} {UNFETCHED}"


def _layout(folder: Path, table: Path | None) -> str:
    if table is not None and "t1" in (read_table(table) or [{}])[0]:
        return "flat"
    if any(folder.glob("subjects/sub-*")):
        return "caps"
    if is_petprep(folder):
        return "petprep"
    if any(path.is_dir() for path in folder.glob("sub-*")) and not _is_plain(folder):
        return "bids"
    return "adni" if is_archive(folder) else "plain"


def _is_plain(folder: Path) -> bool:
    """Whether folders named ``sub-*`` hold the scans themselves and neither sessions nor ``anat``."""
    subjects = [path for path in folder.glob("sub-*") if path.is_dir()]
    return not any(
        child.is_dir() and (child.name in ("anat", "pet") or child.name.startswith("ses-"))
        for subject in subjects
        for child in subject.iterdir()
    ) and any((folder / subject.name).glob("[tT]1*") for subject in subjects)


def is_simulated(folder: Path | str) -> bool:
    """Whether the directory says of itself that nobody was scanned (``simulate`` writes that)."""
    return bool(description_of(Path(folder)).get("Simulated"))
