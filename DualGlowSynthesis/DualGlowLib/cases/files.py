"""Checks of a case's image files from their names, sidecars and headers, without reading the voxels."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

from ..errors import InputError
from ..volumes.dicom.file import is_dicom_file, is_marked
from ..volumes.dicom.suv import attenuation_corrected
from ..volumes.dicom.volume import check_series
from ..volumes.marking import marked_by
from ..volumes.reading import scan_shape

__all__ = ["IMAGES", "check_header", "entities", "natural", "sidecar", "stem", "synthetic_reason"]

IMAGES = (".nii.gz", ".nii", ".mgz", ".mgh", ".nrrd", ".nhdr", ".mha", ".mhd")
"""How the names of image files end."""
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


def sidecar(path: Path) -> dict:
    """What JSON says of an image: its sidecar, over what it inherits in BIDS; empty where there is none to be read.

    Inherited is from files of the same suffix that name no entity which the image doesn't have, beside it and in the
    folders above up to that of the ``sub-*`` folders; the nearer one counts, and of two in one folder the one that
    names more.
    """
    own = path.parent / f"{stem(path)}.json"
    values: dict = {}
    for other in (*_inherited(path), own):
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


def check_header(path: Path, pet: bool = False) -> list[str]:
    """Refuse a file, or DICOM series, that is not one 3-D volume, by its headers alone.

    Args:
        path: of the scan.
        pet: whether it is to be a PET, which must not be synthetic.

    Returns:
        What to know of it: which series was chosen from several.

    Raises:
        InputError: for a missing or empty file, an unknown format, more or fewer than three axes, or a series that is
            no volume. Faults in the voxels (a truncated file, NaN) are found by ``read_scan`` only.
    """
    if not path.is_dir() and not is_dicom_file(path):
        scan_shape(path)
        return []
    series = check_series(path, pet=pet)
    if pet and is_marked(series.header):
        raise InputError(f"{path} is a synthetic PET made from an MRI; synthetic outputs are not accepted as PET.")
    if pet and attenuation_corrected(series.header) is False:
        raise InputError(f"{path} is a PET without correction for attenuation; give the corrected one.")
    return [f"its {'PET' if pet else 'T1'}: {series.choice}"] if series.others else []
