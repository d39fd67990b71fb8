"""Folders and tables as the Image Data Archive gives ADNI away, made up: its shape alone, nobody's data."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np

from dicom_files import MPRAGE, write_series
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan
from raw_cohort import coarse_template

__all__ = ["COLUMNS", "N3", "UNIFORM", "download", "leaf", "make_download", "row", "table"]

UNIFORM = "Coreg, Avg, Std Img and Vox Siz, Uniform Resolution"
N3 = "MPR; GradWarp; B1 Correction; N3"
COLUMNS = (
    "Image Data ID", "Subject", "Group", "Sex", "Age", "Visit", "Modality", "Description", "Type", "Acq Date", "Format",
    "Downloaded",
)  # fmt: skip


def leaf(folder: Path, subject: str, description: str, day: str, image: str) -> Path:
    """The folder of an image; ``day`` as in ``2007-06-01``."""
    return folder / "ADNI" / subject / re.sub(r"[ ;:/()]", "_", description) / f"{day}_10_57_32.0" / image


def download(
    folder: Path, subject: str, description: str, day: str, image: str, scan: Scan | None = None, dicom: str = ""
) -> Path:
    """One image, empty without a scan: NIfTI (a PET with a fourth axis), or a series of the modality ``dicom``."""
    place = leaf(folder, subject, description, day, image)
    place.mkdir(parents=True)
    name = f"ADNI_{subject}_{place.parent.parent.name}_Br_20070812085014345_S25671_{image}"
    if scan is None:
        (place / f"{name}{'.dcm' if dicom else '.nii'}").touch()
    elif dicom:
        stored = np.round(scan.data / scan.data.max() * 4000).astype(np.uint16)
        tags = MPRAGE if dicom == "MR" else {"ImageType": ["ORIGINAL", "PRIMARY"], "CorrectedImage": ["ATTN", "DECY"]}
        write_series(place, stored, scan.affine, dicom, **tags)
    else:
        data = scan.data[..., None] if "Co" in description[:6] else scan.data
        nib.save(nib.Nifti1Image(data.astype(np.float32), scan.affine), place / f"{name}.nii")
    return place


def row(image: str, subject: str, description: str, day: str, group: str = "MCI", age: str = "70", **more: str) -> dict:
    """A row of a collection's table; ``day`` as for ``leaf``."""
    year, month, date = day.split("-")
    modality = "PET" if "PET" in description or "Co" in description[:6] else "MRI"
    values = {
        "Image Data ID": image, "Subject": subject, "Group": group, "Sex": "M", "Age": age, "Visit": "4",
        "Modality": modality, "Description": description, "Type": "Processed",
        "Acq Date": f"{int(month)}/{date}/{year}", "Format": "NiFTI", "Downloaded": "6/01/2024",
    }  # fmt: skip
    return {**values, **more}


def table(path: Path, *rows: dict) -> Path:
    """A CSV with every cell in quotes."""
    lines = [COLUMNS, *([one[name] for name in COLUMNS] for one in rows)]
    path.write_text("".join(",".join(f'"{cell}"' for cell in line) + "\n" for line in lines))
    return path


def make_download(folder: Path) -> Path:
    """Two subjects over the template, and a PET that the table lists and that is missing.

    The first has a T1 that ADNI processed, as NIfTI; the second one as it was acquired, and both scans in DICOM.
    """
    people = {"941_S_1311": ("LMCI", "70"), "002_S_4295": ("SMC", "72")}
    coarse, maps = coarse_template()
    rows = []
    for number, (subject, (group, age)) in enumerate(people.items()):
        affine = np.diag([4.0, 4.0, 4.0, 1.0])
        affine[:3, 3] = [-98 + 2 * number, -135, -90]
        stretch = np.diag([1 + 0.02 * number, 1, 1, 1])
        t1, brain, gm, wm = (resample(data, stretch @ coarse, (50, 60, 50), affine) for data in maps)
        scatter = np.random.default_rng(number).uniform(0, 0.01, t1.shape)  # measured all over
        uptake = 8000 * (2.4 * gm + 0.5 * wm + 0.05 * brain + scatter)
        description, dicom = ("MP-RAGE", ("MR", "PT")) if number else (N3, ("", ""))
        mri, pet = Scan(np.clip(t1, 0, None), affine), Scan(uptake, affine)
        download(folder, subject, description, "2007-05-20", f"I{number}00", mri, dicom[0])
        download(folder, subject, UNIFORM, "2007-06-01", f"I{number}01", pet, dicom[1])
        download(folder, subject, "Co-registered, Averaged", "2007-06-01", f"I{number}02", pet)
        rows += [row(f"I{number}01", subject, UNIFORM, "2007-06-01", group, age)]
    rows.append(row("I999", "941_S_1311", UNIFORM, "2009-06-01", "LMCI"))
    table(folder / "collection_6_01_2024.csv", *rows)
    return folder
