"""Reading: every file gives the right voxels or one clear sentence."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from DualGlowLib import InputError
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.writing import write_scan

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
    "derived/ixi012_header_only.nii": "is incomplete",
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


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_nifti_pairs(volume: Scan, tmp_path: Path, kind: type, packed: str) -> None:
    header, voxels = tmp_path / f"pair.hdr{packed}", tmp_path / f"pair.img{packed}"
    nib.save(kind(volume.data, volume.affine), voxels)
    for path in (header, voxels):
        scan = read_scan(path)
        np.testing.assert_array_equal(scan.data, volume.data)
        np.testing.assert_allclose(scan.affine, volume.affine, atol=1e-5)
    raw = voxels.read_bytes()
    voxels.write_bytes(raw[:-20])
    with pytest.raises(InputError, match="incomplete"):
        read_scan(header)
    if packed:
        voxels.write_bytes(flipped(raw, len(raw) // 2))
        with pytest.raises(InputError, match="damaged"):
            read_scan(header)
    voxels.unlink()
    with pytest.raises(InputError, match="incomplete or damaged"):
        read_scan(header)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64, np.float32, np.float64]
)
def test_every_number_type(volume: Scan, tmp_path: Path, dtype: type) -> None:
    values = np.clip(np.round(volume.data), 0, 120).astype(dtype)
    nib.save(nib.Nifti1Image(values, volume.affine, dtype=dtype), tmp_path / "a.nii")
    big = nib.Nifti1Image(values, volume.affine, nib.Nifti1Header(endianness=">"), dtype=dtype)
    nib.save(big, tmp_path / "big.nii.gz")
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.CopyInformation(volume.to_sitk())
    for name in ("a.nrrd", "a.mha", "a.nii", "big.nii.gz"):
        if name[-4:] in ("nrrd", ".mha"):
            sitk.WriteImage(image, str(tmp_path / name))
        scan = read_scan(tmp_path / name)
        np.testing.assert_array_equal(scan.data, values)
        np.testing.assert_allclose(scan.affine, volume.affine, atol=1e-5)


@pytest.mark.parametrize(("slope", "intercept", "expected"), [(2, -3, (2, -3)), (0, 5, (1, 0)), (np.nan, 5, (1, 0))])
def test_scale_factors_of_nifti(volume: Scan, tmp_path: Path, slope: float, intercept: float, expected: tuple) -> None:
    """Without a usable slope, nothing is scaled (NIfTI-1, scl_slope)."""
    values = np.round(volume.data).astype(np.int16)
    raw = bytearray(nib.Nifti1Image(values, volume.affine).to_bytes())
    raw[112:120] = np.array([slope, intercept], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    np.testing.assert_allclose(read_scan(tmp_path / "a.nii").data, expected[0] * values + expected[1])


@pytest.mark.parametrize("name", ["a.nhdr", "packed.nhdr", "a.mhd", "packed.mhd"])
def test_voxels_in_another_file(volume: Scan, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    sitk.WriteImage(volume.to_sitk(), str(path), useCompression=name.startswith("packed"))
    np.testing.assert_array_equal(read_scan(path).data, volume.data)
    np.testing.assert_allclose(read_scan(path).affine, volume.affine, atol=1e-5)
    (voxels,) = (other for other in tmp_path.iterdir() if other != path)
    raw = voxels.read_bytes()
    for kept in (0, 0.5, 0.99):
        voxels.write_bytes(raw[: int(len(raw) * kept)])
        with pytest.raises(InputError, match="incomplete"):
            read_scan(path)
    voxels.unlink()
    with pytest.raises(InputError, match="incomplete"):
        read_scan(path)


def flipped(raw: bytes, place: int) -> bytes:
    raw = bytearray(raw)
    raw[place] ^= 0x55
    return bytes(raw)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.nhdr", "a.mhd", "a.mgz"])
def test_a_flipped_byte_is_noticed_wherever_there_is_a_checksum(volume: Scan, tmp_path: Path, name: str) -> None:
    """ITK reads the compressed voxels of NRRD and MetaImage without comparing it."""
    path = tmp_path / name
    if name.endswith("mgz"):
        nib.save(nib.MGHImage(volume.data, volume.affine), path)
    else:
        sitk.WriteImage(volume.to_sitk(), str(path), useCompression=True)
    voxels = next((other for other in tmp_path.iterdir() if other != path), path)
    raw = voxels.read_bytes()
    for part in (0.6, 0.9):
        voxels.write_bytes(flipped(raw, int(len(raw) * part)))
        with pytest.raises(InputError, match="damaged"):
            read_scan(path)
    voxels.write_bytes(raw)
    np.testing.assert_array_equal(read_scan(path).data, volume.data)


@pytest.mark.parametrize("size", [0.5, 5.0])
def test_voxel_sizes_and_axes(tmp_path: Path, size: float) -> None:
    """All 48 ways to lay the axes of a file, from 0.5 to 5 mm, in NIfTI, MGH, NRRD and MetaImage."""
    data = np.random.default_rng(0).normal(100, 30, (10, 9, 8)).astype(np.float32)
    ways = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
    for n, (order, signs) in enumerate(ways):
        linear = np.eye(3)[:, list(order)] * np.array(signs) * (size, 1.3 * size, 0.8 * size)
        volume = Scan(data, nib.affines.from_matvec(linear, [3, -5, 7]))
        suffix = ("nii", "mgh", "nrrd", "mha")[n % 4]
        path = tmp_path / f"{n}.{suffix}"
        if suffix in ("nii", "mgh"):
            nib.save((nib.Nifti1Image if suffix == "nii" else nib.MGHImage)(data, volume.affine), path)
        else:
            sitk.WriteImage(volume.to_sitk(), str(path))
        scan = read_scan(path)
        np.testing.assert_allclose(scan.affine, volume.affine, atol=1e-4)
        np.testing.assert_array_equal(scan.data, data)


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
    (tmp_path / "none").mkdir()
    assert "folder without DICOM images" in refusal(tmp_path / "none")
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
    header = header.replace("spacings: 1 2 3", "space: scanner-xyz\nspace directions: (1,0,0) (0,2,0) (0,0,3)")
    (tmp_path / "b.nrrd").write_bytes(header.encode() + raw)
    assert read_scan(tmp_path / "b.nrrd").meta["no_orientation"] is True


def test_a_metaimage_without_axes_has_no_orientation(volume: Scan, tmp_path: Path) -> None:
    header = "ObjectType = Image\nNDims = 3\nDimSize = 12 10 9\nElementSpacing = 1 1 2\nElementType = MET_FLOAT\n"
    (tmp_path / "a.mhd").write_text(header + "ElementDataFile = a.raw\n")
    (tmp_path / "a.raw").write_bytes(volume.data.astype("<f4").tobytes(order="F"))
    scan = read_scan(tmp_path / "a.mhd")
    np.testing.assert_array_equal(scan.data, volume.data)
    assert scan.meta["no_orientation"] is True
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "b.mha"))
    assert "no_orientation" not in read_scan(tmp_path / "b.mha").meta


@pytest.mark.parametrize("ending", ["nrrd", "mha"])
def test_a_whole_file_in_gzip_is_named(tmp_path: Path, ending: str) -> None:
    """ITK unpacks voxels, not files."""
    path = tmp_path / f"a.{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(np.random.default_rng(0).random((10, 11, 12), np.float32)), str(path))
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match=r"is a gzipped (NRRD|METAIMAGE) file; unpack it first"):
        read_scan(path)


def test_a_series_of_what_is_no_dicom_is_refused(tmp_path: Path) -> None:
    write_scan(Scan(np.random.default_rng(0).random((9, 9, 9)), np.eye(4)), tmp_path / "t1.nii")
    assert read_scan(tmp_path / "t1.nii").shape == (9, 9, 9)
    with pytest.raises(InputError, match=r"t1\.nii is not DICOM, so there is no series '3' in it"):
        read_scan(tmp_path / "t1.nii", series="3")
