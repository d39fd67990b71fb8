"""PETs whose slices were scaled by other slices' factors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from DualGlowLib.atlas.template import load_template
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.slices import slice_doubts, slice_jumps


@pytest.fixture(scope="module")
def uptake() -> np.ndarray:
    """Grey and white matter as 4 : 1, blurred to 5 mm, on voxels of 2 mm."""
    template = load_template()
    affine = template.t1.affine @ np.diag([2, 2, 2, 1])
    shape = tuple(n // 2 for n in template.t1.shape)
    grey, white = (resample(t.data, t.affine, shape, affine) for t in (template.gm, template.wm))
    return gaussian_filter(9000 * grey + 2250 * white, 5 / 2 / np.sqrt(8 * np.log(2)))


def scaled(data: np.ndarray, axis: int, spread: float) -> np.ndarray:
    """Each slice times a factor of its own, of this standard deviation of its logarithm."""
    shape = [1, 1, 1]
    shape[axis] = data.shape[axis]
    return data * np.exp(np.random.default_rng(axis).normal(0, spread, data.shape[axis])).reshape(shape)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_stripes_are_seen_along_every_axis(uptake: np.ndarray, axis: int) -> None:
    assert slice_doubts(uptake) == []
    usual, largest = slice_jumps(scaled(uptake, axis, 0.15))
    assert usual > 0.07
    assert largest > 0.2
    (doubt,) = slice_doubts(scaled(uptake, axis, 0.15))
    assert "from slice to slice" in doubt


def test_one_slice_that_is_half_as_bright(uptake: np.ndarray) -> None:
    damaged = uptake.copy()
    damaged[:, :, uptake.shape[2] // 2] *= 0.5
    assert len(slice_doubts(damaged)) == 1


def test_noise_blur_and_thick_slices_are_none(uptake: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(1, 0.2, uptake.shape)
    assert slice_doubts(uptake * noise) == []
    thick = uptake[:, :, : uptake.shape[2] // 2 * 2]
    assert slice_doubts((thick[:, :, ::2] + thick[:, :, 1::2]) / 2) == []
    assert slice_doubts(np.zeros((9, 9, 9))) == []


def test_an_fdg_pet_of_brainweb(shared: Path) -> None:
    pet = read_scan(shared / "data/pairs/brainweb06/pet.nii.gz")
    assert slice_doubts(pet.data) == []
    assert len(slice_doubts(scaled(pet.data, 2, 0.2))) == 1
