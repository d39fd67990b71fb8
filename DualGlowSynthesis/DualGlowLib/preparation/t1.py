"""From a T1 in the patient's space to the model's grid, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..errors import InputError
from ..volumes.affines import from_matvec, turned
from ..volumes.grid import Grid
from ..volumes.morphology import extent, millilitres
from ..volumes.resampling import resample
from ..volumes.scan import Scan
from ..volumes.splines import CubicSpline
from ..volumes.voxels import tidied, without_noise
from .affine import Fit, degrees, register
from .bias import correct_bias, darkest
from .brain import brain_mask, given_mask
from .deformable import Warp, deform, to_grid
from .field_of_view import FieldOfView
from .intensity import normalise_t1
from .quality import MIN_ML, Verdict, check_scan, examine, is_brain, is_other_image, is_sure

__all__ = ["Prepared", "PreparedT1", "prepare", "to_patient"]

_HINT = 0.2  # correlation below which a fit doesn't even tell how the head lies
_AROUND = 2  # voxels around the brain: what lies beyond is of no use, once it is found
_PLANES = 16  # of the patient's lattice that are drawn on at once, in the processor's cache
_TILTED = 25.0  # degrees: heads that lie so far from how the networks saw them are worth a second look


# Degrees about x and y. The head as it is; upside down, where the networks fail most; face up and down; on either ear.
# The later ones are tried only where something like a brain was seen.
_POSES = ((0, 0), (180, 0), (90, 0), (-90, 0), (0, -90), (0, 90))
_BLIND_POSES = 2


@dataclass
class PreparedT1:
    """A T1 on a model's grid: what a method that predicts a PET gets of it.

    Attributes:
        grid: the lattice in template space.
        t1: float32, the grid's shape; white matter near 1, fluid near 0, 0 outside the brain.
        mask: bool, the grid's shape; the patient's brain.
    """

    grid: Grid
    t1: np.ndarray
    mask: np.ndarray


@dataclass
class Prepared(PreparedT1):
    """A T1 on the model's grid, and the way back.

    Attributes:
        scan: the T1 it came from.
        patient_mask: bool, the scan's shape; the patient's brain.
        to_template: 4×4, patient RAS millimetres to template RAS millimetres.
        quality: what the preparation found, see ``prepare``.
        verdict: good, or doubtful with reasons.
        warp: the deformable step, which follows ``to_template``; None if there was none.
        seen: bool, the grid's shape; what the scan has measured. None if that isn't known.
    """

    scan: Scan
    patient_mask: np.ndarray
    to_template: np.ndarray
    quality: dict = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)
    warp: Warp | None = None
    seen: np.ndarray | None = None

    @property
    def patient_edge(self) -> np.ndarray:
        """The brain with a soft edge, float32 0..1 on the scan's lattice."""
        whole = np.zeros(self.scan.shape, np.float32)
        for box, edge in self.patient_slabs:
            whole[box] = edge
        return whole

    @cached_property
    def patient_slabs(self) -> list[tuple[tuple[slice, slice, slice], np.ndarray]]:
        """``patient_edge`` in boxes that hold all of it and little else; computed once, used by ``to_patient``."""
        slabs = []
        for box, edge in _soft_edge(self.patient_mask, self.scan.spacing):
            part = extent(edge > 0)
            place = (slice(a.start + b.start, a.start + b.stop) for a, b in zip(box, part, strict=True))
            slabs.append((tuple(place), edge[part].copy()))
        return slabs

    @cached_property
    def regions_known(self) -> np.ndarray:
        """Bool for each of ``REGIONS``: so much of it was measured that its mean is one of the region."""
        from ..atlas.regions import REGIONS, SEEN, regions_seen  # which need torch

        incomplete = self.quality.get("regions_seen", {})
        return (regions_seen(self.grid, self.seen) >= SEEN) & [name not in incomplete for name in REGIONS]

    def to_dict(self) -> dict:
        """Provenance without voxels, fit for JSON."""
        return {
            "source": self.scan.source,
            "scan": self.scan.to_dict(),
            "grid": self.grid.to_dict(),
            "to_template": self.to_template.tolist(),
            "quality": dict(self.quality),
            "verdict": self.verdict.to_dict(),
        }


def prepare(
    scan: Scan,
    grid: Grid,
    mask: np.ndarray | Scan | None = None,
    progress: Callable[[str, float], None] | None = None,
    *,
    bias: bool = True,
    deformable: bool = False,
) -> Prepared:
    """Find the brain, even out its shading, register it to the template, bring it to the grid, and judge the result.

    The T1 is interpolated once, from its own voxels to the grid's.

    Args:
        scan: a T1 of a whole head or of a brain, in any orientation.
        grid: where to.
        mask: the brain, if it is known: an array on the scan's lattice or a scan in the same space (see
            ``given_mask``); otherwise ``brain_mask`` finds it.
        progress: called with a stage ("brain mask", "registration", "deformation", "resampling") and how much of the
            whole is done.
        bias: False to leave shading as it is (see ``correct_bias``).
        deformable: True to follow the affine by a smooth, invertible deformation (see ``deform``).

    Returns:
        The prepared scan. ``quality`` holds ``dice`` (of the brain with the template's, after registration),
        ``correlation`` (of the two T1 images in the brain), ``brain_ml`` (volume of the brain mask in the patient),
        ``scale`` (stretch along the template's x, y, z), ``shear`` (largest over smallest stretch), ``turned`` (degrees
        between the orientation in the file and the one found), ``seen`` (part of the template's brain in the field of
        view), ``cut_cm2`` (surface of the brain at the edge of what was measured; from 10 on ``beyond_mm`` and
        ``missing_at`` say how far and where the brain goes on), ``regions_seen`` (part of each region that was
        measured, where that is less than ``regions.SEEN``), ``covered`` (part of the brain that the grid holds),
        ``white_over_grey`` and ``fluid_over_grey`` (brightness), ``grey_levels`` (different values in the brain),
        ``flat`` (share of equal neighbours), ``spikes`` and ``nonfinite_voxels`` (how many), ``nonfinite_in_brain``
        and ``wrapped`` (of the brain: how many without a number, and black amid the brightest), ``bias_range`` (see
        ``correct_bias``), ``noisy_air`` (see ``without_noise``; 0 where a mask was given) and ``voxel_mm``.
        A deformable step adds ``min_jacobian``, ``displacement_mean_mm``, ``displacement_max_mm`` and
        ``return_error_mm`` (see ``Warp.stated``); ``dice`` and ``correlation`` are those of the affine.

    Raises:
        InputError: if no brain is found, what is found doesn't look like a T1 of a brain, or the mask is none of it.
        ValueError: if a mask array doesn't lie on the scan's lattice.
    """
    done = 0.0

    def report(stage: str, fraction: float) -> None:
        nonlocal done
        done = max(done, fraction)  # a second look at a turned head starts over, the bar does not
        if progress:
            progress(stage, done)

    where, read = scan.source or "the image", check_scan(scan)
    clean, doubts, noise = tidied(read), [], 0.0
    if mask is None:
        quiet = without_noise(clean)
        found, noise = _find_brain(clean, quiet, bias, report), quiet.meta.get("noisy_air", 0.0)
    else:
        inside, doubts = given_mask(clean, mask)
        found = _place(clean, inside, bias, report)
    if found.fit is None:
        raise InputError(f"No brain was found in {where}; give a T1-weighted MRI of the whole head.")

    warp = None
    if deformable and is_brain(found.fit):  # any other is refused below
        report("deformation", 0.9)
        warp = deform(found.corrected, found.brain, found.fit.to_template, found.view if found.view.is_cut else None)
    report("resampling", 0.9)
    t1, grid_mask, covered = _on_grid(found.corrected, found.brain, grid, found.fit.to_template, warp)
    seen = found.view.on_grid(clean, grid, found.fit.to_template, warp)
    quality, verdict = examine(
        read, clean, found.corrected, found.brain, found.mask, found.fit, covered, found.view,
        _regions_outside(grid, seen), doubts, noise, given=mask is not None,
    )  # fmt: skip
    if verdict.status == "refused":
        raise InputError(
            f"{where} doesn't look like a T1 of a brain ({'; '.join(verdict.reasons)}); give a T1-weighted MRI of the "
            "whole head."
        )
    if warp is not None:
        quality |= warp.stated()
    report("resampling", 1.0)
    return Prepared(grid, t1, grid_mask, scan, found.mask, found.fit.to_template, quality, verdict, warp, seen)


def _regions_outside(grid: Grid, seen: np.ndarray) -> dict[str, float]:
    """Share that was measured of each region of which too little was, by name."""
    if seen.all():
        return {}  # without torch, which takes longer to load than a case that has its mask takes to prepare
    from ..atlas.regions import incomplete, regions_seen

    return incomplete(regions_seen(grid, seen))


@dataclass(frozen=True)
class _Found:
    """A brain mask, the scan without shading, the registration, what was measured (None if it can't be a brain).

    ``corrected`` is the part of the scan that holds the brain, and ``brain`` the mask there.
    """

    mask: np.ndarray
    corrected: Scan
    brain: np.ndarray
    fit: Fit | None
    view: FieldOfView | None = None

    @property
    def dice(self) -> float:
        return self.fit.dice if self.fit else 0.0

    @property
    def merit(self) -> tuple[bool, float]:
        return self.fit is not None and is_brain(self.fit), self.dice


def _find_brain(scan: Scan, quiet: Scan, bias: bool, report: Callable[[str, float], None]) -> _Found:
    """Brain mask and registration of a head, upright or not, seen without noise; the fit may be bad or None."""
    best = None
    for number, pose in enumerate(from_matvec(np.rint(turned(*pose))) for pose in _POSES):
        if number >= _BLIND_POSES and (best.fit is None or best.fit.correlation < _HINT):
            break
        found = _look(scan, quiet, pose, bias, report)
        while found.fit is not None and found.fit.correlation > _HINT:
            # The networks are at their best with upright heads: turn this one as far as is known and look again.
            left, _, right = np.linalg.svd(found.fit.to_template[:3, :3])
            upright = from_matvec(left @ right)
            if degrees(upright[:3, :3] @ pose[:3, :3].T) < _TILTED:
                break
            again, pose = _look(scan, quiet, upright, bias, report, found.fit.to_template), upright
            if again.dice <= found.dice:
                break
            found = again
        if best is None or found.merit > best.merit:
            best = found
        if best.fit is not None and (is_sure(best.fit) or is_other_image(best.fit)):
            break
    return best


def _look(
    scan: Scan,
    quiet: Scan,
    pose: np.ndarray,
    bias: bool,
    report: Callable[[str, float], None],
    start: np.ndarray | None = None,
) -> _Found:
    """Brain mask of the head turned by ``pose``, seen without noise, and registration of the head as it is."""
    report("brain mask", 0.0)
    posed = Scan(quiet.data, pose @ scan.affine, scan.source)
    mask = brain_mask(posed, lambda fraction: report("brain mask", 0.35 * fraction)).data
    return _place(scan, mask, bias, report, start)


def _place(
    scan: Scan,
    mask: np.ndarray,
    bias: bool,
    report: Callable[[str, float], None],
    start: np.ndarray | None = None,
) -> _Found:
    """Correction of shading and registration, if the mask holds anything that could be a brain."""
    if millilitres(mask, scan.affine) < MIN_ML or np.ptp(scan.data[mask]) == 0:
        return _Found(mask, scan, mask, None)
    report("registration", 0.35)
    box = extent(mask, _AROUND)
    part, brain = scan.part(box), mask[box]
    corrected = correct_bias(part, brain, darkest(scan)) if bias else part
    report("registration", 0.4)
    view = FieldOfView.of(scan, mask)
    fit = register(
        corrected,
        brain,
        lambda fraction: report("registration", 0.4 + 0.5 * fraction),
        start,
        view if view.is_cut else None,
        whole=scan,
    )
    return _Found(mask, corrected, brain, fit, view)


def _on_grid(
    scan: Scan, mask: np.ndarray, grid: Grid, to_template: np.ndarray, warp: Warp | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Normalised T1 and mask on the grid, and the part of the brain that lies within it."""
    target = np.linalg.inv(to_template) @ grid.affine
    share = to_grid(mask, scan.affine, grid, to_template, warp)
    brain = to_grid(np.where(mask, scan.data, 0), scan.affine, grid, to_template, warp)
    inside = share > 0.5
    # The mean over brain voxels alone: neither scalp nor the black outside bleeds into the brain's edge, so a head and
    # the same head stripped of its skull come out alike.
    t1 = normalise_t1(brain / np.maximum(share, 1e-3), inside)
    voxel = abs(np.linalg.det(target[:3, :3])) / abs(np.linalg.det(scan.affine[:3, :3]))
    if warp is not None:  # a voxel of the grid stands for as much of the patient as the deformation says
        share = share * (1 + resample(warp.jacobian - 1, warp.affine, grid.shape, grid.affine))
    covered = min(float(share.sum()) * voxel / float(mask.sum()), 1.0)
    return t1, inside, covered


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
    scan, warp = prepared.scan, prepared.warp and prepared.warp.back
    target = prepared.to_template @ scan.affine
    low, high = min(float(volume.min()), 0.0), max(float(volume.max()), 0.0)
    data, spline = np.zeros(scan.shape, np.float32), CubicSpline(volume)
    step, corner = np.linalg.solve(prepared.grid.affine, target), np.eye(4)
    for box, edge in prepared.patient_slabs if mask else _all_of(scan.shape):
        corner[:3, 3] = [side.start for side in box]
        if warp is None:
            wanted = edge > 0
            place = step @ corner
            values = spline.at(place[:3, :3] @ np.array(np.nonzero(wanted)) + place[:3, 3:])
            data[box][wanted] = np.clip(values, low, high) * edge[wanted]
        else:
            part = resample(volume, prepared.grid.affine, edge.shape, target @ corner, order=3, warp=warp)
            data[box] = np.clip(part, low, high) * edge
    return Scan(data, scan.affine.copy(), scan.source)


def _all_of(shape: tuple[int, int, int]) -> Iterator[tuple[tuple[slice, slice, slice], np.ndarray]]:
    """All of a volume, in boxes of some planes with a weight of 1."""
    for start in range(0, shape[0], _PLANES):
        part = slice(start, min(start + _PLANES, shape[0]))
        yield (part, slice(0, shape[1]), slice(0, shape[2])), np.ones((part.stop - start, *shape[1:]), np.float32)


def _soft_edge(
    mask: np.ndarray, spacing: np.ndarray, full: float = 1.5, zero: float = 3.5
) -> Iterator[tuple[tuple[slice, slice, slice], np.ndarray]]:
    """1 in the mask and up to ``full`` millimetres around it, falling to 0 at ``zero``: some planes at once.

    Yields:
        A box of the mask's lattice that holds something, and float32 of its shape. All that isn't yielded is 0.
    """
    if not mask.any():
        return
    reach = np.floor(zero / spacing).astype(int)
    planes, *sides = (slice(max(s.start - n, 0), s.stop + n) for s, n in zip(extent(mask), reach, strict=True))
    for start in range(planes.start, min(planes.stop, len(mask)), _PLANES):
        stop = min(start + _PLANES, planes.stop, len(mask))
        # The square of the distance to the nearest voxel of the mask, as far as ``zero``, one axis after the other.
        first = max(start - reach[0], 0)
        square = np.where(mask[(slice(first, stop + reach[0]), *sides)], np.float32(0), np.float32(zero**2))
        for axis, (step, most) in enumerate(zip(spacing, reach, strict=True)):
            square = _nearest(square, axis, step, most)
        edge = np.clip((zero - np.sqrt(square[start - first : stop - first])) / np.float32(zero - full), 0, 1)
        if edge.any():
            across = (slice(side.start, min(side.stop, n)) for side, n in zip(sides, mask.shape[1:], strict=True))
            yield (slice(start, stop), *across), edge


def _nearest(square: np.ndarray, axis: int, step: float, most: int) -> np.ndarray:
    """The least of squared distances and those of up to ``most`` voxels away along an axis, as far as those add."""
    nearest = square.copy()
    ours, theirs = np.moveaxis(nearest, axis, 0), np.moveaxis(square, axis, 0)
    for n in range(1, most + 1):
        farther = theirs + np.float32((n * step) ** 2)
        np.minimum(ours[n:], farther[:-n], out=ours[n:])
        np.minimum(ours[:-n], farther[n:], out=ours[:-n])
    return nearest
