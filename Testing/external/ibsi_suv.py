"""SUV of the digital reference objects of the Image Biomarker Standardisation Initiative.

``python Testing/external/ibsi_suv.py FOLDER``, where FOLDER is a clone of https://github.com/oncoray/suv_computation
(CC BY 4.0). Each object has 0.2, 1.0 and 4.0 as smallest, median and largest SUV inside its mask, but those with
"error" in their name, of which no SUV may be made.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine

from DualGlowLib import InputError
from DualGlowLib.volumes.dicom.volume import read_dicom

EXPECTED = (0.2, 1.0, 4.0)
TOLERANCE = (0.012, 0.016, 0.03)
"""DRO_2_3 stores SUVbsa in steps of 0.01 cm²/ml, 0.04 of SUVbw."""


def measured(folder: Path) -> tuple[float, ...] | str:
    """Smallest, median and largest SUV of an object, or the reason why there is none."""
    try:
        data, affine, meta = read_dicom(folder / "PT")
    except InputError as error:
        return str(error)
    if meta.get("units") != "SUVbw":
        return meta.get("no_suv", "no SUV")
    mask = nib.load(next((folder / "mask").glob("*.nii.gz")))
    places = apply_affine(np.linalg.inv(affine) @ mask.affine, np.argwhere(np.asarray(mask.dataobj) > 0))
    inside = data[tuple(np.round(places).astype(int).T)]
    return float(inside.min()), float(np.median(inside)), float(inside.max())


def main(folder: Path) -> int:
    counts = {"right": 0, "refused": 0, "wrong": 0}
    for place in sorted(path for path in (folder / "DRO").iterdir() if path.is_dir()):
        found, must_fail = measured(place), "error" in place.name
        if isinstance(found, str):
            verdict = "refused" if not must_fail else "right"
        else:
            off = np.abs(np.subtract(found, EXPECTED))
            verdict = "right" if not must_fail and (off <= TOLERANCE).all() else "wrong"
            found = "  ".join(f"{value:.3f}" for value in found)
        counts[verdict] += 1
        print(f"{place.name:16} {verdict:8} {found}")
    print(", ".join(f"{number} {word}" for word, number in counts.items()))
    return counts["wrong"] + counts["refused"]


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1])), 1))
