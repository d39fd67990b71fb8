"""Directories of paired cases: which person-sessions have a T1, an FDG-PET and which covariates."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .errors import InputError
from .scans import Grid, normalise_t1, read_scan

__all__ = ["Case", "is_simulated", "read_cases", "read_on_grid"]

_COLUMNS = {"age": ("age",), "sex": ("sex", "gender"), "diagnosis": ("diagnosis", "dx", "group")}


@dataclass(frozen=True)
class Case:
    """One person-session.

    Attributes:
        name: unique in its cohort, e.g. ``sub-0001`` or ``sub-0001_ses-M12``.
        subject: the person; sessions of one person belong to the same side of every split.
        t1, pet: paths of the scans.
        covariates: as the tables say; what is missing is left out.
        mask: brain mask on the T1's lattice, if there is one.
    """

    name: str
    subject: str
    t1: Path
    pet: Path
    covariates: dict[str, str] = field(default_factory=dict)
    mask: Path | None = None


def _table(path: Path) -> dict[str, dict[str, str]]:
    """Rows of a BIDS table by their first column; empty if there is no such file."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        key = (rows.fieldnames or [""])[0]
        return {row[key]: row for row in rows if row.get(key)}


def _covariates(row: dict[str, str]) -> dict[str, str]:
    found = {}
    for name, columns in _COLUMNS.items():
        for column in columns:
            value = (row.get(column) or "").strip()
            if value and value.lower() not in ("n/a", "nan"):
                found[name] = value
                break
    return found


def read_cases(folder: Path | str) -> list[Case]:
    """Every case of a BIDS directory that has both scans, sorted by name.

    Layout: ``sub-*/[ses-*/]anat/*_T1w.nii[.gz]`` and ``…/pet/*_trc-18FFDG*_pet.nii[.gz]`` with ``participants.tsv``
    (columns ``age``, ``sex``, ``diagnosis``, each optional) at the top.

    Raises:
        InputError: if the folder does not exist or has no case with both scans.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; give the directory that holds the cases.")
    participants = _table(folder / "participants.tsv")
    cases, half = [], 0
    for subject in sorted(path for path in folder.glob("sub-*") if path.is_dir()):
        sessions = sorted(path for path in subject.glob("ses-*") if path.is_dir()) or [subject]
        for session in sessions:
            t1 = sorted(session.glob("anat/*_T1w.nii*"))
            pet = sorted(session.glob("pet/*_trc-18FFDG*_pet.nii*"))
            masks = sorted(session.glob("anat/*_desc-brain_mask.nii*"))
            half += bool(t1) != bool(pet)
            if t1 and pet:
                name = subject.name if session == subject else f"{subject.name}_{session.name}"
                row = participants.get(subject.name, {})
                mask = masks[0] if masks else None
                cases.append(Case(name, subject.name, t1[0], pet[0], _covariates(row), mask))
    if not cases:
        found = f"{half} sessions with only one of the two scans" if half else "no sub-*/anat/*_T1w.nii.gz"
        raise InputError(
            f"{folder} has no case with both a T1 and an FDG-PET (found {found}); it must be a BIDS directory with "
            "sub-*/anat/*_T1w.nii.gz and sub-*/pet/*_trc-18FFDG_pet.nii.gz."
        )
    return cases


def is_simulated(folder: Path | str) -> bool:
    """Whether the directory says of itself that nobody was scanned (``simulate`` writes that)."""
    try:
        return bool(json.loads((Path(folder) / "dataset_description.json").read_text(encoding="utf-8"))["Simulated"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_on_grid(case: Case, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The scans of a case that lie on ``grid`` already, as ``simulate`` writes them.

    Returns:
        Normalised T1 (``scans.normalise_t1``), PET in SUVR, both float32, and brain mask (the case's own, or where the
        T1 is above 0), each of the grid's shape.

    Raises:
        InputError: for a scan that can't be read or lies elsewhere.
    """

    def read(path: Path) -> np.ndarray:
        scan = read_scan(path)
        if scan.shape != grid.shape or not np.allclose(scan.affine, grid.affine, atol=1e-3):
            raise InputError(
                f"{path} does not lie on the grid {grid.name!r} ({'×'.join(map(str, grid.shape))} in MNI152 space); "
                "prepare the cases first, or choose the grid that they lie on with --grid."
            )
        return scan.data

    t1, pet = read(case.t1), read(case.pet)
    mask = (t1 if case.mask is None else read(case.mask)) > 0
    return normalise_t1(t1, mask), pet, mask
