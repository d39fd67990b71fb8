"""Cases of a BIDS directory, raw or derivative."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .case import Case, Finding
from .choice import choose_scan, pet_label, t1_label, unusable_pet, unusable_t1
from .files import IMAGES, entities, natural, sidecar, synthetic_reason
from .people import People

__all__ = ["choose_pet", "choose_t1", "find_bids", "is_fdg", "session_folders"]

_LONGEST = 1e3  # millimetres that a resolution may have
_FDG = re.compile(r"(18f?|f18)?f?dg", re.IGNORECASE)


def is_fdg(tracer: str) -> bool:
    """Whether a ``trc`` entity or ``TracerName`` means fluorodeoxyglucose: 18FFDG, FDG, 18F-FDG, …"""
    return bool(_FDG.fullmatch(re.sub(r"[^A-Za-z0-9]", "", tracer))) or "deoxyglucose" in tracer.lower()


def session_folders(subject: Path) -> list[Path]:
    """A subject's ``ses-*`` folders in natural order, or the subject itself if there is none."""
    sessions = (path for path in subject.glob("ses-*") if path.is_dir())
    return sorted(sessions, key=lambda path: natural(path.name)) or [subject]


def images(folder: Path, ending: str) -> list[Path]:
    """Images of a folder whose name ends in ``ending`` before the suffix, e.g. ``_T1w``; runs in their order."""
    found = [
        path for path in (folder.iterdir() if folder.is_dir() else ())
        if path.name.lower().endswith(IMAGES) and re.search(rf"{ending}\.[a-z.]+$", path.name, re.IGNORECASE)
        and not path.name.startswith(".")
    ]  # fmt: skip
    return sorted(found, key=lambda path: ("space" in entities(path), natural(path.name)))


def choose_t1(paths: Sequence[Path], finding: Finding) -> Path | None:
    """The first T1 without contrast agent, or else with; notes on others, and the reason if none can be used, go into
    the finding.
    """
    why = {path: unusable_t1(path) for path in paths}
    t1 = choose_scan([path for path in paths if not why[path]], "T1", finding, t1_label)
    if t1 is None and paths:
        finding.reasons.append(why[paths[0]])
    return t1


def choose_pet(pets: Sequence[Path], others: Sequence[str], finding: Finding) -> Path | None:
    """The first acquired FDG-PET that is corrected for attenuation, static ones before dynamic ones.

    Notes on other PETs, and the reason if there is none, go into the finding.

    Args:
        pets: FDG-PETs, acquired or synthetic.
        others: tracers of the PETs that are not FDG.
        finding: whose PET it is.
    """
    why = {path: synthetic_reason(path) or unusable_pet(path) for path in pets}
    pet = choose_scan([path for path in pets if not why[path]], "FDG-PET", finding, pet_label)
    if pet:
        finding.choices += [f"{reason} and not used" for path in pets if (reason := unusable_pet(path))]
    if others:
        finding.notes.append(f"PET of {', '.join(others)} is not used")
    if pet is None:
        only = f" ({', '.join(others)} only)" if others else ""
        finding.no_pet = why[pets[0]] if pets else f"no FDG-PET{only}"
    return pet


def split_pets(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """FDG-PETs, and the tracers of the others."""
    fdg, others = [], []
    for path in paths:
        tracer = entities(path).get("trc") or str(sidecar(path).get("TracerName", ""))
        if is_fdg(tracer):
            fdg.append(path)
        else:
            others.append(tracer or "unknown tracer")
    return fdg, sorted(set(others))


def find_bids(folder: Path) -> list[Finding]:
    """Every ``sub-*/[ses-*/]`` that has a T1 or a PET.

    T1s are ``anat/*_T1w``, without one ``anat/*_UNIT1`` (MP2RAGE), and for a PET of a session without one those above
    the sessions; PETs are ``pet/*_pet`` whose ``trc`` entity (or ``TracerName`` in the JSON) is FDG; of several
    runs the first is taken, of raw and derived images the raw, native T1s before contrast-enhanced ones, static PETs
    before dynamic ones. Phase images and PETs without attenuation correction are not used (``choice``). A T1 and a PET
    of different sessions are never paired.
    A mask is ``anat/*_desc-brain_mask`` with the T1's space. PET and T1 count as registered where both names state one
    ``space``, or both were simulated.
    """
    people, found = People(folder), []
    for subject in sorted((path for path in folder.glob("sub-*") if path.is_dir()), key=lambda path: path.name):
        folders = session_folders(subject)
        sessions = [path.name for path in folders if path != subject]
        group = [_finding(path, subject, people, sessions) for path in folders]
        group = [finding for finding in group if finding is not None]
        if sessions and not any(finding.case and finding.case.t1.parent.parent == subject for finding in group):
            group += [finding for finding in [_finding(subject, subject, people, sessions)] if finding is not None]
        _explain(group, people)
        found += group
    return found


def _finding(folder: Path, subject: Path, people: People, sessions: list[str]) -> Finding | None:
    session = "" if folder == subject else folder.name
    name = f"{subject.name}_{session}" if session else subject.name
    finding = Finding(name, subject.name, session)
    t1s, (pets, others) = _t1s(folder / "anat"), split_pets(images(folder / "pet", "_pet"))
    if (pets or others) and not t1s and session and (t1s := _t1s(subject / "anat")):
        finding.choices.append(f"its T1 lies above the sessions, in {subject.name}/anat")
    if not (t1s or pets or others):
        return None
    covariates, columns = people.describe(finding, sessions)
    pet = choose_pet(pets, others, finding)
    t1 = choose_t1(t1s, finding)
    if t1 is None:
        finding.reasons += [] if t1s else ["no T1"]
        return finding
    known = {key: entities(t1)[key] for key in ("space", "res", "run") if key in entities(t1)}
    masks = [
        path for path in images(t1.parent, "_desc-brain_mask")
        if entities(path).get("space") == known.get("space")
        and all(entities(path).get(key, value) == value for key, value in known.items())
    ]  # fmt: skip
    space = known.get("space")
    about = sidecar(pet) if pet else {}
    registered = pet is not None and (entities(pet).get("space") == space is not None or bool(about.get("Simulated")))
    suvr = str(about.get("ReferenceRegion", "")) if about.get("Units") == "SUVR" else ""
    finding.case = Case(
        name,
        subject.name,
        t1,
        pet,
        covariates,
        masks[0] if masks else None,
        session,
        registered,
        suvr,
        _length(about.get("ResolutionFWHM")),
        columns,
    )
    return finding


def _t1s(folder: Path) -> list[Path]:
    return images(folder, "_T1w") or images(folder, "_UNIT1")


def _length(value: object) -> float | None:
    """A positive number, or None."""
    return float(value) if type(value) in (int, float) and 0 < value < _LONGEST else None


def _explain(group: list[Finding], people: People) -> None:
    """Where a session lacks one of the scans and another session has it, say which and how far apart they are."""
    halves = [finding for finding in group if (finding.case is None) != bool(finding.no_pet)]
    for finding in halves if len(group) > 1 else ():
        wanted = "FDG-PET" if finding.no_pet else "T1"
        for other in group:
            if other is finding or (other.no_pet if finding.no_pet else other.case is None):
                continue
            times = [people.years_since_baseline(one.subject, one.session) for one in (finding, other)]
            apart = "" if None in times else f", {abs(times[1] - times[0]) * 365.25:.0f} days apart"
            text = f" (there is one in {other.session}{apart}, which is not paired)"
            if finding.no_pet:
                finding.no_pet += text
            else:
                finding.reasons[-1] = f"no {wanted}{text}"
            break
