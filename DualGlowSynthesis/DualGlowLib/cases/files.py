"""Checks of a case's image files from their names, sidecars and headers, without reading the voxels."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

from ..errors import InputError

__all__ = ["IMAGES", "check_header", "entities", "natural", "sidecar", "stem", "synthetic_reason"]

IMAGES = (".nii.gz", ".nii", ".mgz", ".mgh", ".nrrd", ".nhdr", ".mha", ".mhd")
"""How the names of image files end."""


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
    """The JSON sidecar of an image; empty if it is missing or can't be read."""
    try:
        values = json.loads((path.parent / f"{stem(path)}.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def synthetic_reason(path: Path) -> str:
    """Why a PET counts as synthetic: by its name, its sidecar or its NIfTI header; empty if by none of them.

    A DICOM series is marked in its tags, which ``volumes.marking.is_synthetic`` checks when the series is read.
    """
    if "synthetic" in entities(path).get("desc", "").lower():
        return f"its PET {path.name} is synthetic (by its name)"
    if sidecar(path).get("Synthetic"):
        return f"its PET {path.name} is synthetic (by the JSON beside it)"
    if path.is_file() and b"SYNTHETIC" in _nifti_description(path):
        return f"its PET {path.name} is synthetic (by its header)"
    return ""


def _nifti_description(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            gzipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if gzipped else path.open("rb") as file:
            head = file.read(540)
    except (OSError, EOFError):
        return b""
    sizes = {int.from_bytes(head[:4], order) for order in ("little", "big")}  # of the header: 348 NIfTI-1, 540 NIfTI-2
    return head[148:228] if 348 in sizes else head[240:320] if 540 in sizes else b""


def check_header(path: Path) -> None:
    """Refuse a file that is not one 3-D volume, by its header alone.

    Raises:
        InputError: for a missing or empty file, an unknown format, or more or fewer than three axes. Faults in the
            voxels (a truncated file, NaN) are found by ``read_scan`` only.
    """
    import nibabel as nib
    import SimpleITK as sitk

    if path.is_dir():
        if not any(child.is_file() for child in path.iterdir()):
            raise InputError(f"{path} is an empty folder; put the DICOM files of one series there.")
        return
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty; copy or export it again.")
        if path.name.lower().endswith((".nii", ".nii.gz", ".mgz", ".mgh")):
            shape = nib.load(path).shape
        else:
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            shape = reader.GetSize()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the name.") from None
    except InputError:
        raise
    except Exception as error:  # nibabel and ITK raise many kinds for damaged files
        words = (str(error).splitlines() or [type(error).__name__])[-1].strip().rstrip(".")
        raise InputError(f"{path} can't be read ({words[:120]}); copy or export it again.") from None
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 8:
        raise InputError(f"{path} is {'×'.join(map(str, shape))} voxels; give one 3-D volume.")
