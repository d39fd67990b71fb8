"""Which of several T1s or PETs of one session is used, by their names, sidecars and headers; and what is said of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ..volumes.dicom.series import is_enhanced
from .case import Finding
from .files import entities, natural, sidecar, stem

__all__ = ["choose_scan", "pet_label", "t1_label", "unusable_pet", "unusable_t1"]

# Labels of BIDS have no separators within them: acq-mprageGd, rec-nacstat.
_NATIVE = re.compile(r"(pre|non|no|without)[ _-]*(contrast|gd|gad\w*|gbca)|^(none|no|native|pre)$", re.IGNORECASE)
_ENHANCED = re.compile(r"gd|gado|gbca|contrast|post(?!er|op|proc)|^km$|^ce$", re.IGNORECASE)
_SETTER = re.compile(r"setter|vnav|scout|locali[sz]er|survey", re.IGNORECASE)
_PHASE = {"P": "phase", "PHASE": "phase", "PHASE MAP": "phase", "R": "real", "REAL": "real", "I": "imaginary"}
_PARTS = {"phase": "phase", "real": "real", "imag": "imaginary"}
_NOT_ATTENUATED = re.compile(r"^(no|non|n)ac|[^y]nac|uncorr", re.IGNORECASE)
_NO_CORRECTION = re.compile(r"(no|none|non|without|uncorrected|nac|not? .*corr.*)\b.*", re.IGNORECASE)
_MOST_NAMED = 5


def _labels(path: Path, *keys: str) -> list[str]:
    known = entities(path)
    return [known[key] for key in keys if key in known]


def unusable_t1(path: Path) -> str:
    """What a T1w image is that can't be used: a phase, real or imaginary image; empty for any other."""
    part = _PARTS.get(entities(path).get("part", "").lower())
    kinds = sidecar(path).get("ImageType")
    kinds = [str(kind).upper() for kind in kinds] if isinstance(kinds, list) else []
    part = part or next((_PHASE[kind] for kind in kinds if kind in _PHASE), None)
    return f"its T1 {path.name} is the {part} image" if part else ""


def t1_label(path: Path) -> str:
    """What makes a T1w image less than the first choice: "contrast-enhanced", "a setter scan", …; empty for none."""
    about = sidecar(path)
    ce = entities(path).get("ce", "")
    agent = str(about.get("ContrastBolusIngredient") or about.get("ContrastBolusAgent") or "")
    words = str(about.get("SeriesDescription") or about.get("ProtocolName") or "")
    others = [label for label in _labels(path, "acq", "rec", "desc", "mod") if not _NATIVE.search(label)]
    if (
        (ce and not _NATIVE.search(ce))
        or (agent and not _NATIVE.search(agent))
        or any(_ENHANCED.search(label) for label in others)
        or is_enhanced(words.replace("_", " "))
    ):
        return "contrast-enhanced"
    if any(map(_SETTER.search, _labels(path, "acq", "rec"))):
        return "a setter scan"
    if entities(path).get("inv"):
        return "one inversion of an MP2RAGE"
    if stem(path).endswith("_UNIT1"):
        return "the UNIT1 of an MP2RAGE; should its air be noise, give a brain mask"
    return ""


def unusable_pet(path: Path) -> str:
    """Why a PET can't be used by what its name and sidecar say of attenuation; empty for any other."""
    stated = str(sidecar(path).get("AttenuationCorrection", "")).strip()
    if any(map(_NOT_ATTENUATED.search, _labels(path, "rec", "acq", "desc"))) or _NO_CORRECTION.fullmatch(stated):
        return f"its PET {path.name} is not corrected for attenuation"
    return ""


def pet_label(path: Path) -> str:
    """ "dynamic" for a PET of several time frames; empty for any other."""
    axes = _axes(path)
    about = sidecar(path, inherited=not axes)  # a static one may inherit that of the dynamic one beside it
    lists = (about.get("FrameDuration"), about.get("FrameTimesStart"))
    if any(isinstance(frames, list) and len(frames) > 1 for frames in lists):
        return "dynamic"
    if any("dyn" in label.lower() for label in _labels(path, "rec", "acq", "desc")):
        return "dynamic"
    return "dynamic" if axes > 3 else ""


def _axes(path: Path) -> int:
    """How many axes of more than one voxel a NIfTI file has by its header; 0 where it can't be read."""
    import nibabel as nib

    try:
        shape = nib.load(path).shape
    except Exception:  # whatever nibabel makes of garbage; the checks of the file say what is wrong with it
        return 0
    return max((axis + 1 for axis, count in enumerate(shape) if count > 1), default=0)


def choose_scan(paths: Sequence[Path], what: str, finding: Finding, label: Callable[[Path], str]) -> Path | None:
    """The first of the images that are nothing less than a first choice, or of all; a note says what else there is.

    Args:
        paths: images that can be used, in their order.
        what: "T1" or "FDG-PET".
        finding: whose images they are; takes the notes.
        label: ``t1_label`` or ``pet_label``.
    """
    if not paths:
        return None
    labels = {path: label(path) for path in paths} if len(paths) > 1 or what == "T1" else {paths[0]: ""}
    order = sorted(paths, key=lambda path: (bool(labels[path]), "space" in entities(path)))
    chosen, rest = order[0], sorted(order[1:], key=natural)
    told = [f"{path.name} ({labels[path]})" if labels[path] else path.name for path in rest[:_MOST_NAMED]]
    told += [f"{len(rest) - _MOST_NAMED} more"] if len(rest) > _MOST_NAMED else []
    if rest:
        finding.choices.append(f"{len(paths)} {what}s, {chosen.name} is used and not {', '.join(told)}")
    if labels[chosen]:
        finding.choices.append(f"its {what} {chosen.name} is {labels[chosen]}")
    return chosen
