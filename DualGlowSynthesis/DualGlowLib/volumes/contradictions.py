"""What a file says twice of where its voxels lie, or not at all, and how far that is apart."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from .affines import apply_affine
from .scan import Scan

if TYPE_CHECKING:
    import nibabel as nib

__all__ = ["apart", "header_doubts", "in_millimetres", "nifti_contradictions", "nrrd_affine"]

_PLAUSIBLE = (0.05, 20.0)  # millimetres of a voxel
_SAME_SIZE = 0.01  # of a voxel's side: sizes are stored in float32, and some writers round them to hundredths
# Signs of the axes of a NRRD's space against right, anterior, superior (https://teem.sourceforge.net/nrrd/format.html).
_SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
}
_SPACES |= {"".join(word[0] for word in name.split("-")): signs for name, signs in _SPACES.items()}
_UNITS = {"m": 1e3, "cm": 10.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "microns": 1e-3}


def apart(one: np.ndarray, other: np.ndarray, shape: tuple[int, int, int]) -> tuple[float, float]:
    """How far two affines (4×4) put the corners of a volume from each other, mm, and how they are turned, degrees.

    Where one mirrors what the other doesn't, that counts as turned by 180°.
    """
    corners = np.array(list(product(*[(0, n - 1) for n in shape])))
    millimetres = float(np.linalg.norm(apply_affine(one, corners) - apply_affine(other, corners), axis=1).max())
    left, _, right = np.linalg.svd(other[:3, :3] @ np.linalg.inv(one[:3, :3]))
    turn = left @ right
    if np.linalg.det(turn) < 0:
        return millimetres, 180.0
    return millimetres, float(np.rad2deg(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))


def in_millimetres(affine: np.ndarray, unit: float) -> np.ndarray:
    """An affine (4×4) in a stated unit of ``unit`` mm, if its voxels can't be meant in millimetres and can in that."""
    mean = float(np.linalg.norm(affine[:3, :3], axis=0).mean())
    low, high = _PLAUSIBLE
    return np.diag([unit] * 3 + [1.0]) @ affine if not low < mean < high and low < mean * unit < high else affine


def nifti_contradictions(header: nib.Nifti1Header, shape: tuple[int, ...]) -> dict:
    """For ``Scan.meta``: ``no_orientation``, or ``sform_qform_mm`` and ``sform_qform_degrees``, or ``pixdim_mm``."""
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if sform <= 0 and qform <= 0:
        return {"no_orientation": True}
    if sform <= 0:
        return {}
    found, stated = {}, header.get_sform()
    try:
        other = header.get_qform() if qform > 0 else None
    except ValueError:  # the quaternion is none
        other = None
    if (
        other is not None
        and np.isfinite(other).all()
        and np.linalg.det(other[:3, :3])
        and np.linalg.det(stated[:3, :3])
    ):
        millimetres, turned = apart(stated, other, shape[:3])
        if millimetres > 1:
            found = {"sform_qform_mm": round(millimetres, 2), "sform_qform_degrees": round(turned, 1)}
    sizes = np.abs(np.asarray(header["pixdim"][1:4], float))
    steps = np.linalg.norm(stated[:3, :3], axis=0)
    if np.isfinite(sizes).all() and sizes.min() > 0 and np.abs(sizes / np.maximum(steps, 1e-6) - 1).max() > _SAME_SIZE:
        found["pixdim_mm"] = "×".join(f"{size:.3g}" for size in sizes)
    return found


def nrrd_affine(header: bytes) -> np.ndarray | None:
    """4×4 to RAS millimetres of a NRRD with three spatial axes in an anatomical space; None of any other.

    ITK before 5.4.5 (SimpleITK to 2.5.5) turns left-anterior-superior by 180° about z.
    """
    fields = dict(
        line.split(": ", 1) for line in header.decode("latin-1").splitlines() if ": " in line and line[0] != "#"
    )
    fields = {name.strip().lower(): value.strip() for name, value in fields.items()}
    signs = _SPACES.get(fields.get("space", "").lower().removesuffix("-time"))
    try:
        axes = [_vector(word) for word in _words(fields["space directions"]) if word.lower() != "none"]
        origin = _vector(fields["space origin"]) if "space origin" in fields else [0.0] * 3
    except (KeyError, ValueError):
        return None
    if signs is None or [len(vector) for vector in (*axes, origin)] != [3] * 4:
        return None
    affine = np.eye(4)
    affine[:3] = np.column_stack([*axes, origin]) * np.array(signs)[:, None]
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", "").lower())) - {""}
    return in_millimetres(affine, _UNITS.get(units.pop(), 1.0)) if len(units) == 1 else affine


def _words(text: str) -> list[str]:
    return text.replace(", ", ",").replace(" ,", ",").replace("( ", "(").replace(" )", ")").split()


def _vector(word: str) -> list[float]:
    return [float(number) for number in word.strip("() ").split(",")]


def header_doubts(scan: Scan, what: str = "the file") -> list[str]:
    """What a scan's header leaves in doubt, a clause each; ``what`` names its file."""
    meta, found = scan.meta, []
    if meta.get("no_orientation"):
        found.append(f"{what} doesn't say how the head lies, so that left and right are a guess")
    if meta.get("sform_qform_mm"):
        found.append(
            f"{what}'s two transforms (sform and qform) disagree by {meta['sform_qform_mm']:.0f} mm and "
            f"{meta.get('sform_qform_degrees', 0):.0f}°, so that place and side are in doubt"
        )
    if meta.get("pixdim_mm"):
        sizes = "×".join(f"{size:.3g}" for size in scan.spacing)
        found.append(
            f"{what} names two voxel sizes, {sizes} mm (sform, which is taken) and {meta['pixdim_mm']} mm (pixdim), so "
            "that every length and volume is in doubt"
        )
    return found
