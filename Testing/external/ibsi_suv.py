"""SUV of the digital reference objects of the Image Biomarker Standardisation Initiative.

FOLDER is a clone of https://github.com/oncoray/suv_computation (CC BY 4.0). Each object has 0.2, 1.0 and 4.0 as
smallest, median and largest SUV inside its mask, but those with "error" in their name, of which no SUV may be made.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine

from DualGlowLib import InputError
from DualGlowLib.volumes.dicom.volume import read_dicom
from suite_table import Row, attempt, run

EXPECTED = (0.2, 1.0, 4.0)
TOLERANCE = (0.012, 0.016, 0.03)
"""DRO_2_3 stores SUVbsa in steps of 0.01 cm²/ml, 0.04 of SUVbw."""


def judged(folder: Path, must_fail: bool) -> tuple[str, str]:
    """Verdict on an object, and its smallest, median and largest SUV."""
    data, affine, meta = read_dicom(folder / "PT")
    if meta.get("units") != "SUVbw":
        raise InputError(meta.get("no_suv", "no SUV"))
    mask = nib.load(next((folder / "mask").glob("*.nii.gz")))
    places = apply_affine(np.linalg.inv(affine) @ mask.affine, np.argwhere(np.asarray(mask.dataobj) > 0))
    inside = data[tuple(np.round(places).astype(int).T)]
    found = inside.min(), np.median(inside), inside.max()
    is_right = not must_fail and (np.abs(np.subtract(found, EXPECTED)) <= TOLERANCE).all()
    return "right" if is_right else "wrong", ", ".join(f"{value:.3f}" for value in found)


def rows(folder: Path) -> Iterator[Row]:
    for place in sorted(path.parent for path in folder.glob("DRO/*/PT")):
        must_fail = "error" in place.name.lower()
        yield attempt(place.name, partial(judged, place, must_fail), "right" if must_fail else "refused")


if __name__ == "__main__":
    sys.exit(run(__doc__, rows))
