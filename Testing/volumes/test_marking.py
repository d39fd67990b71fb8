"""Synthetic images: their names, their marks, and how they are known again."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from dicom_files import write_series
from DualGlowLib.volumes.marking import SYNTHETIC, SYNTHETIC_SD, is_synthetic, marked_by, output_name
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
            "sub-01_ses-M12_trc-18FFDG_run-2_space-T1w_desc-syntheticAge62p5AcqMprage_pet.nii.gz",
        ),
        ("sub-01_rec-a_T1w.nii.gz", "synthetic", "sub-01_trc-18FFDG_space-T1w_desc-syntheticRecA_pet.nii.gz"),
        ("sub-01_ce-gd_T1w.nii", "synthetic", "sub-01_trc-18FFDG_space-T1w_desc-syntheticCeGd_pet.nii.gz"),
        (
            "sub-01_acq-x_space-MNI_desc-preproc_T1w.nii.gz",
            "synthetic",
            "sub-01_trc-18FFDG_space-T1w_desc-syntheticAcqXSpaceMNIDescPreproc_pet.nii.gz",
        ),
        ("IXI012-HH T1.mgz", "synthetic", "sub-IXI012HH_trc-18FFDG_space-T1w_desc-synthetic_pet.nii.gz"),
        ("P-07/T1.nii.gz", "synthetic", "sub-P07_trc-18FFDG_space-T1w_desc-synthetic_pet.nii.gz"),
        ("a folder/of DICOM", "synthetic", "sub-ofDICOM_trc-18FFDG_space-T1w_desc-synthetic_pet.nii.gz"),
    ],
)
def test_names_follow_bids(source: str, description: str, name: str) -> None:
    assert output_name(source, description) == name


def test_a_name_without_its_folder_is_named_by_that_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "P-07").mkdir()
    monkeypatch.chdir(tmp_path / "P-07")
    assert output_name("T1.nii.gz") == "sub-P07_trc-18FFDG_space-T1w_desc-synthetic_pet.nii.gz"


@pytest.mark.parametrize(
    "entity", ["acq", "ce", "rec", "run", "inv", "echo", "part", "chunk", "res", "space", "desc", "new"]
)
def test_t1s_that_differ_in_an_entity_have_pets_of_their_own(entity: str) -> None:
    names = [output_name(f"sub-01_ses-1_{entity}-{label}_T1w.nii.gz") for label in ("1", "2")]
    for name in names:
        keys = [part.partition("-")[0] for part in name.split("_")]
        assert len(keys) == len(set(keys))
    assert len({*names, output_name("sub-01_ses-1_T1w.nii.gz")}) == 3


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


DESCRIPTION = "SYNTHETIC FDG DualGlow NOT FOR DIAGNOSIS"
COMMENTS = "SYNTHETIC, computed from an MRI. Research use only, NOT FOR DIAGNOSIS."


@pytest.mark.parametrize(
    ("name", "sidecar"),
    [  # as dcm2niix 1.0.20260724 writes them of a series of ours
        ("pet", {"SeriesDescription": DESCRIPTION, "ImageType": ["DERIVED", "SECONDARY"]}),
        ("pet", {"ProtocolName": DESCRIPTION.replace(" ", "_")}),
        ("pet", {"ImageComments": COMMENTS}),
        ("pet", {"Manufacturer": "DualGlow"}),
        ("pet", {"Synthetic": True}),
        ("pet_SYNTHETIC_FDG_DualGlow_NOT_FOR_DIAGNOSIS_20200310100000_9001", None),
        ("sub-01_trc-18FFDG_space-T1w_desc-syntheticAge62p5_pet", None),
    ],
)
def test_marks_are_known_after_a_converter(scan: Scan, tmp_path: Path, name: str, sidecar: dict | None) -> None:
    for ending in (".nii.gz", ".nrrd"):
        path = tmp_path / f"{name}{ending}"
        sitk.WriteImage(scan.to_sitk(), str(path))
        if sidecar:
            assert not is_synthetic(read_scan(path))
            (tmp_path / f"{name}.json").write_text(json.dumps(sidecar), encoding="utf-8")
        assert is_synthetic(read_scan(path))
        (tmp_path / f"{name}.json").unlink(missing_ok=True)


def test_the_mark_that_dcm2niix_leaves_in_the_header(scan: Scan, tmp_path: Path) -> None:
    """Image Comments in aux_file, which has 24 bytes."""
    image = nib.Nifti1Image(scan.data.astype(np.float32), scan.affine)
    image.header["descrip"], image.header["aux_file"] = b"Time=0.000", COMMENTS[:23].encode()
    nib.save(image, tmp_path / "a.nii.gz")
    assert marked_by(tmp_path / "a.nii.gz") == "its header"
    assert is_synthetic(read_scan(tmp_path / "a.nii.gz"))


@pytest.mark.parametrize("ending", ["nrrd", "mha", "nhdr", "mhd"])
def test_marks_are_known_after_itk(scan: Scan, tmp_path: Path, ending: str) -> None:
    write_scan(scan, tmp_path / "pet.nii.gz", SYNTHETIC)
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "pet.nii.gz")), str(tmp_path / f"again.{ending}"))
    assert is_synthetic(read_scan(tmp_path / f"again.{ending}"))


@pytest.mark.parametrize("kept", ["(0008,001C)", "ImageComments", "SeriesDescription", "ManufacturerModelName"])
def test_a_series_is_known_by_each_of_its_marks_alone(scan: Scan, tmp_path: Path, kept: str) -> None:
    marks = {"ImageComments": COMMENTS, "SeriesDescription": DESCRIPTION, "ManufacturerModelName": "DualGlow"}
    stored = np.round(scan.data * 100).astype(np.int16)

    def change(dataset, k: int) -> None:
        if kept not in marks:
            dataset.add_new(0x0008001C, "CS", "YES")

    tags = {kept: marks[kept]} if kept in marks else {}
    write_series(tmp_path / "pet", stored, np.diag([2.0, 2.0, 2.0, 1.0]), "PT", change, **tags)
    assert is_synthetic(read_scan(tmp_path / "pet"))


def test_equal_scans_give_equal_bytes(scan: Scan, tmp_path: Path) -> None:
    first, second = (write_scan(scan, tmp_path / name).read_bytes() for name in ("a.nii.gz", "b.nii.gz"))
    assert first == second
