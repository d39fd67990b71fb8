"""Affine registration of a patient's brain to the template brain.

Gauss-Newton on the squared difference of masked, normalised T1 images, in the manner of Friston et al., "Spatial
registration and normalization of images", Human Brain Mapping 1995: the image gradient turns a misfit directly into a
step of all twelve parameters, so ten to twenty evaluations per resolution are enough, every voxel is used (no random
sampling), and the same input gives the same result. Heads that lie turned in their file are met by many starting
rotations at coarse resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product

import numpy as np

from ..atlas.derived import dense, derived
from ..atlas.template import load_template
from ..volumes.affines import apply_affine, from_matvec, rotation, turned
from ..volumes.lattices import box_lattice
from ..volumes.morphology import REST, dilated, extent
from ..volumes.resampling import resample
from ..volumes.scan import Scan
from .field_of_view import FieldOfView
from .intensity import normalise_t1

__all__ = ["Fit", "compute_template_brain", "degrees", "register"]

_COARSE = 8.0  # millimetres: a similarity from every start
_FINE = (6.0, 4.0, 3.0)  # millimetres: twelve parameters, from the best start
_SHADING = 20.0  # millimetres: shading slower than this (sigma) is evened out before comparing
_MARGIN = 15.0  # millimetres around the brain that take part, so that its edge is seen from outside
_PREFERENCE = 0.02  # how much better (correlation) a turned start must fit than the orientation in the file
_ROUNDS = ((30, 4), (10, 4), (4, 6))  # how many of the starts take how many steps more
_CLOSE = 0.1  # correlation: starts farther behind the best are given up
_CERTAIN = 0.875  # correlation at 8 mm: heads that lie right reach 0.89 to 0.97, the wrong way round at most 0.84
_UNSEEN = 0.5  # misfit, in variances of the template, of a place outside the field of view
_EDGE = 0.4  # weight of the misfit of the brain masks against that of the images, in the steps with twelve parameters
_UNIT = 50.0  # millimetres: gives rotations, stretches and shifts parameters of one size


@dataclass(frozen=True)
class Fit:
    """Where a brain lies in the template.

    Attributes:
        to_template: 4×4, patient RAS millimetres to template RAS millimetres.
        dice: overlap of the patient's brain with the template's, as far as the field of view goes.
        correlation: of the two T1 images inside both brains, at 4 mm.
        start_angle: degrees from the orientation that the file states to the start that fitted best.
        seen: share of the template's brain that lies within the scan's field of view.
    """

    to_template: np.ndarray
    dice: float
    correlation: float
    start_angle: float
    seen: float


def register(
    scan: Scan,
    mask: np.ndarray,
    progress: Callable[[float], None] | None = None,
    start: np.ndarray | None = None,
    view: FieldOfView | None = None,
    whole: Scan | None = None,
) -> Fit:
    """Find the affine that brings a T1's brain to the template's.

    Args:
        scan: the T1; its affine may flip, permute, turn or shear.
        mask: bool on its lattice, the brain.
        progress: called with 0..1.
        start: 4×4, patient to template, where that is known already within some 20°; otherwise all ways to lie in a
            file are tried.
        view: of a brain that is cut, so that nothing is compared beyond the cut.
        whole: the scan that ``scan`` is a part of, if it is one: what lies outside it was not measured.

    Returns:
        The best fit found. Whether it is good enough is for the caller to judge.
    """
    progress = progress or (lambda fraction: None)
    brain = _Brain.of(scan, mask, min(_FINE), view, whole)
    moving = {size: _Moving(brain, size) for size in (_COARSE, *_FINE)}
    if start is None:
        candidates = _coarse(moving[_COARSE], lambda fraction: progress(0.5 * fraction))
    else:
        left, _, right = np.linalg.svd(start[:3, :3])
        candidates = [(degrees(left @ right), np.linalg.inv(start))]
    # A turned head may fit almost as well the wrong way round in large voxels: the best few go on with all parameters.
    level, tried = _fixed(_FINE[0]), []
    for angle, affine in candidates:
        affine, score = _descend(level, moving[_FINE[0]], affine, similarity=False, steps=20)
        tried.append((score - (_PREFERENCE if angle else 0.0), angle, affine))
    _, start_angle, found = max(tried, key=lambda one: one[0])
    for number, size in enumerate(_FINE[1:]):
        progress(0.6 + 0.2 * number)
        found, _ = _descend(_fixed(size), moving[size], found, similarity=False, steps=20)
    progress(1.0)
    dice, correlation, seen = _quality(_fixed(4.0), moving[4.0], found)
    return Fit(np.linalg.inv(found), dice, correlation, start_angle, seen)


def _coarse(moving: _Moving, progress: Callable[[float], None]) -> list[tuple[float, np.ndarray]]:
    """The best few similarities of all starts: (degrees turned at the start, template-to-patient 4×4).

    All starts take a few steps, the better ones some more, and so on; unless one is certain before.
    """
    level, taken = _fixed(_COARSE), 0
    runs = [(0.0, angle, affine) for angle, affine in _starts(moving, level)]
    for kept, steps in _ROUNDS:
        runs = runs[:kept]
        for number, (_, angle, affine) in enumerate(runs):
            affine, score = _descend(level, moving, affine, similarity=True, steps=steps)
            if score > _CERTAIN:
                return [(angle, affine)]
            runs[number] = (score - (_PREFERENCE if angle else 0.0), angle, affine)
            taken += steps
            progress(taken / sum(kept * steps for kept, steps in _ROUNDS))
        runs.sort(key=lambda one: -one[0])
    best = runs[: _ROUNDS[-1][0]]
    return [(angle, affine) for score, angle, affine in best if score > best[0][0] - _CLOSE]


@dataclass(frozen=True)
class _Brain:
    """A brain on a lattice along RAS: T1 evened out and 0 outside, share of brain, lattice, field of view.

    ``frame`` takes millimetres to 0..1 along each axis of the scan's field of view; ``clear``, of a brain that is cut,
    is where the cut can't be seen.
    """

    t1: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    frame: np.ndarray
    clear: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        scan: Scan,
        mask: np.ndarray,
        size: float,
        view: FieldOfView | None = None,
        whole: Scan | None = None,
    ) -> _Brain:
        shape, affine = box_lattice(mask, scan.affine, _MARGIN, size)
        whole, part = whole or scan, extent(mask, 1)
        scan, mask = scan.part(part), mask[part]
        t1 = resample(normalise_t1(scan.data, mask), scan.affine, shape, affine)
        soft = resample(mask, scan.affine, shape, affine)
        box = from_matvec(whole.affine[:3, :3] * whole.shape, apply_affine(whole.affine, [-0.5] * 3))
        clear = None if view is None else view.clear(shape, affine)
        return cls(_evened(t1, soft, size), soft, affine, np.linalg.inv(box), clear)

    def at(self, size: float) -> _Brain:
        """The same in larger voxels."""
        shape, affine = box_lattice(np.ones(self.t1.shape, bool), self.affine, 0.0, size)
        volumes = (resample(volume, self.affine, shape, affine) for volume in (self.t1, self.mask))
        clear = None if self.clear is None else resample(self.clear, self.affine, shape, affine, 0, fill=None) > 0.5
        return _Brain(*volumes, affine, self.frame, clear)


def _evened(t1: np.ndarray, mask: np.ndarray, size: float) -> np.ndarray:
    """Without the slow shading that coils leave: divided by the local mean of the brighter tissue."""
    import SimpleITK as sitk

    bright = mask * (t1 > 0.5)

    def local(volume: np.ndarray) -> np.ndarray:
        image = sitk.GetImageFromArray(volume.astype(np.float32))
        return sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, _SHADING / size))

    overall = float((t1 * bright).sum() / max(float(bright.sum()), 1.0))
    mean = local(t1 * bright) / np.maximum(local(bright), 1e-3)
    return np.clip(t1 * overall / np.maximum(mean, 0.3 * overall), 0, 1.5) if overall > 0 else t1


@lru_cache(maxsize=1)
def _template_brain() -> _Brain:
    found = derived("brain")
    t1, mask = (dense(*(found[f"{name}_{part}"] for part in ("shape", "places", "values"))) for name in ("t1", "mask"))
    return _Brain(t1, mask, found["affine"], found["frame"])


def compute_template_brain() -> _Brain:
    """The template as the registration sees it, which ships (``atlas.derived``)."""
    template = load_template()
    return _Brain.of(template.t1, template.mask.data, min(_FINE))


class _Fixed:
    """The template at one resolution: its values at the points that take part."""

    def __init__(self, size: float) -> None:
        brain = _template_brain().at(size)
        self.shape, self.affine = brain.t1.shape, brain.affine
        self.near = dilated(brain.mask > 0.5, max(1, round(0.6 * _MARGIN / size)))
        self.t1, self.mask = brain.t1[self.near].astype(np.float64), brain.mask[self.near]
        self.points = apply_affine(self.affine, np.argwhere(self.near))
        self.centre = self.points[self.mask > 0.5].mean(axis=0)
        self.volume = float(brain.mask.sum()) * size**3


_fixed = lru_cache(maxsize=8)(_Fixed)


class _Moving:
    """The patient at one resolution: T1 and mask with their gradients."""

    def __init__(self, brain: _Brain, size: float) -> None:
        brain = brain.at(size)
        self.affine, self.frame, self.clear = brain.affine, brain.frame, brain.clear
        volumes = [np.pad(volume, 1) for volume in (brain.t1, brain.mask)]  # nothing lies beyond
        self.shape = volumes[0].shape
        gradients = [g / size for volume in volumes for g in np.gradient(volume)]
        self.channels = np.stack([*volumes, *gradients], axis=-1).reshape(-1, 8)
        total = float(brain.mask.sum())
        index = [brain.mask.sum(axis=rest) @ np.arange(n) for rest, n in zip(REST, brain.mask.shape, strict=True)]
        self.centre = apply_affine(self.affine, np.array(index) / total)
        self.volume = total * size**3

    def at(self, fixed: _Fixed, affine: np.ndarray) -> np.ndarray:
        """T1, mask and their gradients (N×8) at the template's points, which ``affine`` takes to the patient's."""
        to_voxel = np.linalg.inv(self.affine) @ affine
        to_voxel[:3, 3] += 1  # of the margin
        place = apply_affine(to_voxel, fixed.points)
        np.clip(place, 0, np.array(self.shape) - 1.001, out=place)
        corner = place.astype(np.intp)
        share = (place - corner).astype(np.float32)
        steps = (self.shape[1] * self.shape[2], self.shape[2], 1)
        start = corner @ np.array(steps)
        found = np.zeros((len(start), 8), np.float32)
        for offset in product((0, 1), repeat=3):
            weight = np.prod([share[:, n] if o else 1 - share[:, n] for n, o in enumerate(offset)], axis=0)
            found += weight[:, None] * self.channels.take(start + int(np.dot(offset, steps)), axis=0)
        return found.astype(np.float64)

    def sees(self, fixed: _Fixed, affine: np.ndarray) -> np.ndarray:
        """Which of the template's points lie in the scan's field of view."""
        place = self.frame @ affine
        inside = np.ones(len(fixed.points), bool)
        for row in place[:3]:
            along = fixed.points @ row[:3] + row[3]
            inside &= (along >= 0) & (along <= 1)
        if self.clear is not None:
            index = np.rint(apply_affine(np.linalg.inv(self.affine) @ affine, fixed.points)).astype(np.intp)
            inside &= self.clear[tuple(np.clip(index, 0, np.array(self.clear.shape) - 1).T)]
        return inside


@dataclass
class _State:
    """How well one affine fits: target ≈ gain · patient + offset, with what is left over, there and in the masks."""

    found: np.ndarray
    weight: np.ndarray
    residual: np.ndarray
    outline: np.ndarray
    gain: float
    cost: float
    correlation: float


def _state(fixed: _Fixed, moving: _Moving, affine: np.ndarray, edge: float) -> _State:
    found = moving.at(fixed, affine)
    values = found[:, 0]
    weight = moving.sees(fixed, affine).astype(np.float64)
    basis = np.stack([values, np.ones_like(values)], axis=1)
    normal = basis.T @ (basis * weight[:, None]) + 1e-6 * np.eye(2)
    gain, offset = np.linalg.solve(normal, basis.T @ (fixed.t1 * weight))
    residual = gain * values + offset - fixed.t1
    # Points outside the field of view say nothing, but must not be a way to lower the cost.
    spread = fixed.t1.var()
    cost = float(np.sum(weight * residual**2) + _UNSEEN * spread * np.sum(1 - weight)) / len(values)
    correlation = np.sqrt(max(1 - cost / spread, 0.0)) if gain > 0 else 0.0
    outline = found[:, 1] - fixed.mask
    cost += edge * float(np.sum(weight * outline**2)) / len(values)
    return _State(found, weight, residual, outline, float(gain), cost if gain > 0 else np.inf, float(correlation))


def _descend(
    fixed: _Fixed, moving: _Moving, affine: np.ndarray, similarity: bool, steps: int
) -> tuple[np.ndarray, float]:
    """Levenberg-Marquardt from one start; returns template-to-patient (4×4) and the correlation reached."""
    edge = 0.0 if similarity else _EDGE
    state, damping = _state(fixed, moving, affine, edge), 1e-3
    for _ in range(steps):
        y = apply_affine(affine, fixed.points) - moving.centre
        columns = _columns(state.found[:, 2:5], y, similarity)
        # Gain and offset are solved for along with the geometry, else a step would mistake one for the other.
        design = np.column_stack([state.gain * columns, state.found[:, 0], np.ones(len(y))])
        weighted = design * state.weight[:, None]
        normal, right = weighted.T @ design, -weighted.T @ state.residual
        if edge:
            columns = _columns(state.found[:, 5:], y, similarity)
            weighted = edge * columns * state.weight[:, None]
            normal[:-2, :-2] += weighted.T @ columns
            right[:-2] -= weighted.T @ state.outline
        for _ in range(4):
            step = np.linalg.solve(normal + np.diag(damping * np.diag(normal) + 1e-9), right)[:-2]
            candidate = _motion(step, moving.centre) @ affine
            new = _state(fixed, moving, candidate, edge)
            if new.cost < state.cost:
                break
            damping *= 8
        else:
            break
        gained = 1 - new.cost / state.cost if np.isfinite(state.cost) else 1.0
        affine, state, damping = candidate, new, max(damping / 4, 1e-6)
        if np.abs(step).max() < 0.01 or gained < 1e-5:
            break
    return affine, state.correlation


def _columns(slope: np.ndarray, y: np.ndarray, similarity: bool) -> np.ndarray:
    """Change of the values by each parameter, from their gradient (N×3) at places ``y`` (N×3, from the centre)."""
    if similarity:
        return np.column_stack([slope, np.cross(y, slope) / _UNIT, np.sum(slope * y, axis=1) / _UNIT])
    return np.column_stack([slope, (slope[:, :, None] * y[:, None, :]).reshape(len(y), 9) / _UNIT])


def _motion(step: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """4×4 about ``centre`` from a step: shift and rotation vector and log scale (7), or shift and matrix (12)."""
    if len(step) == 7:
        linear = rotation(step[3:6] / _UNIT) * np.exp(np.clip(step[6] / _UNIT, -0.2, 0.2))
    else:
        linear = np.eye(3) + step[3:].reshape(3, 3) / _UNIT
    return from_matvec(linear, centre + step[:3] - linear @ centre)


def _starts(moving: _Moving, fixed: _Fixed) -> list[tuple[float, np.ndarray]]:
    """Template-to-patient similarities that match centre and volume: (degrees turned, 4×4), as the file states first.

    The others are turned by 35° about each axis either way, and the other 23 ways to lay the axes of a head along the
    axes of the file.
    """
    turns = [np.eye(3)]
    for axis, sign in product(np.eye(3), (1, -1)):
        turns.append(turned(*(35 * sign * axis)))
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        turn = np.eye(3)[list(order)] * np.array(signs)[:, None]
        if np.linalg.det(turn) > 0 and not np.array_equal(turn, np.eye(3)):
            turns.append(turn)
    scale = np.clip((moving.volume / fixed.volume) ** (1 / 3), 0.7, 1.3)
    starts = []
    for turn in turns:
        linear = turn * scale
        starts.append((degrees(turn), from_matvec(linear, moving.centre - linear @ fixed.centre)))
    return starts


def degrees(turn: np.ndarray) -> float:
    """How far a rotation turns."""
    return float(np.rad2deg(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))


def _quality(fixed: _Fixed, moving: _Moving, affine: np.ndarray) -> tuple[float, float, float]:
    """Dice of the brains within the field of view, correlation where both are brain, share of the template seen."""
    inside = moving.sees(fixed, affine)
    values, mine = moving.at(fixed, affine)[:, :2].T
    mine = mine > 0.5
    theirs = fixed.mask > 0.5
    # Brain of the patient beyond the template's surroundings counts as missed.
    volume = moving.volume / abs(np.linalg.det(affine[:3, :3])) / abs(np.linalg.det(fixed.affine[:3, :3]))
    dice = 2 * np.sum(mine & theirs & inside) / max(float(max(mine.sum(), volume) + np.sum(theirs & inside)), 1.0)
    both, seen = mine & theirs, float(np.mean(inside[theirs]))
    if both.sum() < 100:
        return float(dice), 0.0, seen
    values = values[both]
    spread = values.std() * fixed.t1[both].std()
    covariance = np.mean((values - values.mean()) * (fixed.t1[both] - fixed.t1[both].mean()))
    return float(dice), float(covariance / spread) if spread > 0 else 0.0, seen
