"""Checks of a case's image files from their names, sidecars and headers, without reading the voxels."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from ..errors import InputError
from ..volumes.dicom.file import is_dicom_file, is_marked
from ..volumes.dicom.suv import attenuation_corrected
from ..volumes.dicom.volume import check_series, find_series
from ..volumes.dynamic.pet import check_pet
from ..volumes.marking import marked_by
from ..volumes.reading import scan_shape

__all__ = [
    "IMAGES",
    "check_header",
    "check_pet_header",
    "entities",
    "frame_keys",
    "natural",
    "sidecar",
    "stem",
    "synthetic_reason",
]

IMAGES = (".nii.gz", ".nii", ".mgz", ".mgh", ".nrrd", ".nhdr", ".mha", ".mhd")
"""How the names of image files end."""
_FRAMES = ("FrameTimesStart", "FrameDuration", "InjectionStart", "ImageDecayCorrected")
_MOST_ENTITIES = 8  # of a name from which something is inherited: there are 2ⁿ names that it can be inherited from


def stem(path: Path) -> str:
    """The file's name without the ending of an image; a folder's name as it is."""
    name = path.name.lower()
    ending = next((end for end in IMAGES if name.endswith(end)), "")
    return path.name[: len(path.name) - len(ending)]


def natural(path: Path | str) -> list:
    """Sorting key that puts run-2 before run-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def entities(path: Path) -> dict[str, str]:
    """The key-value pairs of a BIDS name, e.g. ``{"sub": "01", "run": "1"}``."""
    return dict(re.findall(r"(?:^|_)([A-Za-z]+)-([A-Za-z0-9]+)", stem(path)))


def sidecar(path: Path, inherited: bool = True) -> dict:
    """What JSON says of an image: its sidecar, over what it inherits in BIDS; empty where there is none to be read.

    Inherited is from files of the same suffix that name no entity which the image doesn't have, beside it and in the
    folders above up to that of the ``sub-*`` folders; the nearer one counts, and of two in one folder the one that
    names more.
    """
    own = path.parent / f"{stem(path)}.json"
    values: dict = {}
    for other in (*(_inherited(path) if inherited else ()), own):
        try:
            found = json.loads(other.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError):
            continue
        values |= found if isinstance(found, dict) else {}
    return values


def _inherited(path: Path) -> list[Path]:
    """Names that files may have from which an image inherits, the farthest first."""
    known = entities(path)
    subject = next((folder for folder in path.parents[:3] if folder.name == f"sub-{known.get('sub')}"), None)
    if subject is None or len(known) > _MOST_ENTITIES:
        return []
    below = [folder for folder in path.parents[:3] if subject in (folder, *folder.parents)]
    suffix, others = stem(path).rpartition("_")[2], [pair for pair in known.items() if pair[0] not in ("sub", "ses")]
    found = []
    for folder in (subject.parent, *reversed(below)):
        # As BIDS has it: in a person's folder names begin with the person, in a session's with that too.
        owner = [] if folder == subject.parent else ["sub"] if folder == subject != path.parent else ["sub", "ses"]
        begun = [(key, known[key]) for key in owner if key in known]
        for count in range(len(others) + 1):
            for some in combinations(others, count):
                name = "_".join([*(f"{key}-{value}" for key, value in (*begun, *some)), suffix])
                found.append(folder / f"{name}.json")
    return found


def synthetic_reason(path: Path) -> str:
    """Why a PET counts as synthetic: by its name, its sidecar or its NIfTI header; empty if by none of them.

    A DICOM series is marked in its tags, which ``check_header`` looks at.
    """
    how = marked_by(path)
    return f"its PET {path.name} is synthetic (by {how})" if how else ""


def frame_keys(about: Mapping) -> dict:
    """What a PET's BIDS sidecar says of its time frames; empty where it doesn't speak of several."""
    if not any(isinstance(about.get(key), list) and len(about[key]) > 1 for key in _FRAMES[:2]):
        return {}
    return {key: about[key] for key in _FRAMES if key in about}


def check_header(path: Path) -> list[str]:
    """Refuse a T1 or mask, a file or a DICOM series, that is not one 3-D volume, by its headers alone.

    Returns:
        What to know of it: which series was chosen from several.

    Raises:
        InputError: for a missing or empty file, an unknown format, more or fewer than three axes, or a series that is
            no volume. Faults in the voxels (a truncated file, NaN) are found by ``read_scan`` only.
    """
    if not path.is_dir() and not is_dicom_file(path):
        scan_shape(path)
        return []
    series = check_series(path)
    return [f"its T1: {series.choice}"] if series.others else []


def check_pet_header(path: Path, window: tuple[float, float], frames: Mapping) -> list[str]:
    """As ``check_header`` of a PET, which must not be synthetic and may be dynamic.

    Args:
        path: of the PET.
        window: minutes after injection whose frames are averaged of a dynamic one.
        frames: see ``Case``.

    Returns:
        What to know of it: which series was chosen from several, and which frames are averaged.

    Raises:
        InputError: as ``check_header``; where the frames' times are not known or don't cover the window.
    """
    is_dicom = path.is_dir() or is_dicom_file(path)
    series = find_series(path, pet=True) if is_dicom else None
    averaged = check_pet(path, window, frames, series)
    said = [f"its PET is {averaged}"] if averaged else []
    if series is None:
        if not averaged:
            scan_shape(path)
        return said
    if not averaged:
        check_series(path, series)
    if is_marked(series.header):
        raise InputError(f"{path} is a synthetic PET made from an MRI; synthetic outputs are not accepted as PET.")
    if attenuation_corrected(series.header) is False:
        raise InputError(f"{path} is a PET without correction for attenuation; give the corrected one.")
    return [*([f"its PET: {series.choice}"] if series.others else []), *said]
