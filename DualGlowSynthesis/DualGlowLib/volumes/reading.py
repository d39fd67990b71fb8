"""Read one 3-D scalar volume from a file or a DICOM series, by its content and not by its name.

ITK's readers return wrong voxels for some damaged files without an error: a NIfTI whose gzip stream is cut is filled
up with whatever was in memory, one with nothing but a header becomes an all-zero volume. So what a header claims is
compared with what the file holds first (``headers``); then NIfTI and MGH are decoded with nibabel, DICOM with pydicom
(``dicom.volume``), and only NRRD and MetaImage go through ITK.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .contradictions import in_millimetres, nifti_contradictions, nrrd_affine
from .dicom.file import is_dicom
from .headers import (
    NIFTI_1,
    NIFTI_2,
    check_regular,
    check_shape,
    first_bytes,
    of_metaimage,
    of_mgh,
    of_nifti,
    of_nrrd,
    unpacked,
)
from .scan import Scan, without_holes

if TYPE_CHECKING:
    import nibabel as nib

    from .dicom.series import Series

__all__ = ["checked_scan", "read_scan", "read_volumes", "scan_shape", "volume_count"]

_ROUNDED = 0.01  # how much longer than 1 a unit quaternion may be that was rounded on its way
_UNITS = {1: 1e3, 3: 1e-3}  # millimetres of NIfTI's codes for metres and micrometres
_SLICES = 16  # read at once: as many float32 as the processor fetches together
_FORMATS = "NIfTI, NRRD, MetaImage (.mha), FreeSurfer .mgz or DICOM"


def read_scan(path: str | Path, series: str | Series | None = None, pet: bool = False) -> Scan:
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
        series: which DICOM series, where a folder has several: its number, its UID or part of its description;
            or one that ``find_series`` has found. Other formats have none.
        pet: whether a PET is wanted: then of several DICOM series it is chosen, and not the T1.

    Returns:
        The scan, with float32 data.

    Raises:
        InputError: if the file is missing, empty, incomplete, a folder without a DICOM series that can be chosen, not
            an image, not one 3-D scalar volume of at least 8 voxels along each axis with even distances between its
            slices, constant, or has no finite voxel or no usable geometry; or if a series is named in another format
            than DICOM.
    """
    path = Path(path)
    if path.is_dir():
        return _read_series(path, series, pet)
    path = _beside(path, "img", "hdr") or path  # of a NIfTI pair either file may be given
    kind, head = _opened(path)
    if kind == "dicom":
        return _read_series(path, series, pet)
    if series is not None:
        raise InputError(f"{path} is not DICOM, so there is no series {series!r} in it; name none.")
    if kind in ("nrrd", "metaimage"):
        data, affine, meta = _read_itk(path, kind, head)
    else:
        (data,), affine, meta = _read_nibabel(path, kind, head)
    return checked_scan(data, affine, meta, path)


def volume_count(path: Path) -> int:
    """How many volumes a NIfTI file holds, by its header; 1 of other formats.

    Raises:
        InputError: as ``read_scan``, for what a header shows.
    """
    path = _beside(path, "img", "hdr") or path
    kind, head = _opened(path)
    return math.prod(of_nifti(head, path).shape[3:]) if kind.startswith("nifti") else 1


def read_volumes(path: Path, volumes: Sequence[int]) -> list[Scan]:
    """Some volumes of a NIfTI file of several, by their numbers from 0; each as ``read_scan`` gives one.

    Raises:
        InputError: as ``read_scan``.
    """
    path = _beside(path, "img", "hdr") or path
    kind, head = _opened(path)
    found, affine, meta = _read_nibabel(path, kind, head, volumes)
    return [
        checked_scan(data, affine, dict(meta), f"{path}, frame {k + 1},")
        for k, data in zip(volumes, found, strict=True)
    ]


def scan_shape(path: Path) -> tuple[int, ...]:
    """The shape of the volume that a file holds, from its header alone and without unpacking it.

    Of DICOM, the series of the file.

    Raises:
        InputError: as ``read_scan``, for what a header shows.
    """
    path = _beside(path, "img", "hdr") or path
    kind, head = _opened(path)
    if kind == "dicom":
        from .dicom.volume import check_series

        return check_series(path).shape
    if kind in ("nrrd", "metaimage"):
        return (of_nrrd if kind == "nrrd" else of_metaimage)(path)
    announced = (of_mgh if kind == "mgh" else of_nifti)(head, path)
    check_shape(announced.shape, path)
    return announced.shape


def _opened(path: Path) -> tuple[str, bytes]:
    """A file's format, and its first bytes, unpacked if they are gzipped."""
    check_regular(path)
    try:
        head = first_bytes(path)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from None
    except zlib.error:
        raise InputError(f"{path} is damaged: its compressed data can't be unpacked; copy it again.") from None
    return _kind(head, path), head


def _read_series(path: Path, series: str | Series | None, pet: bool) -> Scan:
    from .dicom.volume import read_dicom

    data, affine, meta = read_dicom(path, series, pet)
    check_shape(data.shape, path)
    return checked_scan(data, affine, meta, path)


def _kind(head: bytes, path: Path) -> str:
    """Which format the first bytes announce: nifti, nifti-pair, mgh, nrrd, metaimage or dicom."""
    size, dicom = head[:4], is_dicom(head)
    if size in (*NIFTI_1, *NIFTI_2):
        magic = head[4:8] if size in NIFTI_2 else head[344:348]
        if magic[:3] in (b"n+1", b"n+2"):
            return "nifti"
        if magic[:3] in (b"ni1", b"ni2"):
            return "nifti-pair"
        if not dicom:  # its preamble may hold anything; some scanners' begins with 348, as an Analyze header
            raise InputError(
                f"{path} is an old Analyze file, which doesn't say which side is left; convert it to NIfTI from its "
                "source."
            )
    if head[:4] == b"NRRD":
        return "nrrd"
    if re.match(rb"\s*(ObjectType|NDims|Comment)\s*=", head):
        return "metaimage"
    if dicom:
        return "dicom"
    if head[:4] == b"\0\0\0\1":
        return "mgh"
    others = {
        f"a MINC file; convert it to {_FORMATS}": head[:3] == b"CDF" or head[:4] == b"\x89HDF",
        f"an ECAT file; convert it to {_FORMATS}": head[:6] == b"MATRIX",
    }
    for what, found in others.items():
        if found:
            raise InputError(f"{path} is {what}.")
    raise InputError(f"{path} is not an image that can be read here; give {_FORMATS}.")


def _read_nibabel(
    path: Path, kind: str, head: bytes, volumes: Sequence[int] | None = None
) -> tuple[list[np.ndarray], np.ndarray, dict]:
    """Voxels, affine and ``meta``: of the one volume that there must be, or of some of several."""
    import nibabel as nib

    announced, meta = (of_mgh if kind == "mgh" else of_nifti)(head, path), {}
    place = path
    if kind == "nifti-pair":
        place = _beside(path, "hdr", "img")
        if place is None:
            raise InputError(f"{path} is incomplete or damaged: the .img file beside it is missing; copy both.")
    try:
        if kind == "mgh":
            check_shape(announced.shape, path)
            image = nib.MGHImage.from_stream(unpacked(path, announced.end))
        else:
            two = head[:4] in NIFTI_2
            header, meta = _mended(
                (nib.Nifti2Header if two else nib.Nifti1Header)(head[: 540 if two else 348], check=False)
            )
            _check_dtype(header.get_data_dtype(), path)
            check_shape(announced.shape if volumes is None else announced.shape[:3], path)
            content, block = unpacked(place, announced.end), header.binaryblock + b"\0\0\0\0"  # no extensions
            if kind == "nifti-pair":
                files = {"header": nib.FileHolder(fileobj=BytesIO(block)), "image": nib.FileHolder(fileobj=content)}
                image = (nib.Nifti2Pair if two else nib.Nifti1Pair).from_file_map(files)
            else:
                content.getbuffer()[: len(block)] = block
                image = (nib.Nifti2Image if two else nib.Nifti1Image).from_stream(content)
        _check_dtype(image.get_data_dtype(), path)
        data = [_some_by_some(image, volume) for volume in volumes or (0,)]
        stored = str(image.get_data_dtype())
        affine = image.affine
        if kind != "mgh":
            affine = in_millimetres(affine, _UNITS.get(int(image.header["xyzt_units"]) & 7, 1.0))
            meta = {**_nifti_meta(image), **meta}
    except InputError:
        raise
    except Exception as error:  # whatever nibabel makes of garbage
        raise InputError(f"{path} is incomplete or damaged ({_first_line(error)}); copy or export it again.") from None
    if kind == "mgh" and head[28:30] == b"\0\0":  # goodRASFlag, which nibabel sets where it isn't
        meta["no_orientation"] = True
    return data, affine, {"format": {"mgh": "MGH"}.get(kind, "NIfTI"), "stored_dtype": stored, **meta}


def _some_by_some(image: nib.spatialimages.SpatialImage, volume: int) -> np.ndarray:
    """float32 voxels of a volume, some slices at once; scaled, all would take eight bytes a voxel more."""
    data = np.empty(image.shape[:3], np.float32)
    which = np.unravel_index(volume, image.shape[3:], order="F") if image.shape[3:] else ()
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 becomes infinite and is treated as such
        for k in range(0, data.shape[2], _SLICES):
            some = slice(k, k + _SLICES)
            data[:, :, some] = image.dataobj[(slice(None), slice(None), some, *which)]
    return data


def _mended(header: nib.Nifti1Header) -> tuple[nib.Nifti1Header, dict]:
    """A NIfTI header without what stops nibabel and is clear all the same; and what to know of it."""
    dim, meta = header["dim"], {}
    unused = np.arange(8) > 3
    dim[unused & (dim == 0)] = 1  # some programs write 0 for axes that there are none of
    header["dim"] = dim
    quaternion = np.array([float(header[f"quatern_{axis}"]) for axis in "bcd"])
    length = float(np.linalg.norm(quaternion))
    if int(header["qform_code"]) > 0 and not length <= 1:
        if length < 1 + _ROUNDED:  # w is 0, as it is for every turn by 180°
            for axis, value in zip("bcd", quaternion / length * (1 - 1e-7), strict=True):
                header[f"quatern_{axis}"] = value
        elif int(header["sform_code"]) > 0:
            header["qform_code"] = 0
            meta["unusable_qform"] = True
    return header, meta


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

    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"  # ``head`` is what is in it
    if packed:
        raise InputError(f"{path} is a gzipped {kind.upper()} file; unpack it first.")
    (of_nrrd if kind == "nrrd" else of_metaimage)(path)  # ITK compares neither sizes nor checksums
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if kind == "nrrd" else "MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if reader.GetNumberOfComponents() != 1:
            raise InputError(f"{path} has {reader.GetNumberOfComponents()} values per voxel; give a scalar volume.")
        check_shape(reader.GetSize(), path)
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
    affine = nrrd_affine(_header_of_text(path)) if kind == "nrrd" else None
    return scan.data, scan.affine if affine is None else affine, meta


def _header_of_text(path: Path) -> bytes:
    with path.open("rb") as file:
        return re.split(rb"\r?\n\r?\n", file.read(1 << 20), maxsplit=1)[0]


def _first_line(error: Exception) -> str:
    """The last clause of what a reader said, short enough for one sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:120].rstrip(".")


def _check_dtype(dtype: np.dtype, path: Path) -> None:
    if dtype.fields:
        raise InputError(f"{path} has {len(dtype.fields)} values per voxel (a colour image); give a scalar volume.")
    if dtype.kind not in "iufb":
        raise InputError(f"{path} holds voxels of type {dtype}, which are not plain numbers; give a scalar volume.")


def checked_scan(data: np.ndarray, affine: np.ndarray, meta: dict, path: Path | str) -> Scan:
    """The scan, after the checks that need its voxels; ``path`` names it in messages.

    Raises:
        InputError: as ``read_scan``.
    """
    while data.ndim > 3:
        data = data[..., 0]
    affine = np.asarray(affine, dtype=np.float64)
    steps = np.linalg.norm(affine[:3, :3], axis=0) if np.isfinite(affine).all() else np.zeros(3)
    if steps.min() < 1e-3 or steps.max() > 100 or abs(np.linalg.det(affine[:3, :3] / steps)) < 1e-2:
        raise InputError(f"{path} has no usable voxel size or orientation in its header; export it again.")
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite and is treated as such
        data = np.asarray(data, dtype=np.float32)
    if not np.isfinite(data.min()) and not np.isfinite(data).any():
        raise InputError(f"{path} has no finite voxel (all are NaN or infinite); export it again.")
    data, holes = without_holes(data)
    if holes is not None:
        meta["nonfinite_voxels"] = int(np.count_nonzero(holes))
    if data.min() == data.max():
        raise InputError(f"{path} has the same value ({data.flat[0]:g}) in every voxel; there is no image in it.")
    return Scan(data, affine, str(path), meta, holes)
