"""Cases of a CAPS directory, the outputs of Clinica's pipelines t1-linear and pet-linear.

Names after https://aramislab.paris.inria.fr/clinica/docs/public/latest/CAPS/Specifications/; older versions of Clinica
keep the source file's suffix within the name, and ``acq-fdg`` in place of ``trc-18FFDG``.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..bids import choose_pet, choose_t1, images, is_fdg, session_folders
from ..case import Case, Finding
from ..files import entities
from ..people import People

__all__ = ["find_caps"]

_SPACE = "MNI152NLin2009cSym"


def find_caps(folder: Path) -> list[Finding]:
    """Every ``subjects/sub-*/ses-*`` with ``t1_linear`` or ``pet_linear`` images in MNI space.

    Both images lie in one space and the PET is SUVR (its region is the name's ``suvr``), so neither needs another
    registration to the other. Where cropped and whole images are there the cropped (Clinica's default) are taken.
    Covariates come from ``participants.tsv`` and ``sub-*_sessions.tsv``, copied from the BIDS directory, or from the
    table that ``clinica iotools merge-tsv`` writes, as ``merge-tsv.tsv`` or ``participants.tsv``.
    """
    subjects = folder / "subjects"
    people, found = People(folder, subjects, ("merge-tsv.tsv",)), []
    for subject in sorted((path for path in subjects.glob("sub-*") if path.is_dir()), key=lambda path: path.name):
        folders = [path for path in session_folders(subject) if path != subject]
        for session in folders:
            finding = _finding(session, subject.name, people, [path.name for path in folders])
            if finding is not None:
                found.append(finding)
    return found


def _in_space(folder: Path, ending: str) -> list[Path]:
    paths = [path for path in images(folder, ending) if entities(path).get("space") == _SPACE]
    return sorted(paths, key=lambda path: entities(path).get("desc") != "Crop")


def _finding(folder: Path, subject: str, people: People, sessions: list[str]) -> Finding | None:
    finding = Finding(f"{subject}_{folder.name}", subject, folder.name)
    t1s, pets = _in_space(folder / "t1_linear", "_T1w"), _in_space(folder / "pet_linear", "_pet")
    if not (t1s or pets):
        return None
    tracers = {path: entities(path).get("trc") or entities(path).get("acq", "") for path in pets}
    others = sorted({tracer for tracer in tracers.values() if not is_fdg(tracer)})
    fdg = [path for path in pets if is_fdg(tracers[path])]
    covariates, columns = people.describe(finding, sessions)
    crops = [path for path in fdg if entities(path).get("desc") == entities(fdg[0]).get("desc")]
    pet = choose_pet(crops, others, finding)
    if not t1s:
        finding.reasons.append("no T1 of t1-linear")
        return finding
    same = [path for path in t1s if pet is None or entities(path).get("desc") == entities(pet).get("desc")] or t1s
    t1 = choose_t1(same, finding)
    if t1 is None:
        return finding
    finding.case = Case(
        finding.name,
        subject,
        t1,
        pet,
        covariates,
        session=folder.name,
        registered=True,
        suvr=_region(pet) if pet else "",
        columns=columns,
    )
    return finding


def _region(path: Path) -> str:
    """The reference region in a name like ``…_suvr-pons2_pet.nii.gz``."""
    found = re.search(r"_suvr-([A-Za-z0-9]+)", path.name)
    return found[1] if found else ""
