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

from .intensity import normalise_t1
from .resampling import resample
from .scan import Scan
from .template import load_template

__all__ = ["Fit", "register"]

_COARSE = 8.0  # millimetres: a similarity from every start
_FINE = (6.0, 4.0, 3.0)  # millimetres: twelve parameters, from the best start
_SHADING = 20.0  # millimetres: shading slower than this (sigma) is evened out before comparing
_MARGIN = 15.0  # millimetres around the brain that take part, so that its edge is seen from outside
_PREFERENCE = 0.02  # how much better (correlation) a turned start must fit than the orientation in the file
_REST = ((1, 2), (0, 2), (0, 1))  # the other two axes of each axis
_UNIT = 50.0  # millimetres: gives rotations, stretches and shifts parameters of one size


@dataclass(frozen=True)
class Fit:
    """Where a brain lies in the template.

    Attributes:
        to_template: 4×4, patient RAS millimetres to template RAS millimetres.
        dice: overlap of the patient's brain with the template's, as far as the field of view goes.
        correlation: of the two T1 images inside both brains, at 4 mm.
        start_angle: degrees from the orientation that the file states to the start that fitted best.
    """

    to_template: np.ndarray
    dice: float
    correlation: float
    start_angle: float


def register(scan: Scan, mask: np.ndarray, progress: Callable[[float], None] | None = None) -> Fit:
    """Find the affine that brings a T1's brain to the template's.

    Args:
        scan: the T1; its affine may flip, permute, turn or shear.
        mask: bool on its lattice, the brain.
        progress: called with 0..1.

    Returns:
        The best fit found. Whether it is good enough is for the caller to judge.
    """
    progress = progress or (lambda fraction: None)
    brain = _Brain.of(scan, mask, min(_FINE))
    moving = {size: _Moving(brain, size) for size in (_COARSE, *_FINE)}
    level = _fixed(_COARSE)
    starts = _starts(moving[_COARSE], level)
    best, found, start_angle = -np.inf, starts[0][1], 0.0
    for number, (angle, start) in enumerate(starts):
        affine, score = _descend(level, moving[_COARSE], start, similarity=True, steps=12)
        score -= _PREFERENCE if number else 0.0
        if score > best:
            best, found, start_angle = score, affine, angle
        progress(0.5 * (number + 1) / len(starts))

    for number, size in enumerate(_FINE):
        found, _ = _descend(_fixed(size), moving[size], found, similarity=False, steps=20)
        progress(0.5 + 0.5 * (number + 1) / len(_FINE))
    dice, correlation = _quality(_fixed(4.0), moving[4.0], found)
    return Fit(np.linalg.inv(found), dice, correlation, start_angle)


@dataclass(frozen=True)
class _Brain:
    """A brain on a lattice along RAS: T1 evened out and 0 outside, share of brain, share of field of view."""

    t1: np.ndarray
    mask: np.ndarray
    fov: np.ndarray
    affine: np.ndarray

    @classmethod
    def of(cls, scan: Scan, mask: np.ndarray, size: float) -> _Brain:
        low, high = _bounds(mask, scan.affine)
        shape, affine = _lattice(low - _MARGIN, high + _MARGIN, size)
        t1 = resample(normalise_t1(scan.data, mask), scan.affine, shape, affine)
        soft = resample(mask, scan.affine, shape, affine)
        fov = resample(np.ones(scan.shape, np.float32), scan.affine, shape, affine, order=0)
        return cls(_evened(t1, soft, size), soft, fov, affine)

    def at(self, size: float) -> _Brain:
        """The same in larger voxels."""
        low, high = _bounds(np.ones(self.t1.shape, bool), self.affine)
        shape, affine = _lattice(low, high, size)
        volumes = (resample(volume, self.affine, shape, affine) for volume in (self.t1, self.mask, self.fov))
        return _Brain(*volumes, affine)


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
    template = load_template()
    return _Brain.of(template.t1, template.mask.data, min(_FINE))


class _Fixed:
    """The template at one resolution: its values at the points that take part."""

    def __init__(self, size: float) -> None:
        import SimpleITK as sitk

        brain = _template_brain().at(size)
        self.shape, self.affine = brain.t1.shape, brain.affine
        inside = sitk.GetImageFromArray((brain.mask > 0.5).astype(np.uint8))
        radius = max(1, round(0.6 * _MARGIN / size))
        self.near = sitk.GetArrayFromImage(sitk.BinaryDilate(inside, [radius] * 3)) > 0
        self.t1, self.mask = brain.t1[self.near].astype(np.float64), brain.mask[self.near]
        self.points = np.argwhere(self.near) @ self.affine[:3, :3].T + self.affine[:3, 3]
        self.centre = self.points[self.mask > 0.5].mean(axis=0)
        self.volume = float(brain.mask.sum()) * size**3


_fixed = lru_cache(maxsize=8)(_Fixed)


class _Moving:
    """The patient at one resolution, with the gradient of its T1."""

    def __init__(self, brain: _Brain, size: float) -> None:
        brain = brain.at(size)
        self.affine, self.t1, self.mask, self.fov = brain.affine, brain.t1, brain.mask, brain.fov
        self.gradient = [g / size for g in np.gradient(self.t1)]
        total = float(self.mask.sum())
        index = [self.mask.sum(axis=rest) @ np.arange(n) for rest, n in zip(_REST, self.mask.shape, strict=True)]
        self.centre = self.affine[:3, :3] @ (np.array(index) / total) + self.affine[:3, 3]
        self.volume = total * size**3

    def at(self, fixed: _Fixed, affine: np.ndarray, volume: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """A volume's values at the template's points, which ``affine`` takes to the patient's millimetres."""
        values = resample(volume, self.affine, fixed.shape, affine @ fixed.affine, fill=fill, antialias=False)
        return values[fixed.near].astype(np.float64)


@dataclass
class _State:
    """How well one affine fits: target ≈ gain · patient + offset, with what is left over."""

    values: np.ndarray
    weight: np.ndarray
    residual: np.ndarray
    gain: float
    cost: float
    correlation: float


def _state(fixed: _Fixed, moving: _Moving, affine: np.ndarray) -> _State:
    values = moving.at(fixed, affine, moving.t1)
    weight = (moving.at(fixed, affine, moving.fov, fill=1.0) > 0.5).astype(np.float64)
    basis = np.stack([values, np.ones_like(values)], axis=1)
    normal = basis.T @ (basis * weight[:, None]) + 1e-6 * np.eye(2)
    gain, offset = np.linalg.solve(normal, basis.T @ (fixed.t1 * weight))
    residual = gain * values + offset - fixed.t1
    # Points outside the field of view say nothing, but must not be a way to lower the cost.
    spread = fixed.t1.var()
    cost = float(np.sum(weight * residual**2) + 0.5 * spread * np.sum(1 - weight)) / len(values)
    correlation = np.sqrt(max(1 - cost / spread, 0.0)) if gain > 0 else 0.0
    return _State(values, weight, residual, float(gain), cost if gain > 0 else np.inf, float(correlation))


def _descend(
    fixed: _Fixed, moving: _Moving, affine: np.ndarray, similarity: bool, steps: int
) -> tuple[np.ndarray, float]:
    """Levenberg-Marquardt from one start; returns template-to-patient (4×4) and the correlation reached."""
    state, damping = _state(fixed, moving, affine), 1e-3
    for _ in range(steps):
        y = fixed.points @ affine[:3, :3].T + affine[:3, 3] - moving.centre
        slope = np.stack([moving.at(fixed, affine, g) for g in moving.gradient], axis=1)
        if similarity:
            columns = [slope, np.cross(y, slope) / _UNIT, np.sum(slope * y, axis=1, keepdims=True) / _UNIT]
        else:
            columns = [slope, (slope[:, :, None] * y[:, None, :]).reshape(len(y), 9) / _UNIT]
        # Gain and offset are solved for along with the geometry, else a step would mistake one for the other.
        design = np.column_stack([state.gain * np.column_stack(columns), state.values, np.ones(len(y))])
        weighted = design * state.weight[:, None]
        normal, right = weighted.T @ design, -weighted.T @ state.residual
        for _ in range(4):
            step = np.linalg.solve(normal + np.diag(damping * np.diag(normal) + 1e-9), right)[:-2]
            candidate = _motion(step, moving.centre) @ affine
            new = _state(fixed, moving, candidate)
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


def _motion(step: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """4×4 about ``centre`` from a step: shift and rotation vector and log scale (7), or shift and matrix (12)."""
    if len(step) == 7:
        linear = _rotation(step[3:6] / _UNIT) * np.exp(np.clip(step[6] / _UNIT, -0.2, 0.2))
    else:
        linear = np.eye(3) + step[3:].reshape(3, 3) / _UNIT
    motion = np.eye(4)
    motion[:3, :3] = linear
    motion[:3, 3] = centre + step[:3] - linear @ centre
    return motion


def _rotation(vector: np.ndarray) -> np.ndarray:
    """3×3 from a rotation vector in radians (Rodrigues' formula)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _starts(moving: _Moving, fixed: _Fixed) -> list[tuple[float, np.ndarray]]:
    """Template-to-patient similarities that match centre and volume: (degrees turned, 4×4), as the file states first.

    The others are turned by 35° about each axis either way, and the other 23 ways to lay the axes of a head along the
    axes of the file.
    """
    turns = [np.eye(3)]
    for axis, sign in product(np.eye(3), (1, -1)):
        turns.append(_rotation(np.deg2rad(35) * sign * axis))
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        turn = np.eye(3)[list(order)] * np.array(signs)[:, None]
        if np.linalg.det(turn) > 0 and not np.array_equal(turn, np.eye(3)):
            turns.append(turn)
    scale = np.clip((moving.volume / fixed.volume) ** (1 / 3), 0.7, 1.3)
    starts = []
    for turn in turns:
        affine = np.eye(4)
        affine[:3, :3] = turn * scale
        affine[:3, 3] = moving.centre - affine[:3, :3] @ fixed.centre
        starts.append((float(np.rad2deg(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))), affine))
    return starts


def _quality(fixed: _Fixed, moving: _Moving, affine: np.ndarray) -> tuple[float, float]:
    """Dice of the two brains within the field of view, and correlation of the images where both are brain."""
    inside = moving.at(fixed, affine, moving.fov, fill=1.0) > 0.5
    mine = moving.at(fixed, affine, moving.mask) > 0.5
    theirs = fixed.mask > 0.5
    # Brain of the patient beyond the template's surroundings counts as missed.
    volume = moving.volume / abs(np.linalg.det(affine[:3, :3])) / abs(np.linalg.det(fixed.affine[:3, :3]))
    dice = 2 * np.sum(mine & theirs & inside) / max(float(max(mine.sum(), volume) + np.sum(theirs & inside)), 1.0)
    both = mine & theirs
    if both.sum() < 100:
        return float(dice), 0.0
    values = moving.at(fixed, affine, moving.t1)[both]
    spread = values.std() * fixed.t1[both].std()
    covariance = np.mean((values - values.mean()) * (fixed.t1[both] - fixed.t1[both].mean()))
    return float(dice), float(covariance / spread) if spread > 0 else 0.0


def _bounds(mask: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners, in millimetres along RAS, of the box that holds a mask."""
    spans = [np.flatnonzero(mask.any(axis=rest))[[0, -1]] for rest in _REST]
    corners = np.array(list(product(*spans))) @ affine[:3, :3].T + affine[:3, 3]
    return corners.min(axis=0), corners.max(axis=0)


def _lattice(low: np.ndarray, high: np.ndarray, size: float) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and affine of a lattice along RAS that covers a box."""
    shape = tuple(int(n) for n in np.ceil((high - low) / size) + 1)
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = (low + high - size * (np.array(shape) - 1)) / 2
    return shape, affine
