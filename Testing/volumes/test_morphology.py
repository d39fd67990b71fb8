"""Masks filled and taken apart, beside SciPy, also where they reach the volume's border."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from DualGlowLib.volumes.morphology import eroded, extent, filled, grown, largest_piece, reached


def spongy(seed: int, shape: tuple[int, int, int] = (30, 24, 20)) -> np.ndarray:
    """With holes, pieces and caves that open at the border."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1)
    return noise > (-0.02 if seed % 2 else 0.12)


@pytest.mark.parametrize("seed", range(8))
def test_as_scipy_does(seed: int) -> None:
    mask = spongy(seed)
    before = mask.copy()
    labels, _ = ndimage.label(mask)
    counts = np.bincount(labels.ravel())[1:]
    assert np.count_nonzero(counts == counts.max()) == 1
    for _ in range(3):  # memory that is used again must not show
        assert np.array_equal(filled(mask), ndimage.binary_fill_holes(mask))
        assert np.array_equal(largest_piece(mask), labels == 1 + counts.argmax())
    seeds = np.random.default_rng(seed).random(mask.shape) < 0.001
    assert np.array_equal(reached(mask, seeds), ndimage.binary_propagation(seeds & mask, mask=mask))
    assert np.array_equal(grown(mask), ndimage.binary_dilation(mask))
    assert np.array_equal(eroded(mask), ndimage.binary_erosion(mask))
    assert np.array_equal(mask, before)


def test_a_piece_in_a_large_volume() -> None:
    mask = np.zeros((60, 50, 40), bool)
    mask[10:20, 30:45, 5:15] = True
    mask[12:15, 33:36, 8:10] = False
    mask[50, 1, 1] = True
    assert extent(mask) == (slice(10, 51), slice(1, 45), slice(1, 15))
    box = extent(mask, 2)
    assert all(side.start >= 0 for side in box)
    assert mask[box].shape == (45, 47, 17)
    assert np.count_nonzero(largest_piece(mask)) == 10 * 15 * 10 - 18
    assert np.count_nonzero(filled(largest_piece(mask))) == 10 * 15 * 10


@pytest.mark.parametrize("work", [filled, largest_piece])
def test_nothing_stays_nothing(work) -> None:
    assert not work(np.zeros((5, 6, 7), bool)).any()
