"""Files that say twice where their voxels lie, and differently."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from DualGlowLib.volumes.contradictions import apart, header_doubts, nrrd_affine
from DualGlowLib.volumes.reading import read_scan


def _image(sform: np.ndarray, qform: np.ndarray | None, sizes: tuple | None = None) -> nib.Nifti1Image:
    data = np.random.default_rng(0).normal(100, 10, (20, 22, 24)).astype(np.float32)
    image = nib.Nifti1Image(data, sform)
    image.set_qform(qform, 0 if qform is None else 1)
    image.set_sform(sform, 1)
    if sizes is not None:
        image.header["pixdim"][1:4] = sizes
    return image


def test_two_voxel_sizes_are_named(tmp_path: Path) -> None:
    nib.save(_image(np.eye(4), None, (0.9, 0.9, 0.9)), tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    np.testing.assert_allclose(scan.spacing, 1)
    (said,) = header_doubts(scan)
    assert "1×1×1 mm (sform, which is taken) and 0.9×0.9×0.9 mm (pixdim)" in said


def test_two_transforms_are_told_in_millimetres_and_degrees(tmp_path: Path) -> None:
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("z", 15, degrees=True).as_matrix()
    nib.save(_image(np.eye(4), turned), tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    assert scan.meta["sform_qform_degrees"] == pytest.approx(15, abs=0.1)
    (said,) = header_doubts(scan, "the PET's file")
    assert said.startswith("the PET's file's two transforms (sform and qform) disagree by 7 mm and 15°")


def test_one_place_said_twice_is_no_doubt(tmp_path: Path) -> None:
    affine = np.diag([-1.2, 1.2, 2.5, 1])
    nib.save(_image(affine, affine), tmp_path / "a.nii")
    assert header_doubts(read_scan(tmp_path / "a.nii")) == []


def test_an_mgh_file_may_say_nothing(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(100, 10, (20, 22, 24)).astype(np.float32)
    image = nib.MGHImage(data, np.diag([1.0, 1, 1, 1]))
    nib.save(image, tmp_path / "said.mgh")
    raw = bytearray((tmp_path / "said.mgh").read_bytes())
    raw[28:30] = b"\0\0"  # goodRASFlag
    (tmp_path / "silent.mgh").write_bytes(raw)
    assert header_doubts(read_scan(tmp_path / "said.mgh")) == []
    assert "left and right are a guess" in header_doubts(read_scan(tmp_path / "silent.mgh"))[0]


def test_how_far_apart_two_places_are() -> None:
    moved = np.eye(4)
    moved[:3, 3] = 3, 4, 0
    assert apart(np.eye(4), moved, (10, 10, 10)) == pytest.approx((5, 0), abs=1e-4)
    assert apart(np.eye(4), np.diag([-1.0, 1, 1, 1]), (11, 1, 1)) == pytest.approx((20, 180))


@pytest.mark.parametrize(
    ("space", "signs"),
    [("left-posterior-superior", (-1, -1)), ("LAS", (-1, 1)), ("left-anterior-superior", (-1, 1)), ("RAS", (1, 1))],
)
def test_a_nrrd_lies_as_its_space_says(tmp_path: Path, space: str, signs: tuple[int, int]) -> None:
    """SimpleITK up to 2.5.5 turns left-anterior-superior by 180° about z."""
    data = np.random.default_rng(0).normal(100, 10, (20, 22, 24)).astype(np.float32)
    header = (
        f"NRRD0004\ntype: float\ndimension: 3\nspace: {space}\nsizes: 20 22 24\nspace directions: (1,0.1,0) "
        "(0, 2, 0) (0,0,3)\nkinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: (5,6,7)\n"
    )
    (tmp_path / "a.nrrd").write_bytes(header.encode() + b"\n" + data.tobytes(order="F"))
    expected = np.array([[1, 0, 0, 5], [0.1, 2, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]]) * [[signs[0]], [signs[1]], [1], [1]]
    np.testing.assert_allclose(nrrd_affine(header.encode()), expected)
    scan = read_scan(tmp_path / "a.nrrd")
    np.testing.assert_allclose(scan.affine, expected)
    np.testing.assert_array_equal(scan.data, data)


@pytest.mark.parametrize(("unit", "size"), [("m", 0.002), ("cm", 0.02), ("um", 2000.0), ("mm", 2.0), ("cm", 2.0)])
def test_units_of_a_nrrd(tmp_path: Path, unit: str, size: float) -> None:
    """ITK passes over them; 2 cm can't be meant where 2 mm can."""
    data = np.random.default_rng(0).normal(100, 10, (12, 12, 12)).astype(np.float32)
    header = (
        f"NRRD0004\ntype: float\ndimension: 3\nspace: RAS\nsizes: 12 12 12\nspace directions: ({size},0,0) "
        f'(0,{size},0) (0,0,{size})\nspace units: "{unit}" "{unit}" "{unit}"\nendian: little\nencoding: raw\n'
    )
    (tmp_path / "a.nrrd").write_bytes(header.encode() + b"\n" + data.tobytes(order="F"))
    np.testing.assert_allclose(read_scan(tmp_path / "a.nrrd").spacing, 0.2 if size == 0.02 else 2.0)
