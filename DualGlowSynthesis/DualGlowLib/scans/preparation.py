"""From a T1 in the patient's space to the model's grid, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..errors import InputError
from .brain import brain_mask
from .grid import Grid
from .intensity import normalise_t1
from .registration import Fit, register
from .resampling import resample
from .scan import Scan

__all__ = ["Prepared", "prepare", "to_patient"]

# Real heads reach a dice of 0.89 to 0.97 and a correlation of 0.5 to 0.9, also with a side cut off; CT, PET and label
# maps of a head stay below a correlation of 0.2, heads placed wrongly below 0.42 (Testing/benchmarks/brain_mask.py).
_MIN_DICE = 0.80
_MIN_CORRELATION = 0.45
_UPSIDE_DOWN = np.diag([1.0, -1.0, -1.0, 1.0])  # the pose in which the networks fail most
_SURE_DICE = 0.87
_HINT = 0.2  # correlation below which a fit doesn't even tell how the head lies
_MIN_ML = 300.0


@dataclass
class Prepared:
    """A T1 on the model's grid, and the way back.

    Attributes:
        scan: the T1 it came from.
        grid: the lattice in template space.
        t1: float32, the grid's shape; white matter near 1, fluid near 0, 0 outside the brain.
        mask: bool, the grid's shape; the patient's brain.
        patient_mask: bool, the scan's shape; the patient's brain.
        to_template: 4×4, patient RAS millimetres to template RAS millimetres.
        quality: what the preparation found, see ``prepare``.
    """

    scan: Scan
    grid: Grid
    t1: np.ndarray
    mask: np.ndarray
    patient_mask: np.ndarray
    to_template: np.ndarray
    quality: dict = field(default_factory=dict)

    @cached_property
    def patient_edge(self) -> np.ndarray:
        """The brain with a soft edge, float32 0..1 on the scan's lattice; computed once, used by ``to_patient``."""
        return _soft_edge(self.patient_mask, self.scan.spacing)

    def to_dict(self) -> dict:
        """Provenance without voxels, fit for JSON."""
        return {
            "source": self.scan.source,
            "scan": {
                "shape": list(self.scan.shape),
                "spacing": [round(float(s), 4) for s in self.scan.spacing],
                "axcodes": self.scan.axcodes,
                **{key: value for key, value in self.scan.meta.items() if isinstance(value, str | int | float | bool)},
            },
            "grid": self.grid.to_dict(),
            "to_template": self.to_template.tolist(),
            "quality": dict(self.quality),
        }


def prepare(
    scan: Scan,
    grid: Grid,
    mask: np.ndarray | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Prepared:
    """Find the brain, register it to the template, and bring it to the grid.

    The T1 is interpolated once, from its own voxels to the grid's.

    Args:
        scan: a T1 of a whole head or of a brain, in any orientation.
        grid: where to.
        mask: bool on the scan's lattice, if the brain is known; otherwise ``brain_mask`` finds it.
        progress: called with a stage ("brain mask", "registration", "resampling") and how much of the whole is done.

    Returns:
        The prepared scan. ``quality`` holds ``dice`` (of the brain with the template's, after registration),
        ``correlation`` (of the two T1 images in the brain), ``brain_ml`` (volume of the brain mask in the patient),
        ``scale`` (stretch along the template's x, y, z), ``turned`` (degrees between the orientation in the file and
        the one found) and ``covered`` (part of the brain that the grid holds).

    Raises:
        InputError: if no brain is found, or what is found doesn't look like a T1 of a brain.
        ValueError: if the mask doesn't lie on the scan's lattice.
    """
    done = 0.0

    def report(stage: str, fraction: float) -> None:
        nonlocal done
        done = max(done, fraction)  # a second look at a turned head starts over, the bar does not
        if progress:
            progress(stage, done)

    where = scan.source or "the image"
    if mask is None:
        mask, fit = _find_brain(scan, report)
    else:
        mask = np.asarray(mask, dtype=bool)
        if mask.shape != scan.shape:
            raise ValueError(f"The mask's shape {mask.shape} is not the scan's {scan.shape}.")
        fit = _place(scan, mask, report)
    if fit is None:
        raise InputError(f"No brain was found in {where}; give a T1-weighted MRI of the whole head.")
    if not _is_brain(fit):
        raise InputError(
            f"{where} doesn't look like a T1 of a brain (overlap with the template {fit.dice:.2f}, at least "
            f"{_MIN_DICE:.2f} expected; likeness {fit.correlation:.2f}, at least {_MIN_CORRELATION:.2f} expected); "
            "give a T1-weighted MRI of the whole head."
        )

    report("resampling", 0.9)
    t1, grid_mask, covered = _on_grid(scan, mask, grid, fit.to_template)
    report("resampling", 1.0)
    rotation, scale = _parts(fit.to_template)
    quality = {
        "dice": round(fit.dice, 4),
        "correlation": round(fit.correlation, 4),
        "brain_ml": round(_millilitres(scan, mask), 1),
        "scale": [round(float(s), 4) for s in scale],
        "turned": round(rotation, 1),
        "covered": round(float(covered), 4),
    }
    return Prepared(scan, grid, t1, grid_mask, mask, fit.to_template, quality)


def _find_brain(scan: Scan, report: Callable[[str, float], None]) -> tuple[np.ndarray, Fit | None]:
    """Brain mask and registration of a head, upright or not; the fit may be bad or None."""
    best: tuple[np.ndarray, Fit | None] = (np.zeros(scan.shape, bool), None)
    for pose in (np.eye(4), _UPSIDE_DOWN):
        mask, fit = _look(scan, pose, report)
        if fit is not None and fit.start_angle > 0 and fit.correlation > _HINT:
            # The networks are at their best with upright heads: turn this one as far as is known and look again.
            left, _, right = np.linalg.svd(fit.to_template[:3, :3])
            upright = np.eye(4)
            upright[:3, :3] = left @ right
            again, better = _look(scan, upright, report)
            if better is not None and better.dice > fit.dice:
                mask, fit = again, better
        if fit is not None and (best[1] is None or fit.correlation > best[1].correlation):
            best = mask, fit
        if fit is not None and (_is_brain(fit) or _is_other_image(fit)):
            break
    return best


def _look(scan: Scan, pose: np.ndarray, report: Callable[[str, float], None]) -> tuple[np.ndarray, Fit | None]:
    """Brain mask of the head turned by ``pose``, and registration of the head as it is."""
    report("brain mask", 0.0)
    mask = brain_mask(Scan(scan.data, pose @ scan.affine, scan.source)).data
    return mask, _place(scan, mask, report)


def _is_brain(fit: Fit) -> bool:
    return fit.dice >= _MIN_DICE and fit.correlation >= _MIN_CORRELATION


def _is_other_image(fit: Fit) -> bool:
    """A brain in its place that doesn't look like a T1: no other pose will change that."""
    return fit.dice > _SURE_DICE and not _is_brain(fit)


def _place(scan: Scan, mask: np.ndarray, report: Callable[[str, float], None]) -> Fit | None:
    """Registration, or None if the mask holds nothing that could be a brain."""
    if _millilitres(scan, mask) < _MIN_ML or np.ptp(scan.data[mask]) == 0:
        return None
    report("registration", 0.4)
    return register(scan, mask, lambda fraction: report("registration", 0.4 + 0.5 * fraction))


def _millilitres(scan: Scan, mask: np.ndarray) -> float:
    return float(np.count_nonzero(mask)) * abs(float(np.linalg.det(scan.affine[:3, :3]))) / 1000


def _on_grid(scan: Scan, mask: np.ndarray, grid: Grid, to_template: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Normalised T1 and mask on the grid, and the part of the brain that lies within it."""
    target = np.linalg.inv(to_template) @ grid.affine
    share = resample(mask, scan.affine, grid.shape, target)
    brain = resample(np.where(mask, scan.data, 0), scan.affine, grid.shape, target)
    inside = share > 0.5
    # The mean over brain voxels alone: neither scalp nor the black outside bleeds into the brain's edge, so a head and
    # the same head stripped of its skull come out alike.
    t1 = normalise_t1(brain / np.maximum(share, 1e-3), inside)
    voxel = abs(np.linalg.det(target[:3, :3])) / abs(np.linalg.det(scan.affine[:3, :3]))
    covered = min(float(share.sum()) * voxel / float(mask.sum()), 1.0)
    return t1, inside, covered


def _parts(affine: np.ndarray) -> tuple[float, np.ndarray]:
    """Degrees of rotation, and stretch along each axis of the target, of a 4×4."""
    left, stretch, right = np.linalg.svd(affine[:3, :3])
    angle = np.rad2deg(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1)))
    return float(angle), np.diag(left @ np.diag(stretch) @ left.T)


def to_patient(volume: np.ndarray, prepared: Prepared, mask: bool = True) -> Scan:
    """Bring a volume from the grid to the T1's own lattice, voxel for voxel.

    Args:
        volume: the grid's shape, e.g. a PET image in SUVR.
        prepared: what ``prepare`` returned for this T1.
        mask: True for 0 outside the patient's brain: the brain mask widened by 1.5 mm, with an edge that fades to 0
            over the next 2 mm. False for the volume as far as the grid reaches.

    Returns:
        A scan of the T1's shape and with its very affine. Cubic B-spline interpolation, cut to the volume's own range
        (and 0), so that no value appears that the model didn't give.

    Raises:
        ValueError: if the volume doesn't have the grid's shape.
    """
    volume = np.asarray(volume, dtype=np.float32)
    if volume.shape != tuple(prepared.grid.shape):
        raise ValueError(f"A volume of shape {volume.shape} is not on the grid of shape {prepared.grid.shape}.")
    scan = prepared.scan
    target = prepared.to_template @ scan.affine
    data = resample(volume, prepared.grid.affine, scan.shape, target, order=3)
    np.clip(data, min(float(volume.min()), 0.0), max(float(volume.max()), 0.0), out=data)
    if mask:
        data *= prepared.patient_edge
    return Scan(data, scan.affine.copy(), scan.source)


def _soft_edge(mask: np.ndarray, spacing: np.ndarray, full: float = 1.5, zero: float = 3.5) -> np.ndarray:
    """1 in the mask and up to ``full`` millimetres around it, falling to 0 at ``zero``."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.transpose(2, 1, 0)).astype(np.uint8))
    image.SetSpacing([float(s) for s in spacing])
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    distance = sitk.GetArrayFromImage(distance).transpose(2, 1, 0)
    return np.clip((zero - distance) / (zero - full), 0, 1).astype(np.float32)
