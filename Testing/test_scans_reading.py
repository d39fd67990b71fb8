"""Reading: every file gives the right voxels or one clear sentence."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from DualGlowLib import InputError
from DualGlowLib.scans import Scan, read_scan, write_scan

# What every odd file of ../shared/data must give: (shape, axis codes), or words of the refusal.
VERDICTS = {
    "awkward/IXI002_2D_slice.nii.gz": "a slice",
    "awkward/adi_single_slice.nii.gz": "a slice",
    "awkward/avf_float32.nrrd": ((74, 93, 20), "RAS"),
    "awkward/nibabel_anatomical.nii": ((33, 41, 25), "LAS"),
    "awkward/nibabel_example4d.nii.gz": "holds 2 volumes",
    "awkward/nibabel_example_nifti2.nii.gz": "holds 2 volumes",
    "awkward/nibabel_minc2_4d.mnc": "MINC",
    "awkward/nibabel_small.mnc": "MINC",
    "awkward/nibabel_test.mgz": "holds 2 volumes",
    "awkward/nibabel_tinypet.v": "ECAT",
    "awkward/papaya_sample_4Dshape.nii.gz": ((161, 191, 151), "LPI"),
    "awkward/papaya_series_slope_inter.nii.gz": "holds 10 volumes",
    "awkward/papaya_zstat_bigendian.nii.gz": ((64, 64, 21), "RAS"),
    "derived/empty.nii.gz": "is empty",
    "derived/ixi012_2mm_4D_3vols.nii.gz": "holds 3 volumes",
    "derived/ixi012_2mm_allzero.nii.gz": "same value (0)",
    "derived/ixi012_2mm_const.nii.gz": "same value (7)",
    "derived/ixi012_4mm_int16_slope_inter.nii.gz": ((60, 60, 45), "PSR"),
    "derived/ixi012_4mm_nan_inf.nii.gz": ((60, 60, 45), "PSR"),
    "derived/ixi012_4mm_no_xform.nii.gz": ((60, 60, 45), "LAS"),
    "derived/ixi012_4mm_oblique30.nii.gz": ((60, 60, 45), "PSR"),
    "derived/ixi012_4mm_rgb24.nii.gz": "colour image",
    "derived/ixi012_4mm_sform_qform_mismatch.nii.gz": ((60, 60, 45), "PSR"),
    "derived/ixi012_T1.mgz": ((120, 120, 90), "PSR"),
    "derived/ixi012_T1.mha": ((120, 120, 90), "PSR"),
    "derived/ixi012_T1.nrrd": ((120, 120, 90), "PSR"),
    "derived/ixi012_gz_named_nii.nii": ((120, 120, 90), "PSR"),
    "derived/ixi012_header_only.nii": "incomplete or damaged",
    "derived/ixi012_truncated.nii.gz": "end too early",
    "derived/text_named.nii.gz": "not an image",
}


@pytest.mark.parametrize("name", VERDICTS)
def test_verdict_of_each_odd_file(shared: Path, name: str) -> None:
    path, verdict = shared / "data" / name, VERDICTS[name]
    if isinstance(verdict, str):
        with pytest.raises(InputError) as caught:
            read_scan(path)
        message = str(caught.value)
        assert verdict in message
        assert str(path) in message
        assert "\n" not in message
        assert message.endswith(".")
        return
    scan = read_scan(path)
    assert (scan.shape, scan.axcodes) == verdict
    assert scan.data.dtype == np.float32
    assert np.isfinite(scan.data).all()


def test_no_odd_file_is_forgotten(shared: Path) -> None:
    found = {f"{folder}/{p.name}" for folder in ("awkward", "derived") for p in (shared / "data" / folder).iterdir()}
    assert found == set(VERDICTS)


def test_formats_agree_voxel_for_voxel(shared: Path) -> None:
    original = read_scan(shared / "data/t1_real/ixi012_T1.nii.gz")
    for suffix in ("mgz", "mha", "nrrd"):
        other = read_scan(shared / f"data/derived/ixi012_T1.{suffix}")
        np.testing.assert_allclose(other.data, original.data, atol=1.0)  # two of them hold whole numbers
        np.testing.assert_allclose(other.affine, original.affine, atol=1e-3)
    renamed = read_scan(shared / "data/derived/ixi012_gz_named_nii.nii")
    np.testing.assert_array_equal(renamed.data, original.data)
    np.testing.assert_array_equal(renamed.affine, original.affine)


def test_what_the_file_said_is_kept(shared: Path) -> None:
    derived = shared / "data/derived"
    assert read_scan(derived / "ixi012_4mm_nan_inf.nii.gz").meta["nonfinite_voxels"] == 27180
    assert read_scan(derived / "ixi012_4mm_no_xform.nii.gz").meta["no_orientation"] is True
    assert read_scan(derived / "ixi012_4mm_sform_qform_mismatch.nii.gz").meta["sform_qform_mm"] == pytest.approx(48.67)
    scaled = read_scan(derived / "ixi012_4mm_int16_slope_inter.nii.gz")
    stored = nib.load(derived / "ixi012_4mm_int16_slope_inter.nii.gz")
    np.testing.assert_allclose(scaled.data, 0.5 * np.asarray(stored.dataobj.get_unscaled()) - 100)
    assert "no_orientation" not in scaled.meta


@pytest.fixture
def volume() -> Scan:
    """A small oblique, flipped, non-isotropic volume."""
    data = np.random.default_rng(0).normal(100, 30, (12, 10, 9)).astype(np.float32)
    affine = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, -0.2, 0.1) @ np.diag([-1.5, 2, 1]), [10, -20, 5])
    return Scan(data, affine)


def test_nifti_versions_and_containers(volume: Scan, tmp_path: Path) -> None:
    for kind, name in ((nib.Nifti1Image, "one.nii"), (nib.Nifti2Image, "two.nii.gz"), (nib.MGHImage, "three.mgz")):
        nib.save(kind(volume.data, volume.affine), tmp_path / name)
        scan = read_scan(tmp_path / name)
        np.testing.assert_array_equal(scan.data, volume.data)
        np.testing.assert_allclose(scan.affine, volume.affine, atol=1e-5)
    nib.save(nib.Nifti1Pair(volume.data, volume.affine), tmp_path / "pair.hdr")
    np.testing.assert_array_equal(read_scan(tmp_path / "pair.hdr").data, volume.data)
    (tmp_path / "pair.img").unlink()
    with pytest.raises(InputError, match="incomplete or damaged"):
        read_scan(tmp_path / "pair.hdr")


def test_a_gzip_file_of_two_members_is_whole(volume: Scan, tmp_path: Path) -> None:
    raw = nib.Nifti1Image(volume.data, volume.affine).to_bytes()
    (tmp_path / "two.nii.gz").write_bytes(gzip.compress(raw[:1000]) + gzip.compress(raw[1000:]))
    np.testing.assert_array_equal(read_scan(tmp_path / "two.nii.gz").data, volume.data)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgz", "a.mgh", "a.nrrd", "a.mha", "plain.nrrd", "plain.mha"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.95])
def test_cut_files_are_refused(volume: Scan, tmp_path: Path, name: str, kept: float) -> None:
    path = tmp_path / name
    if name.endswith((".nrrd", ".mha")):
        sitk.WriteImage(volume.to_sitk(), str(path), useCompression=not name.startswith("plain"))
    elif ".mg" in name:
        nib.save(nib.MGHImage(volume.data, volume.affine), path)
    else:
        write_scan(volume, path)
    assert read_scan(path).shape == volume.shape
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * kept)])
    with pytest.raises(InputError):
        read_scan(path)


def test_a_flipped_byte_in_a_compressed_file_is_noticed(volume: Scan, tmp_path: Path) -> None:
    path = write_scan(volume, tmp_path / "a.nii.gz")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0x55
    path.write_bytes(bytes(raw))
    with pytest.raises(InputError, match=r"damaged|incomplete"):
        read_scan(path)


def test_refusals_without_any_data(volume: Scan, tmp_path: Path) -> None:
    def written(data: np.ndarray, affine: np.ndarray = volume.affine, name: str = "bad.nii") -> Path:
        nib.save(nib.Nifti1Image(data, affine), tmp_path / name)
        return tmp_path / name

    def refusal(path: Path) -> str:
        with pytest.raises(InputError) as caught:
            read_scan(path)
        return str(caught.value)

    assert "does not exist" in refusal(tmp_path / "none.nii")
    assert "folder" in refusal(tmp_path)
    assert "not plain numbers" in refusal(written(volume.data.astype(np.complex64)))
    assert "no finite voxel" in refusal(written(np.full((9, 9, 9), np.nan, np.float32)))
    assert "a slice" in refusal(written(volume.data[:, :, :7]))
    singular = volume.affine.copy()
    singular[:3, 2] = singular[:3, 1]
    assert "no usable voxel size" in refusal(written(volume.data, singular))

    header = nib.Nifti1Image(volume.data, volume.affine)
    raw = bytearray(header.to_bytes())
    raw[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    (tmp_path / "huge.nii").write_bytes(bytes(raw))
    assert "more than any scan" in refusal(tmp_path / "huge.nii")

    vector = sitk.GetImageFromArray(np.zeros((9, 9, 9, 3), np.float32), isVector=True)
    sitk.WriteImage(vector, str(tmp_path / "vector.nrrd"))
    assert "3 values per voxel" in refusal(tmp_path / "vector.nrrd")
    (tmp_path / "dicom").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 100)
    assert "DICOM" in refusal(tmp_path / "dicom")
    (tmp_path / "analyze.hdr").write_bytes(np.array(348, "<i4").tobytes() + b"\0" * 344)
    assert "Analyze" in refusal(tmp_path / "analyze.hdr")


def test_a_trailing_axis_of_one_is_dropped_and_infinity_is_zero(volume: Scan, tmp_path: Path) -> None:
    data = volume.data.astype(np.float64)[..., None, None]
    data[0, 0, 0], data[1, 1, 1], data[2, 2, 2] = np.inf, np.nan, 1e300
    nib.save(nib.Nifti1Image(data, volume.affine), tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    assert scan.shape == volume.shape
    assert scan.meta["nonfinite_voxels"] == 3
    assert scan.data[2, 2, 2] == 0


def test_a_nrrd_without_a_space_has_no_orientation(volume: Scan, tmp_path: Path) -> None:
    header = "NRRD0004\ntype: float\ndimension: 3\nsizes: 12 10 9\nencoding: raw\nendian: little\nspacings: 1 2 3\n\n"
    raw = volume.data.astype("<f4").tobytes(order="F")
    (tmp_path / "a.nrrd").write_bytes(header.encode() + raw)
    scan = read_scan(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(scan.data, volume.data)
    assert scan.meta["no_orientation"] is True
