"""Cases of a PETPrep directory (github.com/nipreps/petprep): PETs without motion in the space of their T1.

Names after https://petprep.readthedocs.io and BIDS Derivatives: a ``desc-preproc`` T1 and its mask, which lie under
the subject where several sessions share one; PETs ``space-T1w``, or in the space of their reference volume
(``petref``) with the transform from there to the T1.
"""

from __future__ import annotations

from pathlib import Path

from ...files import description_of
from ..bids import choose_pet, choose_t1, images, is_fdg, session_folders
from ..case import Case, Finding
from ..files import entities, frame_keys, sidecar
from ..people import People

__all__ = ["find_petprep", "is_petprep"]


def is_petprep(folder: Path) -> bool:
    """Whether ``dataset_description.json`` says that PETPrep made the directory."""
    makers = description_of(folder).get("GeneratedBy")
    makers = makers if isinstance(makers, list) else []
    return any(isinstance(one, dict) and str(one.get("Name")).lower() == "petprep" for one in makers)


def find_petprep(folder: Path) -> list[Finding]:
    """Every ``sub-*/[ses-*/]`` with a PET in the space of its T1, or with the transform to it.

    The PET is not registered to the T1 again, and its mask is PETPrep's. What PETPrep leaves out, tables of the people,
    tracer and time of injection, comes from the BIDS directory in whose ``derivatives/`` it lies, or else the one that
    its description links as ``raw``.
    """
    raw = folder.parent.parent if folder.parent.name == "derivatives" else _linked(folder)
    people = People(folder if (folder / "participants.tsv").exists() else raw, raw)
    found = []
    for subject in sorted((path for path in folder.glob("sub-*") if path.is_dir()), key=lambda path: path.name):
        folders = [path for path in session_folders(subject) if (path / "pet").is_dir()]
        sessions = [path.name for path in folders if path != subject]
        found += [_finding(path, subject, people, sessions, raw) for path in folders]
    return [finding for finding in found if finding is not None]


def _finding(folder: Path, subject: Path, people: People, sessions: list[str], raw: Path) -> Finding | None:
    session = "" if folder == subject else folder.name
    finding = Finding("_".join(filter(None, (subject.name, session))), subject.name, session)
    t1s = _native(folder / "anat", "_desc-preproc_T1w") or _native(subject / "anat", "_desc-preproc_T1w")
    every = [path for path in images(folder / "pet", "_pet") if "pvc" not in entities(path)]
    lying = [path for path in every if entities(path).get("space") == "T1w"]
    moved = {path: way for path in every if "space" not in entities(path) and (way := _to_t1(path))}
    about = {path: {**_source(path, raw), **sidecar(path)} for path in lying or moved}
    tracers = {path: entities(path).get("trc") or str(of.get("TracerName", "")) for path, of in about.items()}
    pets = [path for path, tracer in tracers.items() if is_fdg(tracer)]
    others = sorted({tracer or "unknown tracer" for tracer in tracers.values() if not is_fdg(tracer)})
    if not (t1s or every):
        return None
    covariates, columns = people.describe(finding, sessions)
    pet = choose_pet(pets, others, finding)
    t1 = choose_t1(t1s, finding)
    if t1 is None:
        finding.reasons += [] if t1s else ["no T1 of PETPrep"]
        return finding
    finding.case = Case(
        finding.name,
        subject.name,
        t1,
        pet,
        covariates,
        next(iter(_native(t1.parent, "_desc-brain_mask")), None),
        session,
        registered=True,
        columns=columns,
        frames=frame_keys(about[pet]) if pet else {},
        pet_to_t1=moved.get(pet),
    )
    return finding


def _linked(folder: Path) -> Path:
    """The raw directory by the description's DatasetLinks; the folder itself where none is there."""
    links = description_of(folder).get("DatasetLinks")
    link = str(links.get("raw", "")).removeprefix("file://") if isinstance(links, dict) else ""
    return folder / link if link and (folder / link).is_dir() else folder


def _native(folder: Path, ending: str) -> list[Path]:
    return [path for path in images(folder, ending) if "space" not in entities(path)]


def _to_t1(pet: Path) -> Path | None:
    """The transform from a PET's own space to its T1, of the PET's run."""
    ways = [
        path for to in ("T1w", "anat") for path in sorted(pet.parent.glob(f"*_from-petref_to-{to}_mode-image*_xfm.txt"))
    ]
    own = {key: value for key, value in entities(pet).items() if key not in ("desc", "trc", "rec")}
    return next((way for way in ways if own.items() <= entities(way).items()), None)


def _source(pet: Path, raw: Path) -> dict:
    """The sidecar of the scan that a PET was made from; empty if that isn't there."""
    wanted = {key: value for key, value in entities(pet).items() if key not in ("space", "desc", "res")}
    place = raw.joinpath(*(f"{key}-{wanted[key]}" for key in ("sub", "ses") if key in wanted), "pet")
    own = [path for path in images(place, "_pet") if entities(path).items() >= wanted.items() and path != pet]
    return sidecar(own[0]) if own else {}
