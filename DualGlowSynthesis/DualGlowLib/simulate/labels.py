"""Anatomies from real heads: T1 images with a MUSE label map (DLMUSE, MUSE) beside each.

The label codes are those of the MUSE parcellation (145 regions: Doshi et al., NeuroImage 127, 2016), which DLMUSE and
NiChart write. The sulci are not labelled there: fluid is what the brain mask holds beyond grey and white matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from ..atlas.regions import PARTITION
from ..cases.people import first
from ..cases.tables import read_table
from ..errors import InputError
from ..preparation.bias import correct_bias, darkest
from ..preparation.t1 import Prepared, prepare
from ..spellings import is_missing, number, parse_sex
from ..volumes.grid import Grid
from ..volumes.reading import read_scan
from ..volumes.resampling import resample
from ..volumes.scan import Scan
from ..volumes.separable import HALF, WORK, apply_axes, blur_axes, half_affine, lines, sample_axes
from .anatomy import Anatomy
from .versions import USUAL, LawVersion

__all__ = ["closed_labels", "find_pairs", "load_anatomies", "load_anatomy"]

_VENTRICLES = (4, 11, 49, 50, 51, 52)
_CEREBRAL_VENTRICLES = (4, 49, 50, 51, 52)
_OTHER_CSF = (1, 46)
_WHITE = (35, 40, 41, 61, 62, 69, *range(81, 96))  # with brain stem, ventral diencephalon and optic chiasm

# Codes of the structures that come in pairs are (right, left); cortical ones from 100 on are even right, odd left.
_REGION_OF = {
    "posterior_cingulate_precuneus": (166, 167, 168, 169),
    "inferior_parietal": (106, 107, 174, 175, 194, 195, 198, 199),
    "lateral_temporal": (122, 123, 132, 133, 154, 155, 180, 181, 184, 185, 200, 201, 202, 203, 206, 207),
    "medial_temporal": (31, 32, 47, 48, 116, 117, 170, 171),
    "medial_frontal": (75, 76, 100, 101, 124, 125, 138, 139, 140, 141, 146, 147, 152, 153, 186, 187, 192, 193),
    "lateral_frontal": (
        104, 105, 118, 119, 120, 121, 136, 137, 142, 143, 162, 163, 164, 165, 178, 179, 190, 191, 204, 205,
    ),
    "occipital": (108, 109, 114, 115, 128, 129, 134, 135, 144, 145, 156, 157, 160, 161, 196, 197),
    "sensorimotor": (112, 113, 148, 149, 150, 151, 176, 177, 182, 183),
    "insula": (102, 103, 172, 173),
    "thalamus": (59, 60),
    "striatum": (23, 30, 36, 37, 55, 56, 57, 58),
    "cerebellum": (38, 39, 40, 41, 71, 72, 73),
    "brain_stem": (35, 61, 62, 69),
}  # fmt: skip
_LEFT_BELOW_100 = (30, 32, 37, 39, 41, 48, 50, 52, 56, 58, 60, 62, 75, 82, 84, 86, 88, 90, 92, 94)
_KNOWN = frozenset((0, *_OTHER_CSF, *_VENTRICLES, *_WHITE, *(code for codes in _REGION_OF.values() for code in codes)))
_LABEL_NAME = re.compile(r"_(DL)?MUSE|_labels?|_d?seg(?![a-z])", re.IGNORECASE)


def _side(code: int) -> str:
    if code >= 100:
        return "LR"[code % 2 == 0]
    return "L" if code in _LEFT_BELOW_100 else "R"


def _codes_of(region: str) -> list[int]:
    """The MUSE codes of one region of ``PARTITION``."""
    base, _, side = region.rpartition("_")
    if side in ("L", "R") and base in _REGION_OF:
        return [code for code in _REGION_OF[base] if _side(code) == side]
    return list(_REGION_OF[region])


def find_pairs(folders: Path | str | Sequence[Path | str]) -> list[tuple[str, Path, Path]]:
    """Pairs of T1 and label map, by their names: ``X_T1*.nii.gz`` and ``X_DLMUSE``, ``X_T1_DLMUSE``, ``X_dseg``…

    Args:
        folders: one folder or several; a T1 may lie in one and its labels in another. Subfolders are searched.

    Returns:
        (name, T1, labels) sorted by name.

    Raises:
        InputError: if a folder doesn't exist, or there is no pair in them.
    """
    folders = [Path(f) for f in ([folders] if isinstance(folders, str | Path) else folders)]
    t1s, labels = {}, {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                f"The anatomy folder {folder} does not exist; give a folder with T1 images and MUSE labels."
            )
        for path in sorted(folder.rglob("*")):
            if not path.name.lower().endswith((".nii", ".nii.gz")):
                continue
            stem = path.name.split(".nii")[0]
            if match := _LABEL_NAME.search(stem):
                labels.setdefault(re.sub(r"_T1w?$", "", stem[: match.start()], flags=re.IGNORECASE), path)
            elif match := re.search(r"_T1w?(?=_|$)", stem, re.IGNORECASE):
                t1s.setdefault(stem[: match.start()], path)
    pairs = [(name, t1s[name], labels[name]) for name in sorted(t1s.keys() & labels.keys())]
    if not pairs:
        where = ", ".join(str(f) for f in folders)
        raise InputError(
            f"No pair of a T1 and its labels was found in {where}; name them like subject_T1.nii.gz and "
            "subject_DLMUSE.nii.gz."
        )
    return pairs


def load_anatomies(
    folders: Path | str | Sequence[Path | str],
    progress: Callable[[str, float], None] | None = None,
    version: LawVersion = USUAL,
    grid: Grid | None = None,
) -> list[Anatomy]:
    """All anatomies of a folder (see ``find_pairs``), registered to the template: some seconds each.

    Ages and sexes are read from ``participants.csv`` or ``participants.tsv`` (columns subject or participant_id, age,
    sex), if a folder has one. ``version`` and ``grid`` are those of ``load_anatomy``.

    Raises:
        InputError: as ``find_pairs`` and ``load_anatomy`` do.
    """
    pairs = find_pairs(folders)
    persons: dict[str, dict] = {}
    for folder in [folders] if isinstance(folders, str | Path) else folders:
        persons |= _participants(Path(folder))
    result = []
    for done, (name, t1, labels) in enumerate(pairs):
        if progress:
            progress(f"anatomy {name}", done / len(pairs))
        result.append(load_anatomy(t1, labels, name, **persons.get(name, {}), version=version, grid=grid))
    if progress:
        progress("anatomies", 1.0)
    return result


def _participants(folder: Path) -> dict[str, dict]:
    table = next((path for name in ("csv", "tsv") if (path := folder / f"participants.{name}").is_file()), None)
    persons = {}
    for row in read_table(table) if table else []:
        person = persons[first(row, ("participant_id", "subject", "case"))] = {}
        with suppress(InputError):
            person["sex"] = parse_sex(row.get("sex", ""))[0]
        age = number(row.get("age", ""))
        if age is not None and not is_missing(age):
            person["age"] = age
    return persons


def load_anatomy(
    t1: Path,
    labels: Path,
    name: str = "",
    age: float = 65.0,
    sex: str = "",
    version: LawVersion = USUAL,
    grid: Grid | None = None,
) -> Anatomy:
    """One anatomy from a T1 and its MUSE labels.

    Args:
        t1, labels: the files.
        name, age, sex: of the person.
        version: of the law that cases are to be drawn from. By one that is evened, the head is brought to the template
            as ``prepare`` does it without labels, evened as there, and the T1 shows the mask that is found there.
        grid: also keep the T1 on this grid as ``prepare`` gives it (``Anatomy.prepared``), by an evened version.

    Raises:
        InputError: if the labels aren't MUSE's, or either file can't be used.
    """
    scan, seg = read_scan(t1), read_scan(labels)
    codes = resample(seg.data, seg.affine, scan.shape, scan.affine, order=0).round().astype(np.int32)
    unknown = sorted(set(np.unique(codes).tolist()) - _KNOWN)
    if unknown or not (codes > 0).any():
        what = f"code {unknown[0]}" if unknown else "no label on the T1"
        raise InputError(f"{labels} has {what}, so it isn't a MUSE label map of {t1}; give DLMUSE or MUSE labels.")
    brain = closed_labels(codes > 0, scan)
    if version.is_evened:
        prepared = prepare(scan, grid or WORK)
        data = correct_bias(scan, prepared.patient_mask, darkest(scan)).data
    else:
        prepared, data = prepare(scan, WORK, mask=brain), scan.data
    target = np.linalg.inv(prepared.to_template) @ WORK.affine

    def place(selection: np.ndarray, shape: tuple = WORK.shape, affine: np.ndarray = target) -> torch.Tensor:
        return torch.from_numpy(resample(selection.astype(np.float32), scan.affine, shape, affine)).clamp(0, 1)

    whole = place(brain)
    mask = (whole > 0.5).float() if version.is_evened else torch.from_numpy(prepared.mask.astype(np.float32))
    wm = place(np.isin(codes, _WHITE))
    ventricles = place(np.isin(codes, _CEREBRAL_VENTRICLES))
    fluid = place(np.isin(codes, (*_VENTRICLES, *_OTHER_CSF)))
    gm = (place(codes > 0) - wm - fluid).clamp(0, 1)
    # As in ``prepare``, but not cut at its highest value, for the case's own shading and scale are still to come.
    image = torch.from_numpy(resample(np.where(brain, data, 0), scan.affine, WORK.shape, target)) / whole
    image = torch.where(mask > 0, image, 0)
    dark = float(np.percentile(image[mask > 0].numpy(), 1))
    white = float(image[wm > 0.95].median())
    image = ((image - dark) / (white - dark)).clamp(0, 2) * mask
    gm, wm, csf = (tissue * mask for tissue in _partial_volumes(image, gm, wm, (1 - gm - wm).clamp(0, 1)))
    half = np.linalg.inv(prepared.to_template) @ half_affine()
    shown, own = None, None
    if version.is_evened:
        if grid is not None:
            own = torch.from_numpy(np.stack([prepared.t1, prepared.mask.astype(np.float32)]))
        image, shown = _as_shown(data, scan, prepared, target)
        image = ((image - dark) / (white - dark)).clamp(0, 2) * (shown > 0.5)
    return Anatomy(
        name or t1.name.split(".nii")[0],
        image,
        gm,
        wm,
        csf,
        mask,
        torch.minimum(ventricles, csf),
        _spread(torch.stack([place(np.isin(codes, _codes_of(region)), HALF, half) for region in PARTITION])),
        age=age,
        sex=sex,
        meta={"quality": prepared.quality, "to_template": prepared.to_template},
        shown=shown,
        prepared=own,
    )


def _as_shown(
    data: np.ndarray, scan: Scan, prepared: Prepared, target: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """The evened T1 in the mask that was found, and that mask, on ``WORK``.

    By splines, which keep it sharp; linearly at the mask's edge, and from its voxels alone, as ``prepare`` does it.
    """
    seen = prepared.patient_mask
    share = resample(seen, scan.affine, WORK.shape, target)
    edge = resample(np.where(seen, data, 0), scan.affine, WORK.shape, target) / np.maximum(share, 1e-3)
    inside = resample(data, scan.affine, WORK.shape, target, order=3)
    return torch.from_numpy(np.where(share > 0.99, inside, edge)), torch.from_numpy(share)


def closed_labels(inside: np.ndarray, scan: Scan) -> np.ndarray:
    """Labels closed over the sulci (4 mm) and without holes."""
    import SimpleITK as sitk

    radius = [max(1, round(4 / s)) for s in scan.spacing[::-1]]
    padded = np.pad(inside, max(radius) + 1)
    image = sitk.GetImageFromArray(padded.astype(np.uint8))
    image = sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(image, radius))
    edge = max(radius) + 1
    return sitk.GetArrayFromImage(image)[edge:-edge, edge:-edge, edge:-edge] > 0


def _partial_volumes(
    t1: torch.Tensor, gm: torch.Tensor, wm: torch.Tensor, csf: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Soft tissue shares from hard labels and the T1's intensity.

    Labels of 2 mm are blocky and say nothing of the fluid in a sulcus narrower than a voxel; the intensity does, but it
    can't tell the thalamus or a lesion from its neighbours. So each tissue's share is the product of what the labels
    (blurred by 3 mm) and the intensity (a linear mixture of fluid and grey, or grey and white matter) say, each with a
    floor.
    """
    soft = [apply_axes(blur_axes(WORK, 3.0), tissue) for tissue in (gm, wm, csf)]
    grey, white, dark = (float(t1[tissue > 0.95 * tissue.max()].median()) for tissue in (gm, wm, csf))
    white, dark = max(white, grey + 0.05), min(dark, grey - 0.05)
    bright = ((t1 - grey) / (white - grey)).clamp(0, 1)
    fluid = ((grey - t1) / (grey - dark)).clamp(0, 1)
    seen = (1 - bright - fluid, bright, fluid)
    product = [(s + 0.02) * (i + 0.1) for s, i in zip(soft, seen, strict=True)]
    total = sum(product)
    return tuple(p / total for p in product)


def _spread(regions: torch.Tensor) -> torch.Tensor:
    """Region maps smoothed, and continued to where no region was labelled; sum 1."""
    axis = lines(HALF, half_affine())
    result = sum(
        share * apply_axes(sample_axes(axis, axis, fwhm), regions)
        for share, fwhm in ((1, 7.0), (1e-3, 20.0), (1e-6, 80.0))
    )
    return result / result.sum(0).clamp_min(1e-20)
