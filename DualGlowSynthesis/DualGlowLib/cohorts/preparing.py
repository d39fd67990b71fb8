"""One case of a cohort: from its scans to the files of the derivative directory."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__
from ..atlas.template import REFERENCE
from ..cases.case import Case
from ..cases.records import digest, hash_file, hash_input, is_whole, read_record, record_path, write_record
from ..cases.sidecars import pet_keys, t1_keys
from ..errors import InputError
from ..outputs import kind_of_file
from ..preparation.settings import Preparation
from ..volumes.dynamic.pet import frame_note, read_pet
from ..volumes.grid import Grid
from ..volumes.reading import read_scan
from ..volumes.scan import Scan
from ..volumes.writing import write_scan

if TYPE_CHECKING:
    from ..preparation.pet import PreparedPet
    from ..preparation.t1 import Prepared

__all__ = ["PREPARATION", "SPACE", "Job", "Settings", "case_files", "case_folder", "prepare_case", "remove_case"]

PREPARATION = 2
"""Raise it when the same scans and settings give other voxels: then every cohort is prepared anew."""
SPACE = "MNI152NLin2009aSym"
"""BIDS' name of the template (``atlas.template``)."""
_AS_SAID = 0.05  # of 1: how far the mean of the reference region of a PET that is said to be SUVR may lie from it
_PACKAGES = ("torch", "SimpleITK", "numpy", "nibabel", "pydicom")


@dataclass(frozen=True)
class Settings:
    """What a prepared case depends on besides its scans.

    Attributes:
        grid: where to.
        preparation: how.
        pictures: whether pictures for checking are drawn.
    """

    grid: Grid
    preparation: Preparation
    pictures: bool = True

    def to_dict(self) -> dict:
        """Fit for JSON; what a case is recognised by, see ``Preparation.to_dict``."""
        return {"grid": self.grid.to_dict(), **self.preparation.to_dict(), "pictures": self.pictures}


@dataclass(frozen=True)
class Job:
    """A case to prepare.

    Attributes:
        out: the derivative directory.
        source: the directory that the case comes from.
        case: the scans.
        name, subject, session: in the derivative, e.g. ``sub-01_ses-M12``, ``sub-01`` and ``ses-M12`` (or empty).
        settings: how.
        simulated: whether nobody was scanned.
        notes: what to know of the case: which scan was chosen from several.
    """

    out: Path
    source: Path
    case: Case
    name: str
    subject: str
    session: str
    settings: Settings
    simulated: bool = False
    notes: tuple[str, ...] = ()


def prepare_case(job: Job, progress: Callable[[str, float], None]) -> dict:
    """Prepare one case, or find that it is prepared already.

    Returns:
        Its record, with ``kept`` True if nothing had to be done. A case that can't be used has status ``refused``
        and its reasons; it has no files.
    """
    inputs = {
        role: {"path": _relative(path, job.source), "sha256": hash_input(path)}
        for role, path in _scans(job.case)
        if path is not None
    }
    how = {
        "settings": job.settings.to_dict(),
        "registered": job.case.registered,
        "suvr": job.case.suvr,
        "pet_resolution": job.case.pet_resolution,
        "simulated": job.simulated,
        "preparation": PREPARATION,
        "version": __version__,
        "resources": _resources(),
        **({"frames": job.case.frames} if job.case.frames else {}),
        **({"notes": list(job.notes)} if job.notes else {}),
    }
    key = digest([{role: value["sha256"] for role, value in inputs.items()}, how])
    before = read_record(job.out, job.name)
    if before is not None and before["key"] == key and is_whole(job.out, before):
        return {**before, "kept": True}
    remove_case(job.out, job.name, job.subject, job.session)
    record = {"case": job.case.name, "key": key, "inputs": inputs, **how, "versions": _versions()}
    try:
        prepared, pet, found = _compute(job, progress)
    except InputError as error:
        prepared, pet, found = None, None, {"status": "refused", "reasons": [str(error).rstrip(".")]}
    # What goes wrong from here on (a full disk) is no fault of the case.
    outputs = _write_all(job, inputs, prepared, pet, progress) if found["status"] != "refused" else []
    return {**write_record(job.out, job.name, {**record, **found}, outputs), "kept": False}


def _scans(case: Case) -> list[tuple[str, Path | None]]:
    return [("t1", case.t1), ("pet", case.pet), ("mask", case.mask), ("pet_to_t1", case.pet_to_t1)]


def case_folder(out: Path, subject: str, session: str) -> Path:
    return out / subject / session if session else out / subject


def case_files(out: Path, name: str, subject: str, session: str) -> list[Path]:
    """The files of a case that are there, under the names that ``prepare_case`` gives them."""
    folder, any_grid = case_folder(out, subject, session), f"{name}_space-{SPACE}_res-*_desc"
    anat = [f"{any_grid}-{what}{end}" for what in ("preproc_T1w", "brain_mask") for end in (".json", ".nii.gz")]
    xfm = f"{name}_from-T1w_to-{SPACE}_mode-image_xfm"
    pet = f"{name}_trc-18FFDG_space-{SPACE}_res-*_desc-suvr_pet"
    names = {
        folder / "anat": (*anat, f"{xfm}.tfm", f"{xfm}.h5"),
        folder / "pet": (f"{pet}.json", f"{pet}.nii.gz"),
        out / "qc": (f"{name}_T1w.png", f"{name}_pet.png"),
    }
    return [path for place, patterns in names.items() for pattern in patterns for path in sorted(place.glob(pattern))]


def remove_case(out: Path, name: str, subject: str, session: str) -> None:
    """Remove a case's record, then its files, then the folders that are empty without them.

    What DualGlow did not write stays.
    """
    record_path(out, name).unlink(missing_ok=True)
    folder = case_folder(out, subject, session)
    for path in case_files(out, name, subject, session):
        if kind_of_file(path):
            path.unlink(missing_ok=True)
    for place in (folder / "anat", folder / "pet", folder, folder.parent):
        if place not in (out, out.parent):
            _remove_if_empty(place)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


@cache
def _resources() -> str:
    """Hash of the shipped files that a preparation depends on: brain mask networks and template."""
    from ..resources import resource

    files = [resource("Models", "brainmask", "weights.safetensors")]
    files += [resource("Template", f"mni152_{name}.nii.gz") for name in ("t1", "gm", "wm")]
    return digest([hash_file(path) for path in files])


@cache
def _versions() -> dict[str, str]:
    found = {"DualGlow": __version__}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _relative(path: Path, folder: Path) -> str:
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:
        return str(path)


def _compute(job: Job, progress: Callable[[str, float], None]) -> tuple[Prepared, PreparedPet | None, dict]:
    """The prepared T1 and PET, and what the record says of them.

    Raises:
        InputError: if a scan can't be used.
    """
    from ..preparation.pet import prepare_pet
    from ..preparation.t1 import prepare
    from ..preparation.transforms import read_transform

    case, settings = job.case, job.settings
    share = 0.9 if case.pet is None else 0.6
    t1 = read_scan(case.t1)
    mask = None if case.mask is None else read_scan(case.mask)
    chosen = settings.preparation
    options = {"bias": chosen.bias} | ({"deformable": True} if chosen.deformable else {})
    prepared = prepare(t1, settings.grid, mask, lambda stage, done: progress(stage, share * done), **options)
    pet = None
    if case.pet is not None:
        scan = read_pet(case.pet, chosen.pet_window, case.frames)
        if case.pet_to_t1 is not None:
            scan = replace(scan, affine=read_transform(case.pet_to_t1) @ scan.affine)
        pet = prepare_pet(
            scan,
            prepared,
            reference=chosen.reference,
            resolution=chosen.resolution,
            source_resolution=case.pet_resolution,
            registered=case.registered,
            progress=lambda stage, done: progress(f"PET {stage}", share + 0.3 * done),
        )
        pet = _as_delivered(pet, case.suvr, prepared)
    found = {"t1": prepared} | ({"pet": pet} if pet else {})
    series = [f"its {role.upper()}: {choice}" for role, choice in _choices(found).items()]
    series += [f"its PET is {averaged}"] if pet and (averaged := frame_note(pet.scan)) else []
    order = ("good", "doubtful", "refused")
    about = {
        "status": max((one.verdict.status for one in found.values()), key=order.index),
        "reasons": [reason for one in found.values() for reason in one.verdict.reasons],
        "verdicts": {role: one.verdict.to_dict() for role, one in found.items()},
        "quality": {role: one.quality for role, one in found.items()},
        **({"notes": [*job.notes, *series]} if series else {}),
    }
    return prepared, pet, about


def _choices(found: dict[str, Prepared | PreparedPet]) -> dict[str, str]:
    """Which DICOM series was chosen from several, for each scan where that was so."""
    chosen = {role: one.scan.meta.get("chosen_from", "") for role, one in found.items()}
    return {role: str(choice) for role, choice in chosen.items() if choice}


def _as_delivered(pet: PreparedPet, region: str, t1: Prepared | None = None) -> PreparedPet:
    """A PET that is SUVR to the wanted region already (``pons2`` of Clinica for ``pons``) keeps its own scale.

    Its makers' region differs a little from ours, which here only checks what they say: a region that was taken through
    the wrong transform (as by Clinica before its pull request 1345) gives another mean. SUVR to another region
    is checked in the same way, where we have that region.
    """
    claimed = region.rstrip("0123456789").lower()
    measured = pet.reference_value if claimed == pet.reference else _delivered_mean(pet, claimed, t1)
    reasons = list(pet.verdict.reasons)
    if measured is not None and abs(measured - 1) > _AS_SAID:
        reasons.append(f"It is said to be SUVR to {region}, whose mean should be 1 and is {measured:.2f}.")
    quality = pet.quality if measured is None else {**pet.quality, "delivered_reference_mean": round(measured, 4)}
    verdict = replace(pet.verdict, status="doubtful" if reasons else pet.verdict.status, reasons=reasons)
    if claimed != pet.reference:
        return replace(pet, quality=quality, verdict=verdict)
    quality = {**quality, "as_delivered": region}
    return replace(pet, suvr=pet.suvr * np.float32(pet.reference_value), quality=quality, verdict=verdict)


def _delivered_mean(pet: PreparedPet, claimed: str, t1: Prepared | None) -> float | None:
    """Mean of the PET as it was delivered in the region that it is said to be relative to; None of an unknown one."""
    from ..atlas.reference import REFERENCES, reference_region

    parts = {"cerebellumpons": ("cerebellum", "pons")}.get(claimed, (claimed,))
    if t1 is None or not set(parts) <= set(REFERENCES):
        return None
    weights = sum(reference_region(part, t1.grid, t1.mask) for part in parts)
    return float((weights * pet.suvr).sum() / weights.sum()) * pet.reference_value


def _write_all(
    job: Job, inputs: dict, prepared: Prepared, pet: PreparedPet | None, progress: Callable[[str, float], None]
) -> list[str]:
    """Write all files of a case; returns their paths relative to the derivative."""
    from ..preparation.transforms import write_transform

    progress("writing", 0.92)
    folder = case_folder(job.out, job.subject, job.session)
    grid = job.settings.grid
    space = f"space-{SPACE}_res-{grid.name}"
    sides, spacing = (" × ".join(f"{value:g}" for value in values) for values in (grid.shape, grid.spacing))
    made = {"Simulated": True} if job.simulated else {}
    made |= {"SpatialReference": REFERENCE, "Resolution": f"{grid.name}: {sides} voxels of {spacing} mm"}
    about = {
        **made,
        "Description": "T1-weighted MRI on the grid, without skull",
        "Modality": "MR",
        "SkullStripped": True,
        "IntensityScale": "white matter 1, fluid 0",
        **t1_keys(job.settings.preparation),
        "Sources": [inputs[role]["path"] for role in ("t1", "mask") if role in inputs],
        "Preparation": {**prepared.to_dict(), "source": inputs["t1"]["path"]},
    }
    of_mask = {**made, "Description": "Brain mask of the T1", "Type": "Brain", "Sources": about["Sources"]}
    stem = f"{job.name}_{space}_desc"
    written = [
        *_write(job, prepared.t1, folder / "anat" / f"{stem}-preproc_T1w.nii.gz", "T1", about),
        *_write(job, prepared.mask, folder / "anat" / f"{stem}-brain_mask.nii.gz", "brain mask", of_mask),
    ]
    transform = folder / "anat" / f"{job.name}_from-T1w_to-{SPACE}_mode-image_xfm"
    transform = transform.with_name(transform.name + (".tfm" if prepared.warp is None else ".h5"))
    written.append(write_transform(prepared, transform))
    if pet:
        about = {
            **made,
            "Description": "FDG-PET on the grid, in SUVR",
            "SkullStripped": False,
            "Modality": "PT",
            "TracerName": "FDG",
            "TracerRadionuclide": "F18",
            "Units": "SUVR",
            "ReferenceRegion": pet.reference,
            "ResolutionFWHM": pet.resolution,
            **pet_keys(job.settings.preparation),
            "Sources": [inputs[role]["path"] for role in ("pet", "pet_to_t1") if role in inputs],
            "Preparation": {**pet.to_dict(), "source": inputs["pet"]["path"]},
        }
        path = folder / "pet" / f"{job.name}_trc-18FFDG_{space}_desc-suvr_pet.nii.gz"
        written += _write(job, pet.suvr, path, f"SUVR, {pet.reference}", about)
    if job.settings.pictures:
        progress("pictures", 0.95)
        written += _draw(job, prepared, pet)
    return [path.relative_to(job.out).as_posix() for path in written]


def _write(job: Job, data: np.ndarray, path: Path, what: str, about: dict) -> list[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    scan = Scan(np.asarray(data, np.float32), job.settings.grid.affine, meta={"space": "MNI152"})
    write_scan(scan, path, f"{what}, prepared by DualGlow", about)
    return [path, path.with_name(path.name.removesuffix(".nii.gz") + ".json")]


def _draw(job: Job, prepared: Prepared, pet: PreparedPet | None) -> list[Path]:
    from ..pictures.drawing import write_png
    from ..pictures.quality import noted, pet_picture, t1_picture

    found = {"t1": prepared} | ({} if pet is None else {"pet": pet})
    told = {role: f"Its {role.upper()}: {choice}" for role, choice in _choices(found).items()}
    told = {
        "t1": _used(job.notes, r" T1s, |named (t1|mri)"),
        "pet": _used(job.notes, r"PETs, |named (pet|fdg)"),
        **told,
    }
    pictures = {"T1w": noted(t1_picture(prepared), told["t1"])}
    if pet is not None:
        averaged = frame_note(pet.scan)
        said = [told["pet"].rstrip("."), f"Its PET is {averaged}." if averaged else ""]
        pictures["pet"] = noted(pet_picture(prepared, pet), ". ".join(filter(None, said)))
    (job.out / "qc").mkdir(exist_ok=True)
    return [write_png(rgb, job.out / "qc" / f"{job.name}_{suffix}.png") for suffix, rgb in pictures.items()]


def _used(notes: tuple[str, ...], words: str) -> str:
    """The note that says which of several scans of a kind is used."""
    return next((note for note in notes if re.search(words, note)), "")
