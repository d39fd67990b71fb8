"""Files that hold less than their header says, or claim more than a head has: one sentence, before anything is read."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat

from dicom_files import write_series
from DualGlowLib import InputError
from DualGlowLib.volumes.reading import read_scan, scan_shape
from DualGlowLib.volumes.scan import Scan

AFFINE = from_matvec(np.diag([-1.0, 1.2, 2.0]), [3.0, -4.0, 5.0])


@pytest.fixture
def volume() -> Scan:
    return Scan(np.random.default_rng(0).normal(100, 20, (12, 10, 9)).astype(np.float32), AFFINE)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_scan(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def metaimage(path: Path, voxels: bytes, **fields: object) -> Path:
    """A MetaImage of 12×10×9 voxels of float32 with these fields changed; LOCAL voxels follow the header."""
    last = fields.pop("ElementDataFile", "LOCAL")
    values = {
        "ObjectType": "Image", "NDims": 3, "BinaryData": True, "BinaryDataByteOrderMSB": False, "CompressedData": False,
        "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0", "ElementSpacing": "1 1 1", "DimSize": "12 10 9",
        "ElementType": "MET_FLOAT", **fields, "ElementDataFile": last,
    }  # fmt: skip
    path.write_bytes("".join(f"{key} = {value}\n" for key, value in values.items()).encode() + voxels)
    return path


# ---------------------------------------------------------------------------------------------------------- MetaImage


@pytest.mark.parametrize("shape", ["12 10 9", "12 10 12"])
def test_a_compressed_metaimage_with_too_few_voxels(volume: Scan, tmp_path: Path, shape: str) -> None:
    """ITK 5.4 gives zeros, or whatever was in memory, for those that are missing."""
    voxels = volume.data.tobytes(order="F")
    packed = zlib.compress(voxels)
    fields = {"CompressedData": True, "CompressedDataSize": len(packed), "DimSize": shape}
    path = metaimage(tmp_path / "a.mha", packed, **fields)
    if shape == "12 10 9":
        np.testing.assert_array_equal(read_scan(path).data, volume.data)
        path = metaimage(tmp_path / "b.mha", zlib.compress(voxels[:-4]), **fields)
    assert "incomplete" in refusal(path)


@pytest.mark.parametrize("how", ["LIST\n", "%d"])
def test_a_metaimage_of_several_files(volume: Scan, tmp_path: Path, how: str) -> None:
    names = [f"slice{k}.raw" for k in range(9)]
    for k, name in enumerate(names):
        (tmp_path / name).write_bytes(volume.data[:, :, k].tobytes(order="F"))
    listed = "LIST\n" + "\n".join(names) if how == "LIST\n" else "slice%d.raw 0 8 1"
    path = metaimage(tmp_path / "a.mhd", b"", ElementDataFile=listed)
    np.testing.assert_array_equal(read_scan(path).data, volume.data)
    (tmp_path / names[4]).write_bytes(b"\0" * 100)
    assert "incomplete" in refusal(path)
    (tmp_path / names[4]).unlink()
    assert "incomplete" in refusal(path)
    fewer = "LIST\n" + "\n".join(names[:5]) if how == "LIST\n" else "slice%d.raw 0 3 1"
    assert "names" in refusal(metaimage(tmp_path / "b.mhd", b"", ElementDataFile=fewer))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"DimSize": "12 10"}, "size and type"),
        ({"DimSize": "12 -10 9"}, "a slice"),
        ({"DimSize": "12 ten 9"}, "size and type"),
        ({"ElementType": "MET_OTHER"}, "size and type"),
        ({"ElementNumberOfChannels": 3}, "3 values per voxel"),
        ({"BinaryData": False}, "as text"),
        ({"DimSize": "4000 4000 4000"}, "more than any scan"),
        ({"ElementDataFile": "LIST 3"}, "no slices"),
        ({"ElementDataFile": "slice%s.raw 0 8 1"}, "list of files"),
        ({"ElementDataFile": "slice%d.raw 0 9999999 1"}, "list of files"),
    ],
)
def test_what_a_metaimage_can_say_that_is_not_read(tmp_path: Path, fields: dict, words: str) -> None:
    assert words in refusal(metaimage(tmp_path / "a.mhd", b"\0" * 4320, **fields))


def test_a_metaimage_whose_header_would_be_taken_for_voxels(tmp_path: Path) -> None:
    """ITK counts HeaderSize from the beginning of the file, also where the voxels follow the header."""
    assert "passes over" in refusal(metaimage(tmp_path / "a.mha", b"\0" * 4320, HeaderSize=4, ElementDataFile="LOCAL"))


# --------------------------------------------------------------------------------------------------- files of voxels


@pytest.mark.parametrize("ending", ["mhd", "nhdr"])
def test_voxels_are_read_from_a_regular_file_beside_the_header_alone(volume: Scan, tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "folder"
    (folder / "inside").mkdir(parents=True)
    path = folder / f"a.{ending}"
    sitk.WriteImage(volume.to_sitk(), str(path))
    header, raw = path.read_text(), (folder / "a.raw").read_bytes()
    (folder / "inside/a.raw").write_bytes(raw)
    (tmp_path / "a.raw").write_bytes(raw)
    path.write_text(header.replace("a.raw", "inside/a.raw"))
    np.testing.assert_array_equal(read_scan(path).data, volume.data)
    for elsewhere in ("../a.raw", str(tmp_path / "a.raw"), "/dev/zero"):
        path.write_text(header.replace("a.raw", elsewhere))
        assert "not beside it" in refusal(path)
    (folder / "a.raw").unlink()
    os.mkfifo(folder / "a.raw")
    path.write_text(header)
    assert "no regular file" in refusal(path)


def test_pipes_and_links_to_nothing_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.nii")
    assert "no regular file" in refusal(tmp_path / "a.nii")
    (tmp_path / "b.nii").symlink_to("../annex/objects/b.nii")
    assert "not fetched" in refusal(tmp_path / "b.nii")
    (tmp_path / "c.nii").write_text("/annex/objects/MD5E-s1298912--0123456789abcdef.nii\n")
    assert "not fetched" in refusal(tmp_path / "c.nii")
    os.mkfifo(tmp_path / "pair.img")
    header = nib.nifti1.Nifti1PairHeader()
    header.set_data_shape((12, 10, 9))
    (tmp_path / "pair.hdr").write_bytes(header.binaryblock + b"\0\0\0\0")
    assert "no regular file" in refusal(tmp_path / "pair.hdr")


@pytest.mark.parametrize("field", ["datafile: LIST\na.raw", "line skip: 2", "encoding: ascii", "type: block"])
def test_what_a_nrrd_can_say_that_is_not_read(volume: Scan, tmp_path: Path, field: str) -> None:
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(volume.to_sitk(), str(path))
    raw = path.read_bytes()
    key = field.split(":")[0].encode()
    kept = [line for line in raw.split(b"\n\n", 1)[0].splitlines() if not line.startswith(key + b":")]
    path.write_bytes(b"\n".join([*kept, field.encode()]) + b"\n\n" + raw.split(b"\n\n", 1)[1])
    refusal(path)


def test_a_nrrd_in_bzip2_with_too_few_voxels(volume: Scan, tmp_path: Path) -> None:
    import bz2

    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "a.nrrd"))
    header = (tmp_path / "a.nrrd").read_bytes().split(b"\n\n", 1)[0].replace(b"encoding: raw", b"encoding: bzip2")
    (tmp_path / "a.nrrd").write_bytes(header + b"\n\n" + bz2.compress(volume.data.tobytes(order="F")[:-100]))
    assert "incomplete" in refusal(tmp_path / "a.nrrd")


# ------------------------------------------------------------------------------------------- claims that can't be true


def nifti(shape: tuple[int, ...], two: bool = False) -> bytearray:
    header = (nib.Nifti2Header if two else nib.Nifti1Header)()
    header.set_data_shape(shape)
    header.set_data_dtype(np.float32)
    header.set_sform(AFFINE, 1)
    header.set_data_offset(544 if two else 352)
    return bytearray(header.binaryblock + b"\0\0\0\0")


def peak(path: Path) -> tuple[str, float]:
    """What ``read_scan`` says in a process of its own, and how many MiB that took at most."""
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from DualGlowLib import InputError\n"
        "from DualGlowLib.volumes.reading import read_scan\n"
        "try:\n    read_scan(sys.argv[1])\nexcept InputError as error:\n    print(error)\n"
        # The highest of this program; what getrusage gives counts the one that started it too.
        "print(int(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1]) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    return done.stdout, float(done.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much memory a process took")
@pytest.mark.parametrize("shape", [(2000, 2000, 2000), (640, 640, 600), (12, 10, 9)])
def test_a_small_file_that_unpacks_to_much_is_not_unpacked(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """150 MB of zeros in 150 kB, under headers that claim more, about as much and nearly nothing."""
    path = tmp_path / "a.nii.gz"
    with gzip.open(path, "wb", 6) as file:
        file.write(nifti(shape))
        for _ in range(150):
            file.write(bytes(1 << 20))
    said, mebibytes = peak(path)
    assert said.splitlines()[0].endswith(".")
    assert mebibytes < 500


def test_a_file_that_can_not_hold_what_it_claims_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(nifti((600, 600, 600))))
    assert "incomplete" in refusal(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii").write_bytes(nifti((600, 600, 600)) + bytes(1000))
    assert "incomplete" in refusal(tmp_path / "b.nii")


@pytest.mark.parametrize("kept", [100, 400, 539, 543, 544, 600])
def test_a_cut_nifti_2(tmp_path: Path, kept: int) -> None:
    (tmp_path / "a.nii").write_bytes((nifti((12, 10, 9), two=True) + bytes(4320))[:kept])
    refusal(tmp_path / "a.nii")


@pytest.mark.parametrize(
    "dims", [(0, 10, 9, 1), (12, 0, 9, 1), (12, 10, -9, 1), (12, 10, 9, 0), (1 << 30, 1 << 30, 9, 1)]
)
def test_an_mgh_with_odd_dimensions(tmp_path: Path, dims: tuple[int, ...]) -> None:
    nib.save(nib.MGHImage(np.ones((12, 10, 9), np.float32), AFFINE), tmp_path / "a.mgh")
    raw = bytearray((tmp_path / "a.mgh").read_bytes())
    raw[4:20] = struct.pack(">4i", *dims)
    (tmp_path / "a.mgh").write_bytes(bytes(raw))
    refusal(tmp_path / "a.mgh")
    with pytest.raises(InputError):
        scan_shape(tmp_path / "a.mgh")


# ---------------------------------------------------------------------------------------------- headers that are clear


@pytest.mark.parametrize("sform", [False, True])
@pytest.mark.parametrize("excess", [6e-7, 1e-3])
def test_a_quaternion_that_was_rounded(volume: Scan, tmp_path: Path, sform: bool, excess: float) -> None:
    """Half a turn, of which b² + c² + d² is above 1 by what rounding makes of it; nibabel 5.4 refuses it."""
    affine = from_matvec(euler2mat(0, 0, np.pi) @ np.diag([1.0, 1.2, 2.0]), [3.0, -4.0, 5.0])
    image = nib.Nifti1Image(volume.data, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, int(sform))
    raw = bytearray(image.to_bytes())
    raw[256:268] = np.array([1 + excess, 0, 0], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    np.testing.assert_allclose(read_scan(tmp_path / "a.nii").affine, affine, atol=1e-2)
    raw[256:268] = np.array([2, 0, np.nan], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    if sform:
        scan = read_scan(tmp_path / "a.nii")
        np.testing.assert_allclose(scan.affine, affine, atol=1e-5)
        assert scan.meta["unusable_qform"] is True
    else:
        refusal(tmp_path / "a.nii")


def test_axes_of_length_0_that_there_are_none_of(volume: Scan, tmp_path: Path) -> None:
    raw = bytearray(nib.Nifti1Image(volume.data, AFFINE).to_bytes())
    raw[40:50] = struct.pack("<5h", 4, 12, 10, 9, 0)
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    np.testing.assert_array_equal(read_scan(tmp_path / "a.nii").data, volume.data)


@pytest.mark.parametrize(("code", "scale"), [(1, 1e-3), (3, 1e3)])
def test_metres_and_micrometres(volume: Scan, tmp_path: Path, code: int, scale: float) -> None:
    image = nib.Nifti1Image(volume.data, np.diag([scale] * 3 + [1]) @ AFFINE)
    image.header["xyzt_units"] = code
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_scan(tmp_path / "a.nii").affine, AFFINE, rtol=1e-5)
    image = nib.Nifti1Image(volume.data, AFFINE)
    image.header["xyzt_units"] = code  # which can't be meant
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_scan(tmp_path / "a.nii").affine, AFFINE, rtol=1e-5)


# --------------------------------------------------------------------------------------------------------------- DICOM


def test_a_dicom_that_claims_too_much(tmp_path: Path) -> None:
    def change(dataset, k: int) -> None:
        dataset.Rows = dataset.Columns = 65535

    write_series(tmp_path, np.ones((10, 10, 9), np.uint16), AFFINE, change=change)
    assert "too many" in refusal(tmp_path)


def test_a_deflated_dicom_is_read_unless_it_unpacks_to_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    stored = np.random.default_rng(0).integers(0, 900, (12, 10, 9)).astype(np.uint16)
    for path in write_series(tmp_path, stored, AFFINE):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path)
    assert read_scan(tmp_path).shape == stored.shape
    monkeypatch.setattr("DualGlowLib.volumes.dicom.file.LARGEST_FILE", 500)  # of which a gibibyte is allowed
    assert "damaged" in refusal(tmp_path)


# ------------------------------------------------------------------------------------------- headers changed at random


def test_headers_changed_at_random() -> None:
    """No traceback, no hang, no more memory than 4 GiB, and geometry as nibabel's."""
    script = Path(__file__).parents[1] / "benchmarks/header_mutations.py"
    done = subprocess.run([sys.executable, script, "25", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" 0 faults") == 9
