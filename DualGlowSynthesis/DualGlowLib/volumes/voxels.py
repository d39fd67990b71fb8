"""Voxels that hold another value than what was measured: found, counted, and taken out before anything is computed.

An integer that is too large for its type comes back from the other end of the range: bright tissue becomes black or
negative, and air a white speck. Borders that were never measured are filled with any number.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from .morphology import grown, largest_piece
from .scan import Scan

__all__ = ["tidied", "without_noise", "wrapped"]

# Of the range of values in the brain, by which a voxel is darker than the median of its neighbours: in the 18 heads at
# hand at most 1 voxel has 0.6 (at 4 mm), in overflows of 1 % of a brain hundreds have.
_JUMP = 0.6
_ROUNDS = 4  # of looking for specks: each finds those of the brightest kind
_SOLITARY = 0.25  # of a speck's value: its neighbours have less
_BORDER = 3  # voxels
_SAMPLE = 4000  # voxels that decide whether the brightest ones are specks
_GAP = 0.5  # of the range of the rest, from which on a filling lies apart from it
_AMONG = 0.1  # of that range, by which values may lie below the filling
# Noise in the air: its standard deviation within 5×5×5 voxels, of the image's range. In ratio images (MP2RAGE's UNI) it
# is 0.29, at the border of the heads at hand 0.02 at most.
_NOISY = 0.12
_AS_NOISY = 0.7  # of the air's: a voxel's surroundings that are noise too
_AS_ROUGH = 0.8  # the same for how little neighbours have in common, by which noise differs from an edge
_LUMP = 3  # voxels: noise is no thinner than twice that
_BORDER = 3  # voxels
_SAMPLE = 4000  # voxels that decide whether the brightest ones are specks
_GAP = 0.5  # of the range of the rest, from which on a filling lies apart from it
_AMONG = 0.1  # of that range, by which values may lie below the filling
# Of the image's range, the standard deviation within 3×3×3 voxels: in the air of ratio images (MP2RAGE's UNI) it is
# 0.29; at the border of other heads it is 0.02 at most, and above the first in less than 1 % of the voxels.
_NOISY = 0.12
_NOISY_BORDER = 0.5  # share of the border's voxels that are noisier than that
_WITHIN = 0.7  # of the border's noise: what is as noisy as the air
_DENSE = 0.6  # share of the neighbours that are


def wrapped(data: np.ndarray, brain: np.ndarray) -> int:
    """How many voxels of a brain (bool) are black amid its brightest ones, as integers that overflowed are."""
    values = data[brain]
    if not values.size:
        return 0
    drop = _JUMP * float(np.ptp(values))
    box = tuple(slice(max(a.min() - 1, 0), a.max() + 2) for a in np.nonzero(brain))
    image = np.asarray(data[box], np.float32)
    # A median is no larger than the maximum, which is had much sooner and leaves few voxels over.
    dark = np.argwhere(brain[box] & (_brightest(image) - image > drop)) if drop > 0 else np.empty((0, 3), int)
    if not len(dark):
        return 0
    middle = np.median(_neighbours(image, dark, itself=True), axis=0)
    return int(np.count_nonzero(middle - image[tuple(dark.T)] > drop))


def _brightest(image: np.ndarray) -> np.ndarray:
    """The largest value of each voxel and those around it."""
    for axis in range(3):
        most = image.copy()
        ours, theirs = np.moveaxis(most, axis, 0), np.moveaxis(image, axis, 0)
        np.maximum(ours[1:], theirs[:-1], out=ours[1:])
        np.maximum(ours[:-1], theirs[1:], out=ours[:-1])
        image = most
    return image


def tidied(scan: Scan) -> Scan:
    """The scan with its filling at the level of its darkest voxels, and solitary specks as their neighbours are.

    Both are left alone where there is nothing of the kind. ``meta["specks"]`` says how many voxels were replaced.
    """
    data = _without_filling(scan.data)
    data, specks = _without_specks(data)
    return scan if data is scan.data else scan.like(data, **({"specks": specks} if specks else {}))


def without_noise(scan: Scan) -> Scan:
    """The scan with dark air where the air is noise as bright as tissue, as in an MP2RAGE's ratio image.

    For finding the head, not for measuring: at the head's surface it takes a voxel or two with it.

    Returns:
        The scan itself where its border isn't noisy; else a copy whose ``meta["noisy_air"]`` is the noise's standard
        deviation, of the image's range.
    """
    from scipy import ndimage

    low, high = (float(q) for q in np.percentile(scan.data[::2, ::2, ::2], (1, 99)))
    if not high > low or min(scan.shape) <= 2 * _BORDER:
        return scan
    border = np.ones(scan.shape, bool)
    border[(slice(_BORDER, -_BORDER),) * 3] = False
    if np.std(scan.data[border]) < _NOISY * (high - low):  # quickly seen, and so it is in most heads
        return scan
    image = np.clip((scan.data - low) / (high - low), 0, 1, dtype=np.float32)
    variance = ndimage.uniform_filter(np.square(image), 5) - np.square(ndimage.uniform_filter(image, 5))
    spread = np.sqrt(np.maximum(variance, 1e-9))
    noise = float(np.median(spread[border]))
    if noise < _NOISY:
        return scan
    steps = sum(ndimage.uniform_filter(np.square(np.diff(image, axis=axis, append=0)), 5) for axis in range(3))
    rough = steps / np.square(spread)
    air = (spread > _AS_NOISY * noise) & (rough > _AS_ROUGH * float(np.median(rough[border])))
    margin = 2 * _LUMP  # noise goes on beyond the border
    air = ndimage.binary_opening(np.pad(air, margin, mode="edge"), iterations=_LUMP)
    air = grown(largest_piece(air))[(slice(margin, -margin),) * 3]
    return scan.like(np.where(air, np.float32(low), scan.data), noisy_air=round(noise, 3))


def _without_filling(data: np.ndarray) -> np.ndarray:
    """A value that most corners of the volume share is no measurement where it lies among or far below the others."""
    corners = [float(data[tuple(corner)]) for corner in product((0, -1), repeat=3)]
    value = max(set(corners), key=corners.count)
    if corners.count(value) < 4:
        return data
    rest = data[data != value]
    if not 0.02 * data.size < rest.size < 0.98 * data.size:
        return data
    darkest, low, high = (float(q) for q in np.percentile(rest[:: max(1, rest.size // 1_000_000)], (0.1, 1, 99)))
    lone = value < 0 <= float(rest.min())
    among = value - low > _AMONG * (high - low)
    apart = darkest - value > _GAP * (high - darkest)
    return np.where(data == value, np.float32(darkest), data) if lone or among or apart else data


def _without_specks(data: np.ndarray) -> tuple[np.ndarray, int]:
    total = 0
    for sign in (1, -1):
        for _ in range(_ROUNDS):
            top = float(data.max()) if sign > 0 else -float(data.min())
            if top <= 0 or (sign < 0 and top < -0.25 * float(np.percentile(data[::2, ::2, ::2], 1)) + 1e-6):
                break
            bright = data > 0.5 * top if sign > 0 else data < -0.5 * top
            count = np.count_nonzero(bright)
            if not count or count > 0.2 * data.size:
                break
            places = np.flatnonzero(bright)
            some = np.stack(np.unravel_index(places[:: max(1, count // _SAMPLE)], data.shape), axis=1)
            if np.mean(_around(data, some) * sign < _SOLITARY * top) < 0.5:
                break
            places = np.stack(np.unravel_index(places, data.shape), axis=1)
            around = _around(data, places)
            alone = around * sign < _SOLITARY * top
            data = data.copy()
            data[tuple(places[alone].T)] = around[alone]
            total += int(np.count_nonzero(alone))
    return data, total


def _around(data: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The median of the 26 neighbours of each place."""
    return np.median(_neighbours(data, places, itself=False), axis=0)


def _neighbours(data: np.ndarray, places: np.ndarray, itself: bool) -> list[np.ndarray]:
    """Values around each place, and at it; beyond the border those of the border again."""
    last = np.array(data.shape) - 1
    offsets = [offset for offset in product((-1, 0, 1), repeat=3) if itself or any(offset)]
    return [data[tuple(np.clip(places + offset, 0, last).T)] for offset in offsets]
