"""What an image is by its description in the Image Data Archive: T1, FDG-PET or neither, and how it was processed.

A folder's name is the description with ``_`` in place of blanks and marks, so both are compared as words alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

__all__ = ["Kind", "kind_of", "words"]

_SIZE = r"coreg avg std img and vox(?:el)? siz(?:e)?"
_PET_LEVELS: tuple[tuple[str, float | None], ...] = (
    (rf"{_SIZE} uniform resolution", 8.0),
    (rf"{_SIZE} uniform 6 ?mm res(?:olution)?", 6.0),
    (r"coreg avg standardized image and voxel size", None),
    (r"co registered averaged", None),
    (r"co registered dynamic", None),
)
"""Processing of PETs, the most processed first, and the FWHM in millimetres that ADNI smooths them to."""
_RAW_PET = re.compile(r"(?:adni )?brain pet raw(?P<tracer>.*)")
_FDG = re.compile(r"\b(?:18f ?|f ?18 ?)?fdg\b")
_NOT_A_PET = re.compile(r"\b(?:nac|(?:no|non|not) ac|uncorrected|transmission|tx|ctac|ct|mu ?map|topogram)\b")
_PROCESSED = re.compile(
    r"(?:mpr|mt1)(?P<repeat> r)?(?P<gradwarp> gradwarp)?(?P<b1> b1 correction)?(?P<n3> n3m?)?(?P<scaled> scaled)?"
    r"(?P<again> \d+)?"
)
_RAW_T1 = re.compile(r"mp ?rage|spgr|\bbravo\b")
_NOT_A_T1 = re.compile(
    r"locali[sz]er|scout|survey|\bt2\b|flair|phase|\bb1\b|calibration|mask|hipp|field ?map|phantom|setter|vnav|segment"
    r"|free ?surfer|jacobian|\bpost\b|contrast|\bgad"
)


@dataclass(frozen=True)
class Kind:
    """What an image is.

    Attributes:
        role: ``"T1"``, ``"FDG"``, ``"PET"`` for one of another or an unknown tracer, or empty for anything else.
        rank: the lowest is taken of several of one role and day.
        tracer: of a PET that is not FDG.
        resolution: full width at half maximum of an FDG-PET in millimetres, where its processing says so.
    """

    role: str = ""
    rank: tuple[int, ...] = ()
    tracer: str = ""
    resolution: float | None = None


def words(description: str) -> str:
    """The description in lower case, its words with one blank between them."""
    return re.sub(r"[^a-z0-9]+", " ", description.lower()).strip()


@cache  # there are few descriptions, of many images
def kind_of(description: str, modality: str = "") -> Kind:
    """What the image of a description is; ``modality`` is the archive's, such as MRI or PET, where it is known.

    >>> kind_of("Coreg, Avg, Std Img and Vox Siz, Uniform Resolution").role
    'FDG'
    >>> kind_of("AV45 Coreg, Avg, Std Img and Vox Siz, Uniform Resolution").tracer
    'AV45'
    >>> kind_of("MPR; GradWarp; B1 Correction; N3").rank < kind_of("MP-RAGE").rank
    True
    """
    said = words(description)
    for level, (pattern, resolution) in enumerate(_PET_LEVELS):
        if found := re.fullmatch(rf"(?P<tracer>.*?) ?{pattern}", said):
            return _pet(found["tracer"] or "fdg", level, resolution)
    if found := _RAW_PET.fullmatch(said):
        return _pet(found["tracer"].strip(), len(_PET_LEVELS))
    if modality.upper() in ("PET", "PT") or (not modality and _FDG.search(said)):
        return _pet(said, len(_PET_LEVELS))
    if modality.upper() not in ("", "MRI", "MR"):
        return Kind()
    if found := _PROCESSED.fullmatch(said):
        lacks = [int(not found[step]) for step in ("n3", "gradwarp", "b1")]
        return Kind("T1", (0, *lacks, *(int(bool(found[less])) for less in ("scaled", "repeat", "again"))))
    if _RAW_T1.search(said) and not _NOT_A_T1.search(said):
        return Kind("T1", (1, *(int(bool(re.search(less, said))) for less in (r"\brep", r"\bacc|grappa|sense", "nd$"))))
    return Kind()


def _pet(tracer: str, level: int, resolution: float | None = None) -> Kind:
    """Kind of a PET by what its description says besides the processing."""
    if _FDG.search(tracer) and not _NOT_A_PET.search(tracer):
        return Kind("FDG", (level,), resolution=resolution)
    return Kind("PET", (level,), tracer.upper() or "an unknown tracer")
