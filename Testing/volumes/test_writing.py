"""Writing: what is read back is what was written, in the same place, whole."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from DualGlowLib import InputError
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.writing import write_scan


@pytest.fixture
def scan() -> Scan:
    data = np.random.default_rng(1).normal(1, 0.3, (10, 12, 9)).astype(np.float32)
    affine = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.2, 0.1, -0.4) @ np.diag([2, -1, 1.5]), [-30, 40, 7])
    return Scan(data, affine.astype(np.float32).astype(np.float64))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
def test_round_trip(scan: Scan, tmp_path: Path, name: str) -> None:
    again = read_scan(write_scan(scan, tmp_path / name, "synthetic PET"))
    np.testing.assert_array_equal(again.data, scan.data)
    np.testing.assert_array_equal(again.affine, scan.affine)
    assert again.meta["description"] == "synthetic PET"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_both_transforms_and_units_are_set(scan: Scan, tmp_path: Path) -> None:
    header = nib.load(write_scan(scan, tmp_path / "a.nii")).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(header.get_qform(), scan.affine, atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"
    scan.meta["space"] = "MNI152"
    assert int(nib.load(write_scan(scan, tmp_path / "a.nii")).header["sform_code"]) == 4


def test_itk_puts_it_in_the_same_place(scan: Scan, tmp_path: Path) -> None:
    image = sitk.ReadImage(str(write_scan(scan, tmp_path / "a.nii.gz")))
    point = np.array(image.TransformIndexToPhysicalPoint([3, 5, 7])) * [-1, -1, 1]
    np.testing.assert_allclose(point, (scan.affine @ [3, 5, 7, 1])[:3], atol=1e-3)


def test_a_sheared_affine_goes_into_the_sform_alone(scan: Scan, tmp_path: Path) -> None:
    scan.affine[0, 1] += 0.5
    path = write_scan(scan, tmp_path / "a.nii")
    assert int(nib.load(path).header["qform_code"]) == 0
    np.testing.assert_allclose(read_scan(path).affine, scan.affine, atol=1e-6)


def test_description_is_cut_between_letters(scan: Scan, tmp_path: Path) -> None:
    header = nib.load(write_scan(scan, tmp_path / "a.nii", "x" * 79 + "é")).header
    assert bytes(header["descrip"]).rstrip(b"\0") == b"x" * 79


def test_sidecar(scan: Scan, tmp_path: Path) -> None:
    write_scan(scan, tmp_path / "a.b.nii.gz", sidecar={"age": np.float32(70), "shape": np.arange(3), "path": tmp_path})
    found = json.loads((tmp_path / "a.b.json").read_text())
    assert found.pop("GeneratedBy")[0]["Name"] == "DualGlow"
    assert found == {"age": 70.0, "shape": [0, 1, 2], "path": str(tmp_path)}


def test_refusals(scan: Scan, tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "a.mha", "end the name in"),
        (tmp_path / ".nii", "end the name in"),
        (tmp_path / "no" / "a.nii", "does not exist"),
    ):
        with pytest.raises(InputError, match=words):
            write_scan(scan, path)
    (tmp_path / "dir.nii").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write_scan(scan, tmp_path / "dir.nii")


def test_a_failed_write_leaves_the_old_file(scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_scan(scan, tmp_path / "a.nii")
    before = path.read_bytes()

    def full_disk(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(InputError, match="No space left"):
        write_scan(scan, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii"]
