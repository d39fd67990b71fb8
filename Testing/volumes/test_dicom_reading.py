"""DICOM series: place, values and order of the slices, the choice of a series, and what is refused."""

from __future__ import annotations

import gzip
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat
from pydicom.dataset import Dataset

from dicom_files import MPRAGE, header, write_enhanced, write_series
from dicom_files import on_lattice as voxels_on
from DualGlowLib import InputError
from DualGlowLib.volumes.dicom.export import export_dicom
from DualGlowLib.volumes.dicom.file import read_dataset, save_dataset
from DualGlowLib.volumes.dicom.series import choose_series, list_series
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.scan import Scan

AXIAL = from_matvec(np.diag([-1.0, -1.0, 2.0]), [5.0, 6.0, -7.0])
TILT = np.eye(4)
TILT[1, 2] = 0.3  # each slice moves along the rows, as with a tilted gantry
LATTICES = {
    "axial": AXIAL,
    "axial, left-handed": from_matvec(np.diag([1.0, -1.0, 2.0]), [5.0, 6.0, -7.0]),
    "sagittal": from_matvec(np.array([[0, 0, 1.2], [-0.9, 0, 0], [0, -0.9, 0]]), [-50, 90, 80]),
    "coronal": from_matvec(np.array([[-0.5, 0, 0], [0, 0, -5.0], [0, -0.5, 0]]), [40, -30, 80]),
    "oblique": from_matvec(euler2mat(0.4, -0.3, 0.2) @ np.diag([-0.7, -0.8, 1.1]), [-10, 20, 30]),
    "tilted": AXIAL @ TILT,
}


@pytest.fixture
def stored() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4000, (12, 10, 9)).astype(np.uint16)


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        read_scan(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def gdcm(folder: Path) -> Scan:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return Scan.from_sitk(reader.Execute())


# ------------------------------------------------------------------------------------------------------- place, values


@pytest.mark.parametrize("lattice", LATTICES)
def test_slices_lie_where_their_positions_say(stored: np.ndarray, tmp_path: Path, lattice: str) -> None:
    affine = LATTICES[lattice]
    files = write_series(tmp_path / "s", stored, affine)
    scan = read_scan(tmp_path / "s")
    np.testing.assert_array_equal(voxels_on(scan, affine), stored)
    assert scan.data.dtype == np.float32
    assert scan.source == str(tmp_path / "s")
    if lattice != "tilted":  # an ITK image has no shear
        other = gdcm(tmp_path / "s")
        np.testing.assert_allclose(scan.affine, other.affine, atol=1e-6)
        np.testing.assert_array_equal(scan.data, other.data)
    (found,) = list_series(tmp_path)
    assert found.shape == stored.shape
    assert set(found.files) == set(files)
    assert found.files in (tuple(files), tuple(reversed(files)))


@pytest.mark.parametrize("name", ["decubitus_left_t1_thick", "philips_adni_mprage_41M"])
def test_real_series_equal_gdcm(shared: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(shared / f"data/dicom/{name}.zip") as file:
        file.extractall(tmp_path)
    scan = read_scan(tmp_path)
    other = gdcm(next(path.parent for path in tmp_path.rglob("*.dcm")))
    np.testing.assert_allclose(scan.affine, other.affine, atol=1e-5)
    np.testing.assert_allclose(scan.data, other.data, rtol=1e-6)
    (found,) = list_series(tmp_path)
    assert found.is_t1
    expected = {"decubitus_left_t1_thick": (51.0, 4.8), "philips_adni_mprage_41M": (41.0, 1.0)}[name]
    assert (scan.meta["age"], scan.spacing[2]) == (expected[0], pytest.approx(expected[1], abs=1e-5))
    assert scan.meta["sex"] == "M"
    assert scan.meta["field_strength_t"] == 3


def test_files_are_known_by_content(stored: np.ndarray, tmp_path: Path) -> None:
    """Packed, without extension, without preamble, in folders of folders, and with copies and other files beside."""
    files = write_series(tmp_path / "deep" / "er", stored, AXIAL)
    packed = files[0].with_name("a.dcm.gz")
    packed.write_bytes(gzip.compress(files[0].read_bytes()))
    files[0].unlink()
    files[1].rename(files[1].with_suffix(""))
    raw = files[2].read_bytes()
    group_length = 132 + 12 + int.from_bytes(raw[140:144], "little")
    files[2].write_bytes(raw[group_length:])
    (tmp_path / "copy.IMA").write_bytes(files[3].read_bytes())
    (tmp_path / "notes.txt").write_text("nothing")
    scan = read_scan(tmp_path)
    np.testing.assert_array_equal(voxels_on(scan, AXIAL), stored)
    alone = read_scan(packed)
    np.testing.assert_array_equal(alone.data, scan.data)
    assert alone.source == str(packed)


@pytest.mark.parametrize("start", [b"\x5c\1\0\0", b"\0\0\1\x5c", b"\0\0\0\1", b"II*\0"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_preamble_may_hold_anything(stored: np.ndarray, tmp_path: Path, start: bytes, packed: bool) -> None:
    """Some scanners' begins as an Analyze header; others are TIFF files as well."""
    for file in write_series(tmp_path, stored, AXIAL):
        content = start + file.read_bytes()[4:]
        file.write_bytes(gzip.compress(content) if packed else content)
    np.testing.assert_array_equal(voxels_on(read_scan(file), AXIAL), stored)


def test_values_are_rescaled_slice_by_slice_and_monochrome1_is_not_inverted(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(-200, 3000, (12, 10, 9)).astype(np.int16)
    slopes = 0.5 + np.arange(9)

    def change(dataset, k):
        dataset.RescaleSlope, dataset.RescaleIntercept = str(slopes[k]), "0"
        dataset.PhotometricInterpretation = "MONOCHROME1"

    write_series(tmp_path, stored, AXIAL, "PT", change, Units="BQML")
    scan = read_scan(tmp_path)
    np.testing.assert_allclose(voxels_on(scan, AXIAL), stored * slopes, rtol=1e-6)
    assert scan.meta["units"] == "Bq/ml"


def test_slopes_that_differ_between_slices_and_are_long(tmp_path: Path) -> None:
    """SimpleITK 2.5.7 takes the first slice's pixel type for all, so that 70,700 becomes 5,164 (less 65,536).

    A slope may have more than the 16 characters of a Decimal String: pydicom 3.0.2 writes floats so.
    """
    stored = np.full((12, 10, 9), 700, np.uint16) + np.arange(9, dtype=np.uint16)
    slopes = np.where(np.arange(9) == 0, 1.0, 101 + 1 / 3)

    def change(dataset, k: int) -> None:
        dataset.RescaleIntercept = "0"
        dataset.RescaleSlope = float(slopes[k])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the length
        paths = write_series(tmp_path, stored, AXIAL, "PT", change)
    assert sum(b"101.33333333333333" in path.read_bytes() for path in paths) == 8
    scan = read_scan(tmp_path)
    np.testing.assert_allclose(voxels_on(scan, AXIAL), stored * slopes, rtol=1e-6)
    assert scan.data.max() > 70_700


def test_only_the_stored_bits_count(stored: np.ndarray, tmp_path: Path) -> None:
    """12 of 16 bits with an overlay in the others, also shifted, also signed; padding is background."""

    def pixels(values):
        return lambda dataset, k: setattr(dataset, "PixelData", np.ascontiguousarray(values[:, :, k].T).tobytes())

    overlay = (stored | np.uint16(0x8000)).astype(np.uint16)
    write_series(tmp_path / "overlay", stored, AXIAL, change=pixels(overlay), BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(voxels_on(read_scan(tmp_path / "overlay"), AXIAL), stored)

    shifted = (stored << 4).astype(np.uint16)
    write_series(tmp_path / "shifted", stored, AXIAL, change=pixels(shifted), BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(voxels_on(read_scan(tmp_path / "shifted"), AXIAL), stored)

    signed = stored.astype(np.int16) - 2000
    signed[0] = -2001
    cut = (signed & 0x0FFF).astype(np.int16)
    tags = {"BitsStored": 12, "HighBit": 11, "PixelPaddingValue": -2001, "RescaleIntercept": "5", "RescaleSlope": "1"}
    write_series(tmp_path / "signed", signed, AXIAL, change=pixels(cut), **tags)
    expected = np.where(signed == -2001, 0, signed + 5)
    np.testing.assert_array_equal(voxels_on(read_scan(tmp_path / "signed"), AXIAL), expected)


@pytest.mark.parametrize("kind", [np.int16, np.uint16])
def test_padding_counts_whatever_sign_it_was_stored_with(tmp_path: Path, kind: type) -> None:
    stored = np.random.default_rng(0).integers(0, 900, (12, 10, 9)).astype(np.int16)
    stored[:2] = -2000
    stored = stored.astype(kind)  # 63536 where pixels have no sign

    def pad(dataset: Dataset, k: int) -> None:
        dataset.add_new(0x00280120, *(("US", 63536) if kind is np.int16 else ("SS", -2000)))

    write_series(tmp_path, stored, AXIAL, change=pad)
    data = voxels_on(read_scan(tmp_path), AXIAL)
    np.testing.assert_array_equal(data, np.where(np.arange(12)[:, None, None] < 2, 0, stored))


def test_an_enhanced_file_is_a_volume(stored: np.ndarray, tmp_path: Path) -> None:
    affine = LATTICES["oblique"]
    path = write_enhanced(tmp_path / "e.dcm", stored, affine, SeriesDescription="3D T1 TFE")
    for given in (path, tmp_path):
        scan = read_scan(given)
        np.testing.assert_allclose(voxels_on(scan, affine), stored * 2.0 - 10)
        assert scan.meta["te_ms"] == 2.5
    write_enhanced(tmp_path / "f.dcm", stored[::-1].copy(), affine, SeriesDescription="3D T1 TFE")
    np.testing.assert_allclose(voxels_on(read_scan(path), affine), stored * 2.0 - 10)
    assert "holds 18 images of 9 slices" in refusal(tmp_path)


def test_an_old_multiframe_file_without_places_is_refused(stored: np.ndarray, tmp_path: Path) -> None:
    dataset = header("OT", stored, Rows=10, Columns=12, NumberOfFrames=9)
    dataset.add_new(0x7FE00010, "OW", stored.tobytes())
    save_dataset(dataset, tmp_path / "a.dcm")
    assert "doesn't say where" in refusal(tmp_path / "a.dcm")


def test_run_length_coding(stored: np.ndarray, tmp_path: Path) -> None:
    from pydicom.uid import RLELossless

    write_series(tmp_path, stored, AXIAL, change=lambda dataset, k: dataset.compress(RLELossless))
    np.testing.assert_array_equal(voxels_on(read_scan(tmp_path), AXIAL), stored)


@pytest.mark.parametrize("codec", ["JPEG2000", "JPEG"])
def test_codecs_that_only_gdcm_has(stored: np.ndarray, tmp_path: Path, codec: str) -> None:
    """Lossless JPEG 2000 and JPEG, with a rescaling and MONOCHROME1, both of which GDCM would apply."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor(codec)
    packed = []
    for k in range(stored.shape[2]):
        writer.SetFileName(str(tmp_path / "slice.dcm"))
        writer.Execute(sitk.GetImageFromArray(np.ascontiguousarray(stored[:, :, k].T)))
        packed.append(read_dataset(tmp_path / "slice.dcm"))
    (tmp_path / "slice.dcm").unlink()
    assert packed[0].file_meta.TransferSyntaxUID.is_compressed

    def change(dataset, k):
        dataset[0x7FE00010] = packed[k][0x7FE00010]
        dataset.file_meta.TransferSyntaxUID = packed[k].file_meta.TransferSyntaxUID
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.RescaleSlope, dataset.RescaleIntercept = str(k + 0.5), "7"

    files = write_series(tmp_path / "s", stored, AXIAL, change=change)
    np.testing.assert_allclose(voxels_on(read_scan(tmp_path / "s"), AXIAL), stored * (np.arange(9) + 0.5) + 7)
    files[4].write_bytes(files[4].read_bytes()[:-60])
    assert files[4].name in refusal(tmp_path / "s")


# ------------------------------------------------------------------------------------------------ slices of one volume


def test_missing_and_uneven_slices_are_refused(stored: np.ndarray, tmp_path: Path) -> None:
    files = write_series(tmp_path / "gap", stored, AXIAL)
    files[6].unlink()
    message = refusal(tmp_path / "gap")
    assert "lacks 1 slice" in message
    assert files[5].name in message

    def moved(dataset, k):
        dataset.ImagePositionPatient[2] += 0.7 * (k > 4)

    write_series(tmp_path / "uneven", stored, AXIAL, change=moved)
    assert "uneven distances (2.00 to 2.70 mm)" in refusal(tmp_path / "uneven")

    def wobbled(dataset, k):
        dataset.ImagePositionPatient[2] += 0.05 * (k % 2)

    write_series(tmp_path / "wobble", stored, AXIAL, change=wobbled)
    assert read_scan(tmp_path / "wobble").spacing[2] == pytest.approx(2, abs=0.01)
    for path in write_series(tmp_path / "one", stored, AXIAL)[1:]:
        path.unlink()
    assert "single slice" in refusal(tmp_path / "one")


def test_of_several_images_at_one_place(stored: np.ndarray, tmp_path: Path) -> None:
    """The first echo and the magnitude are taken, time frames refused."""
    for echo, time in ((1, "2.1"), (2, "4.6")):
        write_series(tmp_path / "e" / str(echo), stored // echo, AXIAL, EchoTime=time)
    scan = read_scan(tmp_path / "e")
    np.testing.assert_array_equal(voxels_on(scan, AXIAL), stored)
    assert (scan.meta["te_ms"], scan.meta["echoes"]) == (2.1, 2)

    write_series(tmp_path / "p" / "1", stored // 3, AXIAL, ImageType=["ORIGINAL", "PRIMARY", "P"])
    write_series(tmp_path / "p" / "2", stored, AXIAL)
    np.testing.assert_array_equal(voxels_on(read_scan(tmp_path / "p"), AXIAL), stored)

    for time in (1, 2, 3):
        write_series(tmp_path / "t" / str(time), stored, AXIAL, "PT", TemporalPositionIdentifier=time)
    assert "holds 27 images of 9 slices" in refusal(tmp_path / "t")


PHASE = ["ORIGINAL", "PRIMARY", "P", "ND"]


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"ImageType": PHASE}, "2 of 9 are phase, real or imaginary"),
        ({"Manufacturer": "GE MEDICAL SYSTEMS", "private": 1}, "2 of 9 are phase, real or imaginary"),
        ({"ComplexImageComponent": "PHASE"}, "2 of 9 are phase, real or imaginary"),
        ({"EchoTime": "9.5"}, "2 of 9 are of another echo time"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M_IR"]}, "2 of 9 are of another Image Type"),
    ],
)
def test_slices_of_two_kinds_are_no_volume(stored: np.ndarray, tmp_path: Path, tags: dict, words: str) -> None:
    private = tags.pop("private", None)

    def change(dataset, k: int) -> None:
        if k in (3, 8):
            for keyword, value in tags.items():
                setattr(dataset, keyword, value)
            if private:
                dataset.add_new(0x0043102F, "SS", private)

    write_series(tmp_path, stored, AXIAL, change=change, EchoTime="2.5")
    assert words in refusal(tmp_path)


def test_a_place_with_the_phase_image_alone_is_a_missing_slice(stored: np.ndarray, tmp_path: Path) -> None:
    """At the end of the volume, where no gap shows it."""
    write_series(tmp_path / "m", stored, AXIAL, change=lambda dataset, k: k < 8)
    write_series(tmp_path / "p", stored, AXIAL, ImageType=PHASE)
    assert "lacks 1 slice(s), of which it has only the phase image" in refusal(tmp_path)


def test_files_that_were_not_fetched_are_counted(stored: np.ndarray, tmp_path: Path) -> None:
    paths = write_series(tmp_path / "a", stored, AXIAL)
    (tmp_path / "a/README").symlink_to("../annex/readme")
    assert read_scan(tmp_path / "a").shape == stored.shape
    for path in sorted(paths, key=lambda path: float(read_dataset(path).ImagePositionPatient[2]))[:3]:
        path.unlink()
        path.symlink_to(f"../annex/{path.name}")  # to nothing
    assert "3 files that are links to nothing" in refusal(tmp_path / "a")
    pointer = tmp_path / "b"
    for number, path in enumerate(write_series(pointer, stored, AXIAL)):
        if number < 2:
            path.write_text(f"/annex/objects/MD5E-s1234--0123{number}.dcm\n")
    assert "2 files that are links to nothing" in refusal(pointer)
    for path in pointer.iterdir():
        path.write_text("/annex/objects/MD5E-s1234--0123.dcm\n")
    assert "9 files" in refusal(pointer)


def test_linked_folders_are_followed(stored: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "store/a", stored[:, :, :5], AXIAL)
    write_series(tmp_path / "store/b", stored[:, :, 5:], AXIAL @ from_matvec(np.eye(3), [0, 0, 5]))
    (tmp_path / "store/b/back").symlink_to(tmp_path / "store")  # and not for ever
    (tmp_path / "scan").mkdir()
    for name in "ab":
        (tmp_path / "scan" / name).symlink_to(tmp_path / "store" / name)
    np.testing.assert_array_equal(voxels_on(read_scan(tmp_path / "scan"), AXIAL), stored)


def test_what_is_no_volume_is_refused(stored: np.ndarray, tmp_path: Path) -> None:
    for name in ("axial", "sagittal", "coronal"):
        write_series(tmp_path / "loc" / name, stored, LATTICES[name])
    assert "sizes" in refusal(tmp_path / "loc")  # the voxels differ too
    for name in ("axial", "axial, left-handed"):
        write_series(tmp_path / "dirs" / name, stored, LATTICES[name])
    assert "several directions" in refusal(tmp_path / "dirs")
    write_series(tmp_path / "mosaic", stored, AXIAL, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    assert "mosaic" in refusal(tmp_path / "mosaic")

    def coloured(dataset, k):
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.PixelData = bytes(12 * 10 * 3)

    write_series(tmp_path / "rgb", stored.astype(np.uint8), AXIAL, change=coloured)
    assert "colour" in refusal(tmp_path / "rgb")

    def placeless(dataset, k):
        del dataset.ImagePositionPatient

    write_series(tmp_path / "nowhere", stored, AXIAL, change=placeless)
    assert "doesn't say where" in refusal(tmp_path / "nowhere")


def test_what_is_no_image_is_refused(stored: np.ndarray, tmp_path: Path) -> None:
    report = header("OT", stored, Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID
    save_dataset(report, tmp_path / "report.dcm")
    assert "no image (Basic Text SR)" in refusal(tmp_path / "report.dcm")
    assert "only Basic Text SR" in refusal(tmp_path)
    report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    save_dataset(report, tmp_path / "DICOMDIR")
    assert "DICOMDIR" in refusal(tmp_path / "DICOMDIR")
    write_series(tmp_path / "s", stored, AXIAL)
    assert read_scan(tmp_path).shape == stored.shape  # what else lies there doesn't matter
    (tmp_path / "none").mkdir()
    assert "folder without DICOM images" in refusal(tmp_path / "none")


@pytest.mark.parametrize("kept", [0, 100, 140, 300, 500, 900, -260, -120, -2])
def test_cut_files_are_refused(stored: np.ndarray, tmp_path: Path, kept: int) -> None:
    files = write_series(tmp_path, stored, AXIAL)
    files[8].write_bytes(files[8].read_bytes()[:kept])
    assert files[8].name in refusal(tmp_path)
    assert files[8].name in refusal(files[8])
    if kept >= -240 and kept < 0:  # listing reads headers alone
        assert list_series(tmp_path)[0].shape == stored.shape


def test_files_without_a_series_uid_are_a_series_by_folder_and_number(stored: np.ndarray, tmp_path: Path) -> None:
    for number in (1, 2):
        files = write_series(tmp_path / "both", stored, AXIAL, change=without_uid, SeriesNumber=number)
    assert [series.uid for series in list_series(tmp_path)] == ["", ""]
    for chosen in (read_scan(tmp_path, series="2"), read_scan(files[3])):
        assert chosen.shape == stored.shape
        assert chosen.meta["series_number"] == 2
    scan = Scan(np.ones(stored.shape, np.float32), read_scan(files[3]).affine)
    with pytest.raises(InputError, match="states no Series Instance UID"):
        export_dicom(scan, files[3], tmp_path / "derived")


@pytest.mark.parametrize(
    ("change", "series"),
    [
        (lambda dataset, index: None, 1),
        (lambda dataset, index: setattr(dataset, "SeriesNumber", index + 1), 9),
        (lambda dataset, index: setattr(dataset, "EchoTime", 3.0 + index % 2), 2),
        (lambda dataset, index: setattr(dataset, "ImagePositionPatient", [0, 0, index // 2]), 9),
    ],
    ids=["a Canon series", "numbers of their own", "two echoes", "two slices at a place"],
)
def test_slices_with_a_series_uid_each(stored: np.ndarray, tmp_path: Path, change, series: int) -> None:
    """One series where all else that makes one is the same; nothing is joined that is not."""

    def apart(dataset: Dataset, index: int) -> None:
        dataset.SeriesInstanceUID = f"1.2.3.{index + 1}"
        change(dataset, index)

    write_series(tmp_path / "whole", stored, AXIAL)
    files = write_series(tmp_path / "apart", stored, AXIAL, change=apart)
    found = list_series(tmp_path / "apart")
    assert len(found) == series
    if series == 1:
        whole, joined = read_scan(tmp_path / "whole"), read_scan(tmp_path / "apart")
        np.testing.assert_array_equal(joined.data, whole.data)
        np.testing.assert_allclose(joined.affine, whole.affine)
        assert read_scan(files[4]).shape == whole.shape


def test_a_slice_without_the_series_uid_of_the_others_is_damaged(stored: np.ndarray, tmp_path: Path) -> None:
    files = write_series(tmp_path, stored, AXIAL, change=lambda slice_, k: k or without_uid(slice_, k))
    damaged = next(path for path in files if not read_dataset(path).get("SeriesInstanceUID"))
    assert f"{damaged.name} is incomplete or damaged" in refusal(tmp_path)
    assert f"{damaged.name} is incomplete or damaged" in refusal(damaged)


def without_uid(dataset: Dataset, k: int) -> None:
    del dataset.SeriesInstanceUID


def test_garbled_files_never_end_in_a_traceback(stored: np.ndarray, tmp_path: Path) -> None:
    files = write_series(tmp_path, stored, AXIAL)
    raw = files[3].read_bytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(raw)
        for place in random.integers(132, len(raw) - 240, 4):
            broken[place] = random.integers(256)
        files[3].write_bytes(bytes(broken))
        try:
            assert np.isfinite(read_scan(tmp_path).data).all()
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017


# -------------------------------------------------------------------------------------------------- choosing the series

HEAD = from_matvec(np.diag([-12.0, -12.0, 5.0]), [60.0, 60.0, -50.0])  # few voxels, yet the size of a head


def add(folder: Path, series: int, description: str, slices: int = 24, affine: np.ndarray = HEAD, **tags: object):
    values = np.random.default_rng(series).integers(0, 900, (10, 10, slices)).astype(np.uint16)
    tags = {"modality": "MR", "SeriesInstanceUID": f"1.2.3.6.{series}", **tags}
    write_series(folder / str(series), values, affine, SeriesNumber=series, SeriesDescription=description, **tags)
    return values


def test_the_t1_is_chosen_among_other_series(tmp_path: Path) -> None:
    add(tmp_path, 1, "localizer", slices=9, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    add(tmp_path, 2, "t2_tse_tra", EchoTime="95")
    add(tmp_path, 3, "AC CT", modality="CT")
    add(tmp_path, 4, "t2_space_flair_sag", **MPRAGE)
    assert "none of them is plainly the T1" in refusal(tmp_path)
    t1 = add(tmp_path, 5, "Sag MPRAGE", **MPRAGE)
    add(tmp_path, 6, "Sag MPRAGE tra reformat", **{**MPRAGE, "ImageType": ["DERIVED", "SECONDARY", "MPR"]})
    add(tmp_path, 7, "T1 post Gd", **MPRAGE, ContrastBolusAgent="Gadovist")
    scan = read_scan(tmp_path)
    assert scan.meta["series_number"] == 5
    np.testing.assert_array_equal(voxels_on(scan, HEAD), t1)
    assert [s.number for s in list_series(tmp_path)] == [1, 2, 3, 4, 5, 6, 7]
    assert str(list_series(tmp_path)[4]) == '5 MR "Sag MPRAGE" (24 slices)'


def test_the_uniform_image_of_an_mp2rage_goes_before_its_parts(tmp_path: Path) -> None:
    derived = {**MPRAGE, "ImageType": ["DERIVED", "PRIMARY", "M", "ND", "UNI"]}
    add(tmp_path, 6, "t1_mp2rage_INV1", **MPRAGE)
    add(tmp_path, 7, "t1_mp2rage_INV2", **MPRAGE)
    assert "none of them is plainly the T1" in refusal(tmp_path)
    add(tmp_path, 8, "t1_mp2rage_UNI_Images", **derived)
    assert read_scan(tmp_path).meta["series_number"] == 8
    add(tmp_path, 9, "t1_mp2rage_UNI-DEN", **derived)
    add(tmp_path, 10, "t1_mp2rage_T1_Images", **{**derived, "ImageType": ["DERIVED", "PRIMARY", "T1 MAP"]})
    meta = read_scan(tmp_path).meta
    assert meta["series_number"] == 9
    assert meta["chosen_from"].startswith('5 series, 9 MR "t1_mp2rage_UNI-DEN" (24 slices) is used and not 6 MR')


def test_a_native_t1_goes_before_an_enhanced_one_whatever_it_is_called(tmp_path: Path) -> None:
    add(tmp_path, 1, "T1 MPRAGE postcontrast", **MPRAGE)
    add(tmp_path, 2, "T1 MPRAGE pre contrast", **MPRAGE)
    add(tmp_path, 3, "T1 MPRAGE post-Gd", **MPRAGE)
    assert read_scan(tmp_path).meta["series_number"] == 2


AC, NAC = {"CorrectedImage": ["NORM", "ATTN", "DECY"]}, {"CorrectedImage": ["NORM", "DECY"]}


def test_the_pet_is_chosen_among_other_series(tmp_path: Path) -> None:
    add(tmp_path, 1, "MPRAGE", **MPRAGE)
    add(tmp_path, 2, "AC CT", modality="CT")
    add(tmp_path, 3, "PET Brain NAC", modality="PT", Units="BQML", **NAC)
    assert read_scan(tmp_path, pet=True).meta["attenuation_corrected"] is False
    add(tmp_path, 4, "PET Brain", modality="PT", Units="BQML", SeriesType=["DYNAMIC", "IMAGE"], **AC)
    add(tmp_path, 5, "SYNTHETIC FDG DualGlow NOT FOR DIAGNOSIS", modality="PT", Units="NONE")
    pet = add(tmp_path, 6, "PET Brain", modality="PT", Units="BQML", SeriesType=["STATIC", "IMAGE"], **AC)
    scan = read_scan(tmp_path, pet=True)
    assert scan.meta["series_number"] == 6
    assert "synthetic" not in scan.meta
    np.testing.assert_array_equal(voxels_on(scan, HEAD), pet)
    assert read_scan(tmp_path).meta["series_number"] == 1
    add(tmp_path, 7, "PET Brain PSF", modality="PT", Units="BQML", **AC)
    with pytest.raises(InputError, match="2 of them may be the PET"):
        read_scan(tmp_path, pet=True)


def test_two_t1s_are_a_question(tmp_path: Path) -> None:
    add(tmp_path, 3, "MPRAGE ND", **MPRAGE)
    second = add(tmp_path, 4, "MPRAGE norm", **MPRAGE)
    message = refusal(tmp_path)
    assert "2 of them may be the T1" in message
    assert '3 MR "MPRAGE ND" (24 slices), 4 MR "MPRAGE norm" (24 slices)' in message
    np.testing.assert_array_equal(voxels_on(read_scan(tmp_path, series="4"), HEAD), second)
    for wish in (4, "1.2.3.6.4", "NORM"):
        assert choose_series(list_series(tmp_path), tmp_path, wish).number == 4
    assert "2 series that fit" in refusal(tmp_path, series="mprage")
    assert "no series that fits" in refusal(tmp_path, series="5")
    thin = HEAD @ np.diag([1, 1, 0.3, 1])
    add(tmp_path, 9, "t1 3d", slices=60, affine=thin, **MPRAGE)
    assert choose_series(list_series(tmp_path), tmp_path).number == 9  # thin slices go before thick ones


def test_a_pet_alone_is_read(tmp_path: Path) -> None:
    add(tmp_path, 1, "brain", modality="PT", Units="BQML")
    assert read_scan(tmp_path).meta["modality"] == "PT"
    add(tmp_path, 2, "AC CT", modality="CT")
    assert "none of them is plainly the T1" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("description", "tags", "verdict"),
    [
        ("t1_mpr_ns_sag_p2_iso", MPRAGE, True),
        ("Ax 3D BRAVO", {}, True),
        ("3D FSPGR", {}, True),
        ("s3DI_MC_HR", MPRAGE, True),  # no word helps, the parameters do
        ("Sagittal", {"ScanningSequence": "SE", "RepetitionTime": "500", "EchoTime": "12"}, True),
        ("Sagittal", {"ScanningSequence": "SE", "RepetitionTime": "4000", "EchoTime": "12"}, False),
        ("T1 inversion", {"EchoTime": "90"}, False),
        ("T2_FLAIR", {}, False),
        ("3D TOF MRA", {"ScanningSequence": "GR", "MRAcquisitionType": "3D", "EchoTime": "3.5"}, False),
        ("T1_MAP", {}, False),
        ("T1rho", {}, False),
        ("T10_calib", {}, False),
        ("MPRAGE", {"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]}, False),
        # A word in the protocol's name, or of a correction, says nothing of the image
        ("Sag MPRAGE", {"ProtocolName": "MAP_AP3 (Rear projector)"}, True),
        ("Sagittal", {"ProtocolName": "MAP_AP3 (Rear projector)", **MPRAGE}, True),
        ("Sag CUBE FLAIR", {"ProtocolName": "T1 MPRAGE"}, False),
        ("Sagittal", {"ProtocolName": "T1 MPRAGE"}, True),
        ("MPR; GradWarp; B1 Correction; N3; Scaled", {}, True),
        ("MT1; N3m", {}, True),
        ("MP-RAGE SENSE2", {}, True),
        ("Sag FSPGR 3D ASSET", {}, True),
        ("ASSET calibration", {}, False),
        ("Sag T1 FLAIR", {}, True),
        ("B1map_tfl", {}, False),
        ("B1", MPRAGE, False),
        ("t1_mp2rage_T1_Images", {}, False),
        ("t1_mp2rage_INV2", MPRAGE, False),
    ],
)
def test_what_looks_like_a_t1(tmp_path: Path, description: str, tags: dict, verdict: bool) -> None:
    add(tmp_path, 1, description, **tags)
    assert list_series(tmp_path)[0].is_t1 is verdict


# ---------------------------------------------------------------------------------------------------------------- meta


@pytest.mark.filterwarnings("ignore:Invalid value for VR AS")
def test_meta_says_what_matters_and_not_who(stored: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "a", stored, AXIAL, SeriesDescription="MPRAGE", **MPRAGE)
    meta = read_scan(tmp_path / "a").meta
    expected = {
        "format": "DICOM",
        "modality": "MR",
        "series_description": "MPRAGE",
        "series_uid": "1.2.3.6.1",
        "study_uid": "1.2.3.4",
        "frame_of_reference_uid": "1.2.3.5",
        "age": 71.0,
        "sex": "F",
        "weight_kg": 70.0,
        "manufacturer": "Maker",
        "field_strength_t": 3.0,
        "tr_ms": 2300.0,
        "te_ms": 2.98,
        "ti_ms": 900.0,
    }
    assert {key: meta[key] for key in expected} == expected
    assert not any(secret in repr(meta) for secret in ("Doe", "Jane", "SECRET", "1948", "2020", "Roe"))
    for text, age in (("018M", 1.5), ("", 71.75), ("garbage", 71.75), ("000Y", 71.75), ("999Y", 71.75), ("018", 71.75)):
        write_series(tmp_path / text, stored, AXIAL, PatientAge=text, PatientSex="O")
        meta = read_scan(tmp_path / text).meta if text else read_scan(next(tmp_path.glob("1_*.dcm"))).meta
        assert meta["age"] == pytest.approx(age, abs=0.01)
        assert "sex" not in meta
    for text, age in (("071", 71.0), ("018", 18.0), ("012", None)):  # of a child, these may be months
        write_series(tmp_path / f"no_birth_{text}", stored, AXIAL, PatientAge=text, PatientBirthDate="")
        assert read_scan(tmp_path / f"no_birth_{text}").meta.get("age") == age


def test_a_synthetic_series_says_so(stored: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path, stored, AXIAL, "PT", lambda dataset, k: dataset.add_new(0x0008001C, "CS", "YES"))
    assert read_scan(tmp_path).meta["synthetic"] is True
