"""Synthetic images: their names, their marks, and how they are known again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from DualGlowLib.volumes.marking import SYNTHETIC, SYNTHETIC_SD, is_synthetic, output_name
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.writing import write_scan


@pytest.fixture
def scan() -> Scan:
    return Scan(np.random.default_rng(0).normal(1, 0.3, (10, 12, 9)), np.eye(4))


@pytest.mark.parametrize(
    ("source", "description", "name"),
    [
        ("a/sub-01_T1w.nii.gz", "synthetic", "sub-01_trc-18FFDG_space-T1w_desc-synthetic_pet.nii.gz"),
        (
            "sub-01_ses-M12_acq-mprage_run-2_T1w.nii",
            "syntheticAge62.5",
            "sub-01_ses-M12_acq-mprage_run-2_trc-18FFDG_space-T1w_desc-syntheticAge62p5_pet.nii.gz",
        ),
        ("IXI012-HH T1.mgz", "synthetic", "sub-IXI012HH_trc-18FFDG_space-T1w_desc-synthetic_pet.nii.gz"),
        ("P-07/T1.nii.gz", "synthetic", "sub-P07_trc-18FFDG_space-T1w_desc-synthetic_pet.nii.gz"),
        ("a folder/of DICOM", "synthetic", "sub-ofDICOM_trc-18FFDG_space-T1w_desc-synthetic_pet.nii.gz"),
    ],
)
def test_names_follow_bids(source: str, description: str, name: str) -> None:
    assert output_name(source, description) == name


def test_marks_fit_the_header() -> None:
    assert len(SYNTHETIC.encode()) <= 80
    assert len(SYNTHETIC_SD.encode()) <= 80


def test_a_synthetic_image_is_known_again(scan: Scan, tmp_path: Path) -> None:
    acquired = write_scan(scan, tmp_path / "pet.nii.gz", sidecar={"Synthetic": False})
    by_header = write_scan(scan, tmp_path / "renamed.nii", SYNTHETIC)
    by_sidecar = write_scan(scan, tmp_path / "Resampled.NII.GZ", sidecar={"Synthetic": True})
    assert [is_synthetic(read_scan(path)) for path in (acquired, by_header, by_sidecar)] == [False, True, True]
    assert is_synthetic(Scan(scan.data, scan.affine, meta={"synthetic": True}))
    (tmp_path / "pet.json").write_text("not JSON", encoding="utf-8")
    assert not is_synthetic(read_scan(acquired))


def test_equal_scans_give_equal_bytes(scan: Scan, tmp_path: Path) -> None:
    first, second = (write_scan(scan, tmp_path / name).read_bytes() for name in ("a.nii.gz", "b.nii.gz"))
    assert first == second
