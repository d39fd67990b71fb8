"""Is this a T1 of a whole brain, and has the preparation understood it? A verdict with its reasons.

What can't be known: whether left and right are swapped. Brains are so nearly symmetric, and the template is exactly so,
that a mirrored head fits as well as the head itself; the only witness is the file, and its silence or contradiction is
all that is reported here.

Every limit stands beside what was measured on real heads (Testing/benchmarks/preparation.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from ..atlas.derived import derived
from ..atlas.template import load_template
from ..errors import InputError
from ..volumes.contradictions import header_doubts
from ..volumes.lattices import lattice_about
from ..volumes.marking import is_synthetic
from ..volumes.morphology import eroded, extent, filled, millilitres
from ..volumes.resampling import resample
from ..volumes.scan import Scan, without_holes
from ..volumes.voxels import wrapped
from .affine import Fit, degrees
from .brain import intensity_range
from .field_of_view import FieldOfView

__all__ = ["MIN_ML", "Verdict", "check_scan", "compute_tissues", "examine", "is_brain", "is_other_image", "is_sure"]

MIN_ML = 300.0
"""Millilitres: a smaller piece is no brain of a child or an adult."""
_MAX_ML = 3000.0
_USUAL_ML = (800.0, 2100.0)  # adult brains with their ventricles: 1296 to 1673 in the heads at hand
# Measured on 17 heads that lie right (11 of 70 to 87 years, IXI, Colin27 with and without skull, BrainWeb, Papaya's,
# an MPRAGE series) and on what must not pass; the limits lie between, nearer to what must not pass.
#                       good                 must not pass                          refused    doubtful
#   overlap             0.945 to 0.967       below 0.8 (placed wrongly)             0.80       0.90
#   likeness            0.514 to 0.808       up to 0.42 (placed wrongly), 0.2 (CT)  0.45       0.48
#   millilitres         1296 to 1876         voxel size wrong                       300, 3000  800, 2100
#   stretch             0.97 to 1.22         voxel size wrong                       0.6, 1.8   0.8, 1.4
#   largest : smallest  1.02 to 1.24         -                                      -          1.4
#   white : grey        1.215 to 1.414       below 1 (T2, PD, FLAIR, PET, CT)       1.04       1.12
#   fluid : grey        0.37 to 0.60         above 1 (T2)                           -          0.9
#   wrapped voxels      0 to 1               588 (0.9 % of a brain overflows)       -          10
#   brain not seen      0 to 0.001           0.004 (8 mm of the frontal pole)       0.4        0.003, 0.02 not cut
_MIN_DICE, _SURE_DICE = 0.80, 0.90
_MIN_LIKENESS, _SURE_LIKENESS = 0.45, 0.48
_GIVEN_LIKENESS = 0.30  # with a mask of the user's own, who has seen that there is a brain; other images have below 0.2
_OTHER_DICE = 0.92  # a brain in its place, so that another pose can't explain a lack of likeness (0.87 is no proof)
_SCALE, _USUAL_SCALE = (0.6, 1.8), (0.8, 1.4)  # 0.97 to 1.22 measured
_USUAL_SHEAR = 1.4  # largest over smallest stretch; up to 1.23 measured
_MIN_WHITE, _SURE_WHITE = 1.04, 1.12  # white over grey: T1s 1.21 to 1.42; T2, PD, FLAIR, diffusion, PET, CT below 1
_MAX_FLUID = 0.9  # fluid over grey: T1s 0.37 to 0.6
_MIN_SEEN, _SURE_SEEN = 0.6, 0.98
_SURE_CUT = 0.003  # where the brain's surface is seen to be cut; heads that end at the brain's very edge reach 0.001
_MIN_WRAPPED = 10  # voxels; at most 1 in heads without an overflow, 588 where 0.9 % of the brain overflows
_SURE_COVERED = 0.97
_TURNED = 45.0  # degrees; heads in their files are tilted by up to 25
_COARSE, _THICK = 5.0, 2.5  # millimetres; slices so many times as thick as the voxels are wide, and above 4 mm
_MIN_LEVELS, _SURE_LEVELS = 12, 40  # different values in the brain
_FLAT = 0.6  # share of neighbours of exactly the same value: label maps above 0.8, scans below 0.3
_SPIKE = 6.0  # times bright tissue
_SHADING = 1.0  # natural logarithm
_SHORTEST = 60.0  # millimetres: field of view
_NEVER_T1 = {"CT": "a CT", "PT": "a PET", "NM": "a scintigram", "US": "an ultrasound image", "SEG": "labels"}


@dataclass
class Verdict:
    """What a reader should make of a preparation.

    Attributes:
        status: "good"; "doubtful" for what should be looked at; "refused" for what can't be used.
        reasons: one clause each, with numbers; empty for "good".
    """

    status: str = "good"
    reasons: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        return {"status": self.status, "reasons": list(self.reasons)}


def check_scan(scan: Scan) -> Scan:
    """Refuse what can't be a T1 of a head, before any work on it.

    Returns:
        The scan, with voxels that are not finite at the background's value (``holes``), counted in
        ``meta["nonfinite_voxels"]``.

    Raises:
        InputError: for an image that says it is synthetic or not an MRI, has one value only or no finite one, or a
            field of view too small for a brain.
    """
    where, modality = scan.source or "The image", str(scan.meta.get("modality", "")).upper()
    if is_synthetic(scan):
        raise InputError(f"{where} is synthetic (marked as synthetic); give an acquired T1-weighted MRI.")
    if modality in _NEVER_T1:
        raise InputError(f"{where} says that it is {_NEVER_T1[modality]}; give a T1-weighted MRI of the whole head.")
    if not np.isfinite(scan.data.min()) and not np.isfinite(scan.data).any():
        raise InputError(f"{where} has no finite voxel (all are NaN or infinite); export it again.")
    data, holes = without_holes(scan.data)
    if holes is not None:
        holes = holes if scan.holes is None else holes | scan.holes
        meta = {**scan.meta, "nonfinite_voxels": int(np.count_nonzero(holes))}
        scan = Scan(data, scan.affine, scan.source, meta, holes)
    if scan.data.min() == scan.data.max():
        raise InputError(f"{where} has the same value in every voxel; there is no image in it.")
    sides = scan.spacing * scan.shape
    if sides.min() < _SHORTEST:
        size = "×".join(f"{s:.0f}" for s in sides)
        raise InputError(
            f"{where} shows {size} mm, too little for a brain; check the voxel size in its header or give a "
            "T1-weighted MRI of the whole head."
        )
    return scan


def is_brain(fit: Fit) -> bool:
    """The fit is good enough to be used."""
    return fit.dice >= _MIN_DICE and fit.correlation >= _MIN_LIKENESS


def is_sure(fit: Fit) -> bool:
    """The fit is so good that no other pose need be tried."""
    return fit.dice >= _SURE_DICE and fit.correlation >= _MIN_LIKENESS


def is_other_image(fit: Fit) -> bool:
    """A brain in its place that doesn't look like a T1: no other pose will change that."""
    return fit.dice > _OTHER_DICE and fit.correlation < _MIN_LIKENESS and fit.start_angle == 0


def examine(
    scan: Scan,
    clean: Scan,
    corrected: Scan,
    brain: np.ndarray,
    mask: np.ndarray,
    fit: Fit,
    covered: float,
    view: FieldOfView,
    regions: dict[str, float],
    doubts: list[str],
    noise: float = 0.0,
    given: bool = False,
) -> tuple[dict, Verdict]:
    """Measure a preparation and judge it.

    Args:
        scan: the T1 as it was read.
        clean: the same without wrong voxels (``voxels.tidied``).
        corrected: the part of it that holds the brain, without shading.
        brain: bool on that part's lattice.
        mask: bool on the scan's lattice, the same brain.
        fit: its registration.
        covered: share of the brain that the grid holds.
        view: what the scan has measured.
        regions: share that it has measured of each region of which that is too little.
        doubts: what else is in doubt.
        noise: in the air, as the brain was looked for (``voxels.without_noise``).
        given: whether the mask is the user's.

    Returns:
        ``quality``, numbers fit for JSON (see ``prepare``), and the verdict.
    """
    quality = _measure(scan, clean, corrected, brain, mask, fit)
    quality |= {"covered": round(float(covered), 4), "noisy_air": noise}
    quality["regions_seen"] = regions
    if view.is_cut:
        lost, beyond, sides = view.missing(fit.to_template)
        quality |= {"seen": round(1 - lost, 4), "beyond_mm": round(beyond, 1), "missing_at": sides}
    quality["cut_cm2"] = round(view.cut, 1)
    refused = _refusals(quality, scan, _GIVEN_LIKENESS if given else _MIN_LIKENESS)
    if refused:
        return quality, Verdict("refused", [*refused, *_voxel_doubts(quality, scan)])
    doubts = [*_doubts(quality), *_voxel_doubts(quality, scan), *_file_doubts(quality, scan), *doubts]
    return quality, Verdict("doubtful" if doubts else "good", doubts)


def _measure(scan: Scan, clean: Scan, corrected: Scan, brain: np.ndarray, mask: np.ndarray, fit: Fit) -> dict:
    left, stretch, right = np.linalg.svd(fit.to_template[:3, :3])
    low, high = intensity_range(clean.data)
    white, fluid = _contrast(corrected, brain, fit.to_template, low)
    box = extent(mask, 2)
    part, mask = scan.part(box), mask[box]
    levels, flat = _grain(part.data, mask)
    inside = filled(mask)
    return {
        "dice": round(fit.dice, 4),
        "correlation": round(fit.correlation, 4),
        "brain_ml": round(millilitres(mask, scan.affine), 1),
        "scale": [round(float(s), 4) for s in np.diag(left @ np.diag(stretch) @ left.T)],
        "shear": round(float(stretch[0] / stretch[-1]), 4),
        "turned": round(degrees(left @ right), 1),
        "seen": round(fit.seen, 4),
        "white_over_grey": round(white, 3),
        "fluid_over_grey": round(fluid, 3),
        "grey_levels": levels,
        "flat": round(flat, 3),
        "spikes": int(np.count_nonzero(scan.data > low + _SPIKE * (high - low))),
        "wrapped": wrapped(part.data, eroded(inside) if part.holes is None else eroded(inside) & ~part.holes),
        "nonfinite_voxels": int(scan.meta.get("nonfinite_voxels", 0)),
        "nonfinite_in_brain": 0 if part.holes is None else int(np.count_nonzero(part.holes & inside)),
        "bias_range": float(corrected.meta.get("bias_range", 0.0)),
        "voxel_mm": [round(float(s), 3) for s in scan.spacing],
    }


@lru_cache(maxsize=1)
def _tissues() -> tuple[tuple[int, int, int], np.ndarray, list[np.ndarray]]:
    """What ``compute_tissues`` finds, which ships (``atlas.derived``)."""
    found = derived("tissues")
    shape = tuple(map(int, found["shape"]))
    tissues = np.unpackbits(found["tissues"], count=3 * math.prod(shape)).reshape(3, *shape).astype(bool)
    return shape, found["affine"], list(tissues)


def compute_tissues() -> tuple[tuple[int, int, int], np.ndarray, list[np.ndarray]]:
    """Shape and affine of 3 mm voxels over the template, and where it is surely white, grey, fluid."""
    template, shape = load_template(), (51, 64, 55)
    affine = lattice_about((0, -16.5, 6), shape, 3.0)
    grey, white, inside = (
        resample(one.data, one.affine, shape, affine) for one in (template.gm, template.wm, template.mask)
    )
    return shape, affine, [white > 0.9, grey > 0.75, (inside > 0.99) & (grey + white < 0.25)]


def _contrast(scan: Scan, mask: np.ndarray, to_template: np.ndarray, zero: float) -> tuple[float, float]:
    """Brightness above ``zero`` of white matter and of fluid over that of grey matter, 0 for what isn't seen."""
    shape, affine, tissues = _tissues()
    target = np.linalg.inv(to_template) @ affine
    share = resample(mask, scan.affine, shape, target)
    image = resample(np.where(mask, scan.data - zero, 0), scan.affine, shape, target) / np.maximum(share, 1e-3)
    white, grey, fluid = (
        float(np.median(image[tissue & (share > 0.9)])) if (tissue & (share > 0.9)).sum() > 20 else 0.0
        for tissue in tissues
    )
    return (white / grey, fluid / grey) if grey > 0 else (0.0, 0.0)


def _grain(data: np.ndarray, mask: np.ndarray) -> tuple[int, float]:
    """How many different values the brain has, and what share of its neighbours (0 left aside) are exactly equal."""
    inside = mask & (data != 0)
    pairs = inside[1:] & inside[:-1]
    same = float(np.mean((data[1:] == data[:-1])[pairs])) if pairs.any() else 0.0
    return len(np.unique(data[mask])), same


def _refusals(quality: dict, scan: Scan, least: float) -> list[str]:
    """Why it can't be used; ``least`` is the likeness that it must have."""
    white = quality["white_over_grey"]
    if quality["grey_levels"] < _MIN_LEVELS or quality["flat"] > _FLAT:
        equal = f"{100 * quality['flat']:.0f} % of the neighbouring voxels"
        return [f"the brain has {quality['grey_levels']} different values, equal in {equal}, as in a label map"]
    found = []
    if not _MAX_ML >= quality["brain_ml"] >= MIN_ML:
        found.append(f"the brain would measure {quality['brain_ml']:.0f} ml; check the voxel size in the header")
    if min(quality["scale"]) < _SCALE[0] or max(quality["scale"]) > _SCALE[1]:
        scale = ", ".join(f"{s:.2f}" for s in quality["scale"])
        found.append(f"the brain would be stretched by {scale} to fit; check the voxel size in the header")
    if quality["dice"] >= _MIN_DICE and 0 < white < _MIN_WHITE:
        kind = "CT" if scan.data.min() < -500 else "T2, PD, FLAIR, diffusion MRI, PET or CT"
        found.append(
            f"white matter is {white:.2f} times as bright as grey matter, a T1's at least 1.1; perhaps a {kind}"
        )
    if quality["dice"] < _MIN_DICE:
        found.append(f"overlap with the template {quality['dice']:.2f}, at least {_MIN_DICE:.2f} expected")
    if quality["correlation"] < least:
        found.append(f"likeness {quality['correlation']:.3f}, at least {least:.2f} expected")
    if quality["seen"] < _MIN_SEEN:
        found.append(f"only {100 * quality['seen']:.0f} % of the brain lies within the field of view")
    return found


def _doubts(quality: dict) -> list[str]:
    """What the registration and the voxels leave in doubt."""
    white, voxel = quality["white_over_grey"], quality["voxel_mm"]
    found = []
    if quality["dice"] < _SURE_DICE:
        found.append(f"the brain overlaps with the template by {quality['dice']:.2f} only, usual is 0.92 to 0.97")
    if quality["correlation"] < _SURE_LIKENESS:
        found.append(f"its likeness with the template is {quality['correlation']:.2f}, usual is 0.50 to 0.85")
    if not _USUAL_ML[0] <= quality["brain_ml"] <= _USUAL_ML[1]:
        found.append(f"the brain measures {quality['brain_ml']:.0f} ml, an adult's 1000 to 2000")
    if min(quality["scale"]) < _USUAL_SCALE[0] or max(quality["scale"]) > _USUAL_SCALE[1]:
        found.append(f"the brain is stretched by {', '.join(f'{s:.2f}' for s in quality['scale'])} to fit the template")
    if quality["shear"] > _USUAL_SHEAR:
        found.append(f"one direction is stretched {quality['shear']:.2f} times as much as another to fit the template")
    if white < _SURE_WHITE:
        found.append(f"white matter is only {white:.2f} times as bright as grey matter, in a T1 usually 1.2 to 1.5")
    if quality["fluid_over_grey"] > _MAX_FLUID:
        found.append(f"fluid is {quality['fluid_over_grey']:.2f} times as bright as grey matter, in a T1 about half")
    lost = 1 - quality["seen"]
    if lost > (_SURE_CUT if "beyond_mm" in quality else 1 - _SURE_SEEN) or quality["regions_seen"]:
        found.append(_outside(quality, lost))
    if quality["covered"] < _SURE_COVERED:
        found.append(f"{100 * (1 - quality['covered']):.0f} % of the brain lies outside the model's grid")
    if max(voxel) > _COARSE or max(voxel) > max(4.0, _THICK * min(voxel)):
        found.append(f"voxels of {'×'.join(f'{v:.2g}' for v in voxel)} mm show little detail")
    if quality["grey_levels"] < _SURE_LEVELS:
        found.append(f"the brain has only {quality['grey_levels']} grey levels")
    if quality["bias_range"] > _SHADING:
        found.append(f"strong shading, one end of the brain {np.exp(quality['bias_range']):.1f} times as bright")
    return found


def _outside(quality: dict, lost: float) -> str:
    """How much of the brain the scan lacks, where, and which regions have no value for it."""
    said = f"{100 * lost:.1f} % of the brain lies outside the field of view"
    if quality.get("missing_at"):
        said += f", up to {quality['beyond_mm']:.0f} mm at its {' and '.join(quality['missing_at'])}"
    regions = sorted(quality["regions_seen"].items(), key=lambda one: one[1])
    if regions:
        named = [f"{name.replace('_', ' ')}: {100 * (1 - share):.0f} % outside the scan" for name, share in regions]
        said += f" ({'; '.join(named)}; these regions have no value)"
    return said


def _voxel_doubts(quality: dict, scan: Scan) -> list[str]:
    """Voxels that hold no or a wrong value."""
    found = []
    if quality["noisy_air"]:
        found.append(
            "around the head lies noise as bright as tissue, as in an MP2RAGE's ratio image (UNI), which makes the "
            "brain's edge uncertain; look at it, or give a brain mask (--mask)"
        )
    if quality["wrapped"] >= _MIN_WRAPPED:
        found.append(
            f"{quality['wrapped']} voxels of the brain are {'negative' if scan.data.min() < 0 else 'black'} amid the "
            "brightest ones, as after an integer overflow; export the image again"
        )
    if quality["spikes"]:
        found.append(f"{quality['spikes']} voxels are more than {_SPIKE:g} times as bright as tissue (spikes)")
    if quality["nonfinite_in_brain"]:
        share = 100 * quality["nonfinite_in_brain"] / max(quality["brain_ml"] * 1000 / np.prod(quality["voxel_mm"]), 1)
        found.append(
            f"{quality['nonfinite_in_brain']} voxels of the brain ({share:.2g} %) were NaN or infinite and count as "
            "background"
        )
    return found


def _file_doubts(quality: dict, scan: Scan) -> list[str]:
    """What the file leaves in doubt: where the head lies, and which side is left."""
    found = header_doubts(scan)
    if quality["turned"] > _TURNED:
        found.append(
            f"the head lies turned by {quality['turned']:.0f}° against what the file says, so that its left and right "
            "are in doubt too"
        )
    return found
