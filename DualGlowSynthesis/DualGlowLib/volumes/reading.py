"""Read one 3-D scalar volume from a file or a DICOM series, by its content and not by its name.

ITK's readers return wrong voxels for some damaged files without an error: a NIfTI whose gzip stream is cut is filled
up with whatever was in memory, one with nothing but a header becomes an all-zero volume. So NIfTI and MGH are decoded
with nibabel from bytes whose completeness has been checked, DICOM with pydicom (``dicom_volume``), and only NRRD and
MetaImage go through ITK.
"""

from __future__ import annotations

import re
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .dicom.file import is_dicom
from .headers import nifti_contradictions, nrrd_affine
from .scan import Scan, without_holes

if TYPE_CHECKING:
    import nibabel as nib

__all__ = ["read_scan"]

_MIN_SIDE = 8
# A 0.5 mm head of 512³ voxels in float64 is 1 GiB; anything far beyond is a damaged header or not one scan.
_MAX_BYTES = 4 << 30
_NIFTI_1, _NIFTI_2 = [tuple(struct.pack(order, size) for order in ("<i", ">i")) for size in (348, 540)]
_FORMATS = "NIfTI, NRRD, MetaImage (.mha), FreeSurfer .mgz or DICOM"


def read_scan(path: str | Path, series: str | None = None) -> Scan:
    """Read a scan from NIfTI-1, NIfTI-2, MGH/MGZ, NRRD, MetaImage or DICOM.

    Scale factors are applied and trailing axes of length 1 dropped. Where sform and qform are both set the sform wins,
    as in nibabel. ``meta`` says what the file said: ``format``, ``stored_dtype``, ``description``, and only where they
    apply: ``nonfinite_voxels`` (how many NaN or infinite voxels were set to the background's value: ``holes``),
    ``no_orientation`` (True when the file doesn't say how the voxels lie in the patient, so that left and right are a
    guess), ``sform_qform_mm`` and ``sform_qform_degrees`` (how far apart the two transforms put the volume's corners,
    when that is more than 1 mm, and turn it), and ``pixdim_mm`` (the voxel size, where the sform has another).

    Of a DICOM folder, which is searched with the folders inside it, the T1 is read if it is plain which one that is
    (``choose_series``); of a DICOM file, the whole series in its folder. ``meta`` then has what the headers say of
    ``modality``, ``series_description``, ``series_number``, ``series_uid``, ``study_uid``, ``frame_of_reference_uid``,
    ``age`` (years), ``sex`` (F or M), ``weight_kg``, ``manufacturer``, ``scanner``, ``scanner_software``,
    ``field_strength_t``, ``tr_ms``, ``te_ms``, ``ti_ms``, ``echoes`` (if there are several, the first is read),
    ``synthetic`` (True where the file says so), but never who the patient is or on which day. A PET (PT) becomes SUVbw
    if its tags allow (``suv_factor``; kept in ``meta``), else ``no_suv`` says why not; ``units`` says what it is.

    Args:
        path: the file; its name does not matter, except that a NIfTI pair (.hdr, .img) needs both files beside each
            other. Or a folder of DICOM files.
        series: which DICOM series, where a folder has several: its number, its UID or part of its description.
            Other formats have no series.

    Returns:
        The scan, with float32 data.

    Raises:
        InputError: if the file is missing, empty, incomplete, a folder without a DICOM series that can be chosen, not
            an image, not one 3-D scalar volume of at least 8 voxels along each axis with even distances between its
            slices, constant, or has no finite voxel or no usable geometry.
    """
    path = Path(path)
    if path.is_dir():
        return _read_series(path, series)
    path = _beside(path, "img", "hdr") or path  # of a NIfTI pair either file may be given
    try:
        with path.open("rb") as file:
            head = file.read(4096)
            size = file.seek(0, 2)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the name.") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from None
    if size == 0:
        raise InputError(f"{path} is empty; copy or export it again.")

    kind = _kind(head, path)
    if kind == "dicom":
        return _read_series(path, series)
    if kind in ("nrrd", "metaimage"):
        data, affine, meta = _read_itk(path, kind, head)
    else:
        data, affine, meta = _read_nibabel(path, kind)
    return _checked(data, affine, meta, path)


def _read_series(path: Path, series: str | None) -> Scan:
    from .dicom.volume import read_dicom

    data, affine, meta = read_dicom(path, series)
    _check_shape(data.shape, path)
    return _checked(data, affine, meta, path)


def _kind(head: bytes, path: Path) -> str:
    """Which format the first bytes announce: nifti, nifti-pair, mgh, nrrd, metaimage, dicom; each may be gzipped."""
    if head[:2] == b"\x1f\x8b":
        try:
            head = zlib.decompressobj(31).decompress(head, 4096)
        except zlib.error:
            raise InputError(f"{path} is damaged: its compressed data can't be unpacked; copy it again.") from None
    if head[:4] in (*_NIFTI_1, *_NIFTI_2):
        magic = head[4:8] if head[:4] in _NIFTI_2 else head[344:348]
        if magic[:3] in (b"n+1", b"n+2"):
            return "nifti"
        if magic[:3] in (b"ni1", b"ni2"):
            return "nifti-pair"
        raise InputError(
            f"{path} is an old Analyze file, which doesn't say which side is left; convert it to NIfTI from its source."
        )
    if head[:4] == b"NRRD":
        return "nrrd"
    if re.match(rb"\s*(ObjectType|NDims|Comment)\s*=", head):
        return "metaimage"
    if head[:4] == b"\0\0\0\1":
        return "mgh"
    if is_dicom(head):
        return "dicom"
    others = {
        f"a MINC file; convert it to {_FORMATS}": head[:3] == b"CDF" or head[:4] == b"\x89HDF",
        f"an ECAT file; convert it to {_FORMATS}": head[:6] == b"MATRIX",
    }
    for what, found in others.items():
        if found:
            raise InputError(f"{path} is {what}.")
    raise InputError(f"{path} is not an image that can be read here; give {_FORMATS}.")


def _bytes_of(path: Path) -> bytes:
    """The file's content, unpacked if it is gzipped, and complete (the checksum at its end has been compared)."""
    raw = path.read_bytes()
    return _unpacked(raw, path) if raw[:2] == b"\x1f\x8b" else raw


def _unpacked(raw: bytes, path: Path) -> bytes:
    """A gzip file's content, of all its members, or that of a zlib stream; what follows is ignored."""
    parts, total = [], 0
    try:
        while not parts or raw[:2] == b"\x1f\x8b":
            unpacker = zlib.decompressobj(47)  # either format
            while raw and not unpacker.eof:
                part = unpacker.decompress(raw, 1 << 26)
                parts.append(part)
                total += len(part)
                if total > _MAX_BYTES:
                    raise InputError(f"{path} unpacks to more than 4 GiB, which can't be one scan of a head.")
                raw = unpacker.unconsumed_tail if not unpacker.eof else unpacker.unused_data
            if not unpacker.eof:
                raise InputError(f"{path} is incomplete: its compressed data end too early; copy it again.")
    except zlib.error:
        raise InputError(f"{path} is damaged: its compressed data can't be unpacked; copy it again.") from None
    return b"".join(parts)


def _read_nibabel(path: Path, kind: str) -> tuple[np.ndarray, np.ndarray, dict]:
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        if kind == "nifti-pair":
            voxels = _beside(path, "hdr", "img")
            if voxels is None:
                raise InputError(f"{path} is incomplete or damaged: the .img file beside it is missing; copy both.")
            header, voxels = _bytes_of(path), _bytes_of(voxels)
            two = header[:4] in _NIFTI_2
            files = {
                "header": nib.FileHolder(fileobj=BytesIO(header)),
                "image": nib.FileHolder(fileobj=BytesIO(voxels)),
            }
            image = (nib.Nifti2Pair if two else nib.Nifti1Pair).from_file_map(files)
        else:
            stream = BytesIO(_bytes_of(path))
            if kind == "mgh":
                image = nib.MGHImage.from_stream(stream)
            else:
                two = stream.getvalue()[:4] in _NIFTI_2
                image = (nib.Nifti2Image if two else nib.Nifti1Image).from_stream(stream)
        _check_shape(image.shape, path)
        _check_dtype(image.get_data_dtype(), path)
        data = np.asarray(image.dataobj)
    except InputError:
        raise
    except (
        ImageFileError,
        HeaderDataError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
    ) as error:
        raise InputError(f"{path} is incomplete or damaged ({_first_line(error)}); copy or export it again.") from None
    meta = {"format": {"mgh": "MGH"}.get(kind, "NIfTI"), "stored_dtype": str(image.get_data_dtype())}
    if kind != "mgh":
        meta.update(_nifti_meta(image))
    elif stream.getvalue()[28:30] == b"\0\0":  # goodRASFlag, which nibabel sets where it isn't
        meta["no_orientation"] = True
    affine = image.affine
    return data, affine, meta


def _beside(path: Path, ending: str, other: str) -> Path | None:
    """The other file of a NIfTI pair; None if this one is named otherwise or the other is missing."""
    stem = re.fullmatch(rf"(.+)\.{ending}(\.gz)?", path.name, re.IGNORECASE)
    if stem is None or not path.parent.is_dir():
        return None
    wanted = {f"{stem[1]}.{other}".lower(), f"{stem[1]}.{other}.gz".lower()}
    return next((found for found in sorted(path.parent.iterdir()) if found.name.lower() in wanted), None)


def _nifti_meta(image: nib.Nifti1Image) -> dict:
    header, meta = image.header, {}
    description = bytes(header["descrip"]).split(b"\0")[0].decode("latin-1").strip()
    if description:
        meta["description"] = description
    return meta | nifti_contradictions(header, image.shape)


def _read_itk(path: Path, kind: str, head: bytes) -> tuple[np.ndarray, np.ndarray, dict]:
    import SimpleITK as sitk

    if head[:2] == b"\x1f\x8b":
        raise InputError(f"{path} is a gzipped {kind.upper()} file; unpack it first.")
    packed = _packed_voxels(path, kind)
    if packed is not None:
        _unpacked(packed, path)  # ITK doesn't compare the checksum
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if kind == "nrrd" else "MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if reader.GetNumberOfComponents() != 1:
            raise InputError(f"{path} has {reader.GetNumberOfComponents()} values per voxel; give a scalar volume.")
        _check_shape(reader.GetSize(), path)
        image = reader.Execute()
    except RuntimeError as error:
        what = f" ({_first_line(error)})" if kind == "nrrd" else ""  # of a MetaImage ITK says nothing of use
        raise InputError(f"{path} is incomplete or damaged{what}; copy or export it again.") from None
    if image.GetDimension() > 3:
        image = image[tuple([slice(None)] * 3 + [0] * (image.GetDimension() - 3))]
    meta = {"format": "NRRD" if kind == "nrrd" else "MetaImage", "stored_dtype": image.GetPixelIDTypeAsString()}
    anatomical = (
        rb"^space: *(left|right|lps|ras|las)" if kind == "nrrd" else rb"^(TransformMatrix|Orientation|Rotation)"
    )
    if not re.search(anatomical, head, re.MULTILINE | re.IGNORECASE):
        meta["no_orientation"] = True
    scan = Scan.from_sitk(image)
    affine = nrrd_affine(re.split(rb"\r?\n\r?\n", path.read_bytes(), maxsplit=1)[0]) if kind == "nrrd" else None
    return scan.data, scan.affine if affine is None else affine, meta


def _packed_voxels(path: Path, kind: str) -> bytes | None:
    """The compressed voxels of a NRRD or MetaImage, in the file itself or in another; None if not compressed."""
    raw = path.read_bytes()
    if kind == "nrrd":
        end = re.search(rb"\r?\n\r?\n|\Z", raw)
        header, packed = raw[: end.start()], re.search(rb"^encoding: *(gz|gzip)\s*$", raw[: end.start()], re.M | re.I)
        beside = re.search(rb"^data ?file: *(.+?)\s*$", header, re.M | re.I)
    else:
        end = re.search(rb"^\s*ElementDataFile\s*=\s*(.+?)\s*?(\n|\Z)", raw, re.M)
        if end is None:
            return None
        packed = re.search(rb"^\s*CompressedData\s*=\s*True", raw[: end.start()], re.M | re.I)
        beside = None if end[1].upper() == b"LOCAL" else end
    if not packed:
        return None
    if beside is None:
        return raw[end.end() :]
    name = beside[1].decode("utf-8", "replace")
    if name.upper().startswith("LIST") or "%" in name:
        raise InputError(f"{path} has its voxels in several compressed files; save it as one file.")
    try:
        return (path.parent / name).read_bytes()
    except OSError:
        raise InputError(f"{path} is incomplete: its voxels should be in {name}, which can't be read.") from None


def _first_line(error: Exception) -> str:
    """The last clause of what a reader said, short enough for one sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:120].rstrip(".")


def _check_shape(shape: tuple[int, ...], path: Path) -> None:
    if len(shape) > 3 and int(np.prod(shape[3:])) != 1:
        raise InputError(f"{path} holds {int(np.prod(shape[3:]))} volumes; give one 3-D volume.")
    sides = "×".join(str(n) for n in shape[:3])
    if len(shape) < 3 or min(shape[:3]) < _MIN_SIDE:
        raise InputError(f"{path} is {sides} voxels, a slice and not a volume; give a whole head.")
    if int(np.prod([int(n) for n in shape[:3]], dtype=object)) * 8 > _MAX_BYTES:
        raise InputError(f"{path} claims {sides} voxels, more than any scan of a head; its header is damaged.")


def _check_dtype(dtype: np.dtype, path: Path) -> None:
    if dtype.fields:
        raise InputError(f"{path} has {len(dtype.fields)} values per voxel (a colour image); give a scalar volume.")
    if dtype.kind not in "iufb":
        raise InputError(f"{path} holds voxels of type {dtype}, which are not plain numbers; give a scalar volume.")


def _checked(data: np.ndarray, affine: np.ndarray, meta: dict, path: Path) -> Scan:
    """The scan, after the checks that need its voxels."""
    while data.ndim > 3:
        data = data[..., 0]
    affine = np.asarray(affine, dtype=np.float64)
    steps = np.linalg.norm(affine[:3, :3], axis=0) if np.isfinite(affine).all() else np.zeros(3)
    if steps.min() < 1e-3 or steps.max() > 100 or abs(np.linalg.det(affine[:3, :3] / steps)) < 1e-2:
        raise InputError(f"{path} has no usable voxel size or orientation in its header; export it again.")
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite and is treated as such
        data = np.array(data, dtype=np.float32)
    if not np.isfinite(data).any():
        raise InputError(f"{path} has no finite voxel (all are NaN or infinite); export it again.")
    data, holes = without_holes(data)
    if holes is not None:
        meta["nonfinite_voxels"] = int(np.count_nonzero(holes))
    if data.min() == data.max():
        raise InputError(f"{path} has the same value ({data.flat[0]:g}) in every voxel; there is no image in it.")
    return Scan(data, affine, str(path), meta, holes)
