"""The files that pydicom and nibabel are tested with: read as they read them, or refused.

FOLDER holds files of any kind, e.g. ``pydicom/data/test_files`` or ``nibabel/tests/data`` of an installed package; each
is a case, with no other DICOM file beside it. A NIfTI or MGH file in which nibabel finds a volume that can be a scan
(3-D, numbers, no side under 8 voxels, not constant) must give its voxels and its affine; so must the grey frames of a
DICOM file, whose voxels pydicom has. Anything else must be refused.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom

from DualGlowLib.volumes.dicom.file import is_dicom_file
from DualGlowLib.volumes.reading import read_scan
from suite_table import Row, attempt, run

OTHER = (".md", ".py", ".pyc", ".rst", ".txt", ".m")
"""Endings of what is no test file of a library, but about them."""


def of_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Voxels and affine, where nibabel finds a volume that can be a scan."""
    image = nib.load(path)
    if not isinstance(image, (nib.Nifti1Pair, nib.MGHImage)):
        return None
    data = np.asanyarray(image.dataobj)
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    return data, image.affine


def of_pydicom(path: Path) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Rescaled frames of a grey DICOM file; where they lie is not compared, and so neither is their order."""
    dataset = pydicom.dcmread(path)
    if dataset.SamplesPerPixel != 1:
        return None
    frames, groups = dataset.pixel_array, dataset.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        return pydicom.pixels.apply_modality_lut(frames, dataset), None
    shared = dataset.SharedFunctionalGroupsSequence[0]
    how = [(group if "PixelValueTransformationSequence" in group else shared) for group in groups]
    scales = [group.PixelValueTransformationSequence[0] for group in how]
    return np.stack([f * s.RescaleSlope + s.RescaleIntercept for f, s in zip(frames, scales, strict=True)]), None


def expected(path: Path, is_dicom: bool) -> tuple[np.ndarray, np.ndarray | None] | None:
    """What the library reads, if it can be a scan."""
    try:
        found = (of_pydicom if is_dicom else of_nibabel)(path)
    except Exception:  # whatever a library makes of a file that it is tested with for being damaged
        return None
    if found is None or found[0].ndim != 3 or found[0].dtype.kind not in "iufb" or min(found[0].shape) < 8:
        return None
    data = np.nan_to_num(found[0].astype(np.float32), posinf=0, neginf=0)
    return (data, found[1]) if data.min() < data.max() else None


def judged(path: Path, wanted: tuple[np.ndarray, np.ndarray | None] | None) -> tuple[str, str]:
    scan = read_scan(path)
    what = f"{scan.meta['format']}, {'×'.join(map(str, scan.shape))}"
    if wanted is None:
        return "wrong", f"{what}, which the library doesn't read as a volume"
    data, affine = wanted
    if affine is None:
        same = data.size == scan.data.size and np.allclose(np.sort(data, axis=None), np.sort(scan.data, axis=None))
        return ("right" if same else "wrong"), f"{what}, voxels {'as pydicom has them' if same else 'differ'}"
    if data.shape != scan.shape or not np.allclose(data, scan.data, rtol=1e-5, atol=1e-6 * np.abs(data).max()):
        return "wrong", f"{what}, voxels differ"
    off = float(np.abs(scan.affine - affine).max())
    return ("right" if off < 1e-3 else "wrong"), f"{what}, affine differs by {off:.2g}"


def rows(folder: Path) -> Iterator[Row]:
    warnings.simplefilter("ignore")  # the libraries' remarks on files that break a rule
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in OTHER):
        name, is_dicom = path.relative_to(folder).as_posix(), is_dicom_file(path)
        wanted = expected(path, is_dicom)
        with tempfile.TemporaryDirectory() as alone:
            place = path
            if is_dicom:  # of the files in a folder read_scan takes all that belong together
                place = Path(alone, path.name)
                place.symlink_to(path.resolve())
            yield attempt(name, partial(judged, place, wanted), "refused" if wanted else "right")


if __name__ == "__main__":
    sys.exit(run(__doc__, rows))
