"""Overflows, voxels without a number, specks and borders of any value: counted, named, and no reason to be refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brain_of_tissues import Tissues, make_tissues, t1_of
from DualGlowLib.preparation.t1 import prepare
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.voxels import tidied, wrapped

GRID = GRIDS["small"]


@pytest.fixture(scope="module")
def tissues() -> Tissues:
    return make_tissues()


@pytest.fixture(scope="module")
def t1(tissues: Tissues) -> Scan:
    return t1_of(tissues)


def _doubt(scan: Scan, mask: np.ndarray) -> str:
    verdict = prepare(scan, GRID, mask).verdict
    assert verdict.status == "doubtful"
    return "; ".join(verdict.reasons)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8])
def test_an_overflow_is_counted_and_named(t1: Scan, tissues: Tissues, dtype: type) -> None:
    """The brightest percent of the brain exceeds what the type holds."""
    mask, top = tissues[2], np.iinfo(dtype).max
    scaled = np.round(t1.data / np.percentile(t1.data[mask], 99) * top).astype(np.int64)
    assert wrapped(scaled.astype(np.float32), mask) == 0
    wrong = scaled.astype(dtype).astype(np.float32)
    assert 0.3 < wrapped(wrong, mask) / np.count_nonzero(mask & (scaled > top)) <= 1
    said = _doubt(t1.like(wrong), mask)
    assert "voxels of the brain are" in said
    assert "as after an integer overflow" in said


@pytest.mark.parametrize("where", ["in the brain", "around the head"])
def test_voxels_without_a_number_are_counted_in_the_brain(t1: Scan, tissues: Tissues, where: str) -> None:
    mask, data = tissues[2], t1.data.copy()
    places = np.argwhere(mask)[::40] if where == "in the brain" else np.argwhere(~mask)[::2]
    data[tuple(places.T)] = np.nan
    found = prepare(Scan(data, t1.affine), GRID, mask)
    assert found.quality["nonfinite_voxels"] == len(places)
    assert found.quality["nonfinite_in_brain"] == (len(places) if where == "in the brain" else 0)
    said = "; ".join(found.verdict.reasons)
    assert (f"{len(places)} voxels of the brain" in said) == (where == "in the brain")
    assert found.verdict.status == ("doubtful" if where == "in the brain" else "good")


@pytest.mark.parametrize("background", [0.0, -9.0, np.nan, 4.0])
def test_a_brain_scaled_to_a_mean_of_0(t1: Scan, tissues: Tissues, background: float) -> None:
    """z-scored in the brain, with any value around it: the same grid image as of the brain itself."""
    mask = tissues[2]
    plain = prepare(t1.like(np.where(mask, t1.data, 0).astype(np.float32)), GRID, mask)
    z = (t1.data - t1.data[mask].mean()) / t1.data[mask].std()
    z = np.pad(np.where(mask, z, background), 2, constant_values=background).astype(np.float32)
    shift = np.eye(4)
    shift[:3, 3] = -2
    found = prepare(Scan(z, t1.affine @ shift), GRID, np.pad(mask, 2))
    assert found.verdict.status == "good", found.verdict.reasons
    assert np.abs(found.t1 - plain.t1)[plain.mask & found.mask].mean() < 0.03


def test_specks_in_the_air_are_taken_out_and_named(t1: Scan, tissues: Tissues) -> None:
    mask = tissues[2]
    air = np.argwhere(~mask)
    chosen = air[np.random.default_rng(0).choice(len(air), len(air) // 50, replace=False)]
    data = t1.data.copy()
    data[tuple(chosen.T)] = 32767
    clean = tidied(t1.like(data))
    assert clean.meta["specks"] == len(chosen)
    assert clean.data.max() < 3000
    assert f"{len(chosen)} voxels are more than 6 times as bright" in _doubt(t1.like(data), mask)


def test_nothing_is_done_to_an_image_without_any_of_these(t1: Scan) -> None:
    assert tidied(t1) is t1


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("t1_int16_overflow/t1.nii.gz", "doubtful", "voxels of the brain are negative amid the brightest ones"),
        ("t1_specks_from_overflow/t1.nii.gz", "doubtful", "voxels are more than 6 times as bright as tissue"),
        ("t1_zscored_background_zero/t1_background_0.nii.gz", "good", ""),
        ("t1_zscored_background_zero/t1_background_nan.nii.gz", "good", ""),
    ],
)
def test_files_that_people_have_reported(shared: Path, name: str, status: str, said: str) -> None:
    verdict = prepare(read_scan(shared / "data/reports" / name), GRID).verdict
    assert verdict.status == status, verdict.reasons
    assert said in "; ".join(verdict.reasons)
