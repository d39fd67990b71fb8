"""Air that is noise as bright as tissue, as in the ratio images of MP2RAGE."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from DualGlowLib.preparation.t1 import prepare
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.morphology import eroded, filled, largest_piece
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.voxels import without_noise
from heads import coarse_template


def in_noise(head: Scan, level: float) -> tuple[Scan, np.ndarray]:
    """The head with uniform noise from 0 to ``level`` of white matter in the air, and where that is."""
    white = float(np.percentile(head.data, 97))
    air = ~filled(largest_piece(head.data > 0.15 * white))
    data = head.data.copy()
    data[air] = np.random.default_rng(0).uniform(0, level * white, np.count_nonzero(air))
    return head.like(data), air


@pytest.mark.parametrize("level", [0.6, 1.0, 2.0])
def test_noise_in_the_air_is_taken_out(level: float) -> None:
    head, brain = coarse_template(2)
    head = Scan(np.pad(head.data, 12), head.affine)
    noisy, air = in_noise(head, level)
    quiet = without_noise(noisy)
    assert np.mean(quiet.data[air] != noisy.data[air]) > 0.85
    within = np.pad(brain.data, 12)
    # The noise begins at this brain's very surface, and goes with the first voxel of it.
    assert np.mean(quiet.data[eroded(within)] != noisy.data[eroded(within)]) < 0.03
    assert quiet.meta["noisy_air"] > 0.1


def test_a_head_in_dark_or_weakly_noisy_air_is_left_as_it_is() -> None:
    head, _ = coarse_template(2)
    assert without_noise(head) is head
    weak = in_noise(Scan(np.pad(head.data, 12), head.affine), 0.2)[0]
    assert without_noise(weak) is weak
    flat = head.like(np.zeros_like(head.data))
    assert without_noise(flat) is flat


def test_a_noisy_ratio_image_is_prepared_and_says_so(shared: Path) -> None:
    """But for the skull, which is noise as well, its brain mask is that of the same head in dark air.

    With the user's mask nothing is said.
    """
    plain = prepare(read_scan(shared / "data/t1_real/ixi012_T1.nii.gz"), GRIDS["small"])
    image = read_scan(shared / "data/reports/mp2rage_uni_noise/uni.nii.gz")
    found = prepare(image, GRIDS["small"])
    both = np.count_nonzero(found.patient_mask & plain.patient_mask)
    assert 2 * both / (found.patient_mask.sum() + plain.patient_mask.sum()) > 0.92
    assert found.verdict.status == "doubtful"
    assert "MP2RAGE" in found.verdict.reasons[0]
    assert "--mask" in found.verdict.reasons[0]
    assert "noise" not in " ".join(prepare(image, GRIDS["small"], plain.patient_mask).verdict.reasons)
