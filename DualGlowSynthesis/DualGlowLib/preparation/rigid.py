"""Rigid registration of a PET to the T1 of the same person, by mutual information.

SimpleITK's Mattes mutual information (Mattes et al., "PET-CT image registration in the chest using free-form
deformations", IEEE TMI 2003) over every voxel of the T1's brain and its surroundings, without random sampling and in
one thread, so that the same input gives the same bits. The T1 is seen without scalp and neck, where uptake and
brightness have nothing to do with each other; the edge of its brain is what a blurred or noisy PET shows best. Where
the brain lies in the PET's field of view is first found by shape alone: FDG lights up no other organ of a brain's size
as brightly. From there, and from where the files say, many turned starts are tried at coarse resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from ..volumes.affines import apply_affine, from_matvec, turned
from ..volumes.lattices import bounds, box_lattice, lattice_over
from ..volumes.morphology import dilated
from ..volumes.resampling import resample
from ..volumes.scan import LPS, Scan
from .intensity import normalise_t1

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["Target", "assess", "measured", "register_rigid"]

_COARSE = 8.0  # millimetres: voxels in which the brain is looked for and every start is tried
_MIDDLE = 4.0  # millimetres: the best few
_FINE = 3.0  # millimetres: the best
_TURN = 25.0  # degrees about each axis, either way
_CLIMB, _KEEP = 6, 2  # starts that are followed at coarse resolution, and of these at middle resolution
_MARGIN = 12.0  # millimetres around the brain that take part
_BINS = 32
_OUTSIDE = 20.0  # millimetres of the T1's surroundings that are kept around the brain
_REACH = 150.0  # millimetres of the PET that are kept on each side of the brain's middle
_PROBE = 6.0  # millimetres: a PET that fits better this far away lies wrong
_RADIUS = 70.0  # millimetres, of a ball like a brain


@contextmanager
def _one_thread() -> Iterator[None]:
    """ITK's threads each sum a part of the metric, so the last bits depend on their number: take one."""
    import SimpleITK as sitk

    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


@_one_thread()
def register_rigid(
    moving: Scan, fixed: Scan, fixed_mask: np.ndarray, progress: Callable[[float], None] | None = None
) -> tuple[np.ndarray, dict]:
    """Find the rotation and shift that bring a PET onto a T1.

    Args:
        moving: the PET; any axes, voxel size and field of view, from part of a brain to a whole body.
        fixed: the T1.
        fixed_mask: bool on the T1's lattice, its brain.
        progress: called with 0..1.

    Returns:
        4×4 from PET RAS millimetres to T1 RAS millimetres (rotation and shift), and how well they fit: ``information``,
        the mutual information (nats) of the two images around the brain, and ``seen``, the part of the brain's
        surroundings that the PET's field of view covers. Whether it is good enough is for the caller to judge.
    """
    progress = progress or (lambda fraction: None)
    target = Target.of(fixed, fixed_mask)
    pet, centre = _find(moving, target)
    levels = {size: _Level(target, pet, size) for size in (_COARSE, _MIDDLE, _FINE)}

    starts = [_about(turn, target.centre, place) for place in (centre, target.centre) for turn in _turns()]
    found = []
    for number, start in enumerate(starts):
        found.append((start, np.prod(levels[_COARSE].measure(start))))
        progress(0.2 * (number + 1) / len(starts))
    found = sorted(found, key=lambda fit: -fit[1])[:_CLIMB]
    found = [levels[_COARSE].optimise(pose, step=4.0, smallest=0.1, iterations=60) for pose, _ in found]
    found = _different(sorted(found, key=lambda fit: -fit[1]), target.centre)[:_KEEP]
    progress(0.5)
    found = [levels[_MIDDLE].optimise(pose, step=2.0, smallest=0.05, iterations=40) for pose, _ in found]
    found.sort(key=lambda fit: -fit[1])
    progress(0.8)
    pose, _ = levels[_FINE].optimise(found[0][0], step=0.5, smallest=0.005, iterations=60)
    information, seen = levels[_FINE].measure(pose)
    progress(1.0)
    return np.linalg.inv(pose), {"information": information, "seen": seen}


@_one_thread()
def assess(moving: Scan, fixed: Scan, fixed_mask: np.ndarray) -> dict:
    """How well a PET fits its T1 where it lies: as ``register_rigid``, which see, says of what it finds.

    ``better`` is 0, or the millimetres of a shift along one axis that would make it fit better.
    """
    target = Target.of(fixed, fixed_mask)
    level = _Level(target, _cropped(moving, target.centre), _MIDDLE)
    information, seen = level.measure(np.eye(4))
    better = 0.0
    for axis, shift in product(range(3), (_PROBE, -_PROBE)):
        pose = np.eye(4)
        pose[axis, 3] = shift
        if np.prod(level.measure(pose)) > information * seen:
            better = _PROBE
    return {"information": information, "seen": seen, "better": better}


class Target:
    """The T1's brain, without what is around it, on lattices along RAS."""

    def __init__(self, t1: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> None:
        self.t1, self.mask, self.affine = t1, mask, affine
        self.centre = apply_affine(affine, np.argwhere(mask > 0.5).mean(axis=0))

    @classmethod
    def of(cls, scan: Scan, mask: np.ndarray) -> Target:
        shape, affine = box_lattice(mask, scan.affine, _OUTSIDE, _FINE)
        t1 = resample(normalise_t1(scan.data, mask), scan.affine, shape, affine)
        return cls(t1, resample(mask, scan.affine, shape, affine), affine)

    def at(self, size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """T1, brain, and affine in larger voxels."""
        shape, affine = box_lattice(np.ones(self.t1.shape, bool), self.affine, 0.0, size)
        return *(resample(volume, self.affine, shape, affine) for volume in (self.t1, self.mask)), affine


@dataclass(frozen=True)
class _Pet:
    """The PET around the brain on a lattice along RAS: values with hot spots cut, and where it has been measured."""

    values: np.ndarray
    fov: np.ndarray
    affine: np.ndarray


def _find(moving: Scan, target: Target) -> tuple[_Pet, np.ndarray]:
    """The PET around the brain, and the millimetres (its own RAS) where a bright body of the brain's shape lies."""
    fov = measured(moving.data)
    shape, affine = box_lattice(fov, moving.affine, 0.0, _COARSE)
    values = resample(moving.data, moving.affine, shape, affine)
    values = np.clip(values, 0, _hot(values, 98))
    _, brain, _ = target.at(_COARSE)
    inside = brain > 0.5
    shell = dilated(inside, 2) & ~inside
    kernel = inside / inside.sum() - shell / shell.sum()
    size = [n + m for n, m in zip(values.shape, kernel.shape, strict=True)]
    spectrum = np.fft.rfftn(values, size, (0, 1, 2)) * np.conj(np.fft.rfftn(kernel, size, (0, 1, 2)))
    match = np.fft.irfftn(spectrum, size, (0, 1, 2))
    # The kernel's corner, where it matches best; beyond half the range the shift is negative (a cut brain).
    corner = np.array(np.unravel_index(np.argmax(match), match.shape))
    corner = np.where(corner >= values.shape, corner - size, corner)
    middle = corner + np.argwhere(inside).mean(axis=0)
    centre = apply_affine(affine, middle)
    return _cropped(moving, centre), centre


def _cropped(moving: Scan, centre: np.ndarray) -> _Pet:
    """The PET within reach of a point."""
    fov = measured(moving.data)
    low, high = bounds(fov, moving.affine)
    low, high = np.maximum(low, centre - _REACH), np.minimum(high, centre + _REACH)
    shape, affine = lattice_over(low, np.maximum(high, low), _FINE)
    values = resample(moving.data, moving.affine, shape, affine)
    fov = resample(fov, moving.affine, shape, affine, order=0)
    top = _hot(values, 99.5)
    return _Pet(np.clip(values, 0, top) / top, fov, affine)


def _hot(values: np.ndarray, percent: float) -> float:
    """A percentile of what is brighter than the mean, above 0."""
    return max(float(np.percentile(values[values >= values.mean()], percent)), 1e-30)


class _Level:
    """Both images at one resolution, ready for ITK."""

    def __init__(self, target: Target, pet: _Pet, size: float) -> None:
        import SimpleITK as sitk

        t1, mask, affine = target.at(size)
        near = dilated(mask > 0.5, round(_MARGIN / size))
        shape, pet_affine = box_lattice(np.ones(pet.values.shape, bool), pet.affine, 0.0, size)
        values = resample(pet.values, pet.affine, shape, pet_affine)
        fov = resample(pet.fov, pet.affine, shape, pet_affine, order=0) > 0.5
        self.centre = target.centre
        self.fixed = Scan(t1, affine).to_sitk()
        self.moving = Scan(values, pet_affine).to_sitk()
        self.near, self.fov, self.affine, self.fov_affine = near, fov, affine, pet_affine
        method = sitk.ImageRegistrationMethod()
        method.SetNumberOfThreads(1)
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricSamplingStrategy(method.NONE)
        method.SetMetricFixedMask(Scan(near.astype(np.uint8), affine).to_sitk())
        method.SetMetricMovingMask(Scan(fov.astype(np.uint8), pet_affine).to_sitk())
        method.SetInterpolator(sitk.sitkLinear)
        self.method = method

    def optimise(self, pose: np.ndarray, step: float, smallest: float, iterations: int) -> tuple[np.ndarray, float]:
        """Climb from a pose (T1 to PET millimetres); the pose reached and its score, −inf if the images part."""
        method, transform = self.method, _euler(pose, self.centre)
        method.SetOptimizerAsRegularStepGradientDescent(step, smallest, iterations, 0.5, 1e-8)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(transform, True)
        try:
            method.Execute(self.fixed, self.moving)
        except RuntimeError:  # too little of the T1 lies in the PET's field of view
            return pose, -np.inf
        pose = _matrix(transform)
        information, seen = self.measure(pose)
        return pose, information * seen

    def measure(self, pose: np.ndarray) -> tuple[float, float]:
        """Mutual information, and the part of the T1's surroundings of the brain that the PET covers."""
        inside = resample(self.fov, self.fov_affine, self.near.shape, pose @ self.affine, order=0)
        seen = float(inside[self.near].mean())
        self.method.SetInitialTransform(_euler(pose, self.centre), True)
        try:
            return -float(self.method.MetricEvaluate(self.fixed, self.moving)), seen
        except RuntimeError:
            return 0.0, seen


def _euler(pose: np.ndarray, centre: np.ndarray) -> sitk.Euler3DTransform:
    """T1 to PET millimetres (RAS) as ITK's transform in LPS, turning about the brain's middle."""
    import SimpleITK as sitk

    lps = LPS @ pose @ LPS
    middle = LPS[:3, :3] @ centre
    transform = sitk.Euler3DTransform()
    transform.SetCenter(middle.tolist())
    transform.SetMatrix(lps[:3, :3].ravel().tolist(), 1e-6)
    transform.SetTranslation((lps[:3, 3] + lps[:3, :3] @ middle - middle).tolist())
    return transform


def _matrix(transform: sitk.Euler3DTransform) -> np.ndarray:
    centre, shift = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    turn = np.reshape(transform.GetMatrix(), (3, 3))
    return LPS @ from_matvec(turn, centre + shift - turn @ centre) @ LPS


def _turns() -> np.ndarray:
    """Every combination of no turn and a turn either way about the three axes (N×3×3), no turn at all first."""
    return np.array([turned(*angles) for angles in product((0, _TURN, -_TURN), repeat=3)])


def _about(turn: np.ndarray, centre: np.ndarray, place: np.ndarray) -> np.ndarray:
    """4×4 that turns about ``centre`` and brings it to ``place``."""
    return from_matvec(turn, place - turn @ centre)


def _apart(one: np.ndarray, other: np.ndarray, centre: np.ndarray) -> float:
    """Millimetres between two poses, root mean square over a ball of a brain's size about ``centre``."""
    delta = one - other
    shift = apply_affine(delta, centre)
    return float(np.sqrt(shift @ shift + _RADIUS**2 / 5 * np.sum(delta[:3, :3] ** 2)))


def _different(fits: list, centre: np.ndarray) -> list:
    """The best of each group of poses that lie within 8 mm of each other; the best of all first."""
    kept: list = []
    for fit in fits:
        if np.isfinite(fit[1]) and all(_apart(fit[0], other[0], centre) > 8 for other in kept):
            kept.append(fit)
    return kept or fits[:1]


def measured(data: np.ndarray) -> np.ndarray:
    """Where the PET has been measured: everywhere but in planes at the ends of the volume that hold one value only."""
    box = []
    for axis in range(3):
        rest = tuple(other for other in range(3) if other != axis)
        varied = np.flatnonzero(data.max(axis=rest) > data.min(axis=rest))
        box.append(slice(varied[0], varied[-1] + 1) if len(varied) else slice(0, data.shape[axis]))
    fov = np.zeros(data.shape, bool)
    fov[tuple(box)] = True
    return fov
