"""A DICOM series as one volume: the order of its slices, their place in the patient, their values."""

from __future__ import annotations

import math
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from ...spellings import YEARS_PER_UNIT
from ..affines import from_matvec
from ..headers import first_bytes
from ..scan import LPS
from .file import DAMAGE, DICOMDIR, HEAD, is_dicom, is_marked, number, read_dataset, save_dataset, text
from .series import Frame, Series, choose_series, list_series, not_fetched
from .suv import attenuation_corrected, stated_units, suv_factors

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["check_series", "find_series", "person_in", "read_dicom", "read_series", "stack"]

_PIXELS = re.findall(
    r"\w+",
    "Rows Columns SamplesPerPixel NumberOfFrames BitsAllocated BitsStored HighBit PixelRepresentation PixelData",
)
_NATIVE = [f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2")]  # transfer syntaxes without compression
_MOST = 1 << 28  # voxels
_SAME_PLACE = 0.01  # millimetres; closer slices lie at one position
_UNEVEN = 0.05  # of a slice's distance to the next: what rounded positions and table wobble may be off


def read_dicom(
    path: Path, series: str | Series | None = None, pet: bool = False
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Voxels indexed [i, j, k] (column, row, slice), affine to RAS millimetres and ``meta``; see ``read_scan``.

    Args:
        path: a folder, or one DICOM file of the series.
        series, pet: which, as for ``choose_series``.

    Raises:
        InputError: as ``read_scan``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on values that break a rule of the standard
        return read_series(find_series(path, series, pet), path)


def read_series(
    chosen: Series, path: Path, acquired: Sequence[Frame] | None = None
) -> tuple[np.ndarray, np.ndarray, dict]:
    """``read_dicom`` of a series that is known; ``acquired`` is what it is a part of (``suv_factors``)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames, affine = stack(chosen, path)
        data = _values(frames)
        meta = _meta(chosen, frames)
        if chosen.modality == "PT":
            meta["units"] = stated_units(frames[0].header)
            if "synthetic" not in meta:
                factors, reason = suv_factors(frames, acquired)
                if factors is None:
                    meta["no_suv"] = reason
                else:
                    data *= factors.astype(np.float32)  # the slices are the last axis
                    meta.update(units="SUVbw", suv_factor=float(np.median(factors)))
    return data, affine, meta


def check_series(path: Path, series: str | Series | None = None, pet: bool = False) -> Series:
    """The series that a path means, if its headers say that it is one volume.

    Raises:
        InputError: as ``read_scan``, for what a header shows.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen = find_series(path, series, pet)
        stack(chosen, path)
    return chosen


def person_in(folder: Path) -> dict[str, str]:
    """Age in years and sex (F or M) as the first DICOM file in a folder states them; what it doesn't is left out.

    Args:
        folder: searched with the folders inside it; or a DICOM file.
    """
    for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
        try:
            if path.is_file() and is_dicom(head := first_bytes(path, HEAD)) and DICOMDIR not in head:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    header = read_dataset(path, stop_before_pixels=True)
                    age, sex = _age(header), text(header, "PatientSex")
                return ({} if age is None else {"age": f"{age:g}"}) | ({"sex": sex} if sex in ("F", "M") else {})
        except Exception:  # whatever pydicom makes of garbage; the checks of the series say what is wrong
            continue
    return {}


def find_series(path: Path, series: str | Series | None = None, pet: bool = False) -> Series:
    """The series that a path means: of a folder the chosen one, of a file its own; one that was found before, itself.

    A multi-frame file is a volume of its own, whatever else its series holds.

    Raises:
        InputError: if there is none, several may be meant, or the file is damaged or no image.
    """
    if isinstance(series, Series):
        return series
    if path.is_dir():
        return choose_series(list_series(path), path, series, pet)
    try:
        head = first_bytes(path, HEAD)
        if not is_dicom(head):
            raise InputError(f"{path} is not DICOM; give the folder of the DICOM series.")
        if DICOMDIR in head:
            raise InputError(f"{path} is a DICOMDIR, a list of DICOM files; give the folder that holds the images.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = read_dataset(path, stop_before_pixels=True)
            uid, name = text(dataset, "SeriesInstanceUID"), dataset.SOPClassUID.name.removesuffix(" Storage")
    except InputError:
        raise
    except Exception:  # whatever gzip, struct and pydicom make of garbage
        raise InputError(f"{path} is incomplete or damaged DICOM; copy or export it again.") from None
    if "Rows" not in dataset and "Image" not in name:
        name = re.sub(r"[^ -~]", "?", name)
        raise InputError(f"{path} is DICOM but no image ({name}); give the series of the T1.")
    found = list_series(path.parent, recursive=False)
    if series is not None:
        return choose_series(found, path.parent, series)
    own = next((s for s in found if path in s.files or (uid and s.uid == uid)), None)
    if own is None or path in own.damaged:
        raise InputError(f"{path} is incomplete or damaged DICOM; copy or export it again.")
    if (number(dataset, "NumberOfFrames") or 1) > 1:
        frames = tuple(frame for frame in own.frames if frame.file == path)
        return replace(own, files=(path,), frames=frames, shape=(*own.shape[:2], len(frames)))
    return own


def stack(series: Series, path: Path) -> tuple[list[Frame], np.ndarray]:
    """The slices of one volume in order along their normal, and the affine from (column, row, slice) to RAS.

    Distances between slices come from their positions alone, so a gap between thick slices and the shear of a tilted
    gantry are kept. Of magnitude and phase images the magnitude is taken, of several echoes the first.

    Raises:
        InputError: if the slices are no volume: a localizer, several time frames, a missing slice, uneven distances.
    """
    where, frames = f"{path}, series {series},", list(series.frames)
    if series.damaged:
        raise InputError(f"{series.damaged[0]} is incomplete or damaged DICOM; copy or export it again.")
    if series.unfetched:
        raise InputError(not_fetched(where.rstrip(","), series.unfetched))
    header = series.header
    if (number(header, "SamplesPerPixel") or 1) > 1 or text(header, "PhotometricInterpretation") == "PALETTE COLOR":
        raise InputError(f"{where} is a colour image; give the series of the scan itself.")
    if any("MOSAIC" in frame.kind for frame in frames):
        raise InputError(f"{where} is a mosaic of many slices in one picture; convert it to NIfTI or give the T1.")
    if any(f.position is None or f.axes is None or f.spacing is None for f in frames):
        raise InputError(f"{where} doesn't say where each slice lies in the patient; export the original images.")
    if len({(int(f.header.Rows), int(f.header.Columns), *np.round(f.spacing, 3)) for f in frames}) > 1:
        raise InputError(f"{where} has slices of different sizes; give one volume.")
    axes = frames[0].axes
    if max(np.abs(frame.axes - axes).max() for frame in frames) > 1e-3:
        raise InputError(f"{where} has slices in several directions (a localizer?); give one volume.")
    frames = _one_volume(frames, where)
    depths = np.array([frame.depth for frame in frames])
    gaps = np.diff(depths)
    if len(frames) < 2:
        raise InputError(f"{where} is a single slice and not a volume; give a whole head.")
    if gaps.min() < _SAME_PLACE:
        places = 1 + int(np.count_nonzero(gaps >= _SAME_PLACE))
        raise InputError(
            f"{where} holds {len(frames)} images of {places} slices (time frames, phases or copies); give one volume, "
            "such as the mean of a PET's frames."
        )

    positions = np.stack([frame.position for frame in frames])
    step = (positions[-1] - positions[0]) / (len(frames) - 1)
    astray = np.linalg.norm(positions - positions[0] - np.arange(len(frames))[:, None] * step, axis=1).max()
    if astray > max(_UNEVEN * np.linalg.norm(step), _SAME_PLACE):
        multiples = gaps / np.median(gaps)
        if np.abs(multiples - np.round(multiples)).max() < 2 * _UNEVEN:
            after = frames[int(np.argmax(multiples > 1.5))].file.name
            missing = int(np.sum(np.round(multiples) - 1))
            raise InputError(f"{where} lacks {missing} slice(s), the first after {after}; copy or export it again.")
        raise InputError(
            f"{where} has slices at uneven distances ({gaps.min():.2f} to {gaps.max():.2f} mm); give a volume that has "
            "been resampled to even ones."
        )
    if series.shape[0] * series.shape[1] * len(frames) > _MOST:
        raise InputError(f"{where} has {series.shape[0]}×{series.shape[1]} pixels a slice, too many for a head.")
    columns, rows = frames[0].spacing
    linear = np.stack([axes[0] * columns, axes[1] * rows, step], axis=1)
    return frames, LPS @ from_matvec(linear, positions[0])


def _one_volume(frames: list[Frame], where: str) -> list[Frame]:
    """Where several images lie at one position: the magnitude images, then the first echo.

    Raises:
        InputError: if the images at different positions are of two kinds.
    """
    every = _places(frames)
    for kept in (
        [frame for frame in frames if frame.magnitude],
        [frame for frame in frames if frame.echo == min((f.echo for f in frames if f.echo is not None), default=None)],
    ):
        if kept and _repeats(frames):
            frames = kept
    if missing := every - _places(frames):
        raise InputError(
            f"{where} lacks {missing} slice(s), of which it has only the phase image or a later echo; copy or export "
            "it again."
        )
    for what, kind in (
        ("phase, real or imaginary images", lambda frame: not frame.magnitude),
        ("another echo time", lambda frame: round(frame.echo or 0.0, 1)),
        ("another Image Type", lambda frame: frame.kind[2:] if text(frame.header, "Modality") == "MR" else ()),
    ):
        counts = Counter(map(kind, frames))
        if len(counts) > 1:
            usual = False if False in counts else counts.most_common(1)[0][0]
            others = [frame for frame in frames if kind(frame) != usual]
            raise InputError(
                f"{where} has slices of two kinds, which are no volume: {len(others)} of {len(frames)} are "
                f"{what if what.startswith('phase') else 'of ' + what}, the first {others[0].file.name}; give the "
                "slices of one kind."
            )
    return frames


def _places(frames: list[Frame]) -> int:
    """How many positions the slices have, which come in the order of their depths."""
    return 1 + int(np.count_nonzero(np.diff([frame.depth for frame in frames]) >= _SAME_PLACE))


def _repeats(frames: list[Frame]) -> bool:
    return bool((np.diff([frame.depth for frame in frames]) < _SAME_PLACE).any())


def _values(frames: list[Frame]) -> np.ndarray:
    """float32 (columns, rows, slices), scaled; pixels that are mere padding are 0."""
    header = frames[0].header
    rows, columns = int(header.Rows), int(header.Columns)
    data = np.empty((len(frames), rows, columns), np.float32)
    in_file: dict[Path, list[tuple[int, Frame]]] = {}
    for k, frame in enumerate(frames):
        in_file.setdefault(frame.file, []).append((k, frame))
    for file, members in in_file.items():
        pixels, padding = _stored(file)
        for k, frame in members:
            if pixels.shape[1:] != (rows, columns) or frame.index >= len(pixels):
                raise InputError(f"{file} is incomplete or damaged DICOM; copy or export it again.")
            plane = pixels[frame.index]
            data[k] = plane * np.float32(frame.slope) + np.float32(frame.intercept)
            if padding is not None:
                data[k][plane == padding] = 0
    return data.transpose(2, 1, 0)


def _stored(path: Path) -> tuple[np.ndarray, float | None]:
    """Stored pixel values (frames, rows, columns), and the one that marks padding.

    They are what the rescale slope and intercept are meant for, also where the photometric interpretation is
    MONOCHROME1: that says how to show them (PS3.3 C.7.6.3.1.2).
    """
    try:
        more = ["PhotometricInterpretation", "PixelPaddingValue", "FloatPixelData", "DoubleFloatPixelData"]
        dataset = read_dataset(path, specific_tags=[*_PIXELS, *more])  # to skip the rest is faster
        list(dataset)  # to know now that they can be read
        if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
            raise ValueError("no pixel data")
        native = dataset.file_meta.TransferSyntaxUID in _NATIVE
        claimed = math.prod(
            number(dataset, key) or 1.0 for key in ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames")
        )
        if claimed > _MOST:
            raise ValueError("more pixels than any scan has")
        stored, high = number(dataset, "BitsStored"), number(dataset, "HighBit")
        if native:  # pydicom 3 drops the other bits, but not rightly where the pixel isn't in the lowest ones
            dataset.BitsStored, dataset.HighBit = dataset.BitsAllocated, dataset.BitsAllocated - 1
    except Exception:  # whatever gzip, struct and pydicom make of garbage
        raise InputError(f"{path} is incomplete or damaged DICOM; copy or export it again.") from None
    try:
        pixels = dataset.pixel_array
    except Exception:  # pydicom has no decoder for it, or the pixel data are cut
        if native:
            raise InputError(f"{path} is incomplete DICOM: its pixel data end too early; copy it again.") from None
        pixels = _decoded_by_gdcm(dataset, path)
    pixels = _used_bits(pixels.reshape(-1, *pixels.shape[-2:]), stored, high)
    padding = number(dataset, "PixelPaddingValue")
    if padding is not None and pixels.dtype.kind in "iu":  # some programs store it signed where pixels aren't, or so
        padding = float(np.array(int(padding) % (1 << 8 * pixels.dtype.itemsize)).astype(pixels.dtype))
    return pixels, padding


def _used_bits(pixels: np.ndarray, stored: float | None, high: float | None) -> np.ndarray:
    """The bits of each pixel that hold its value; older files keep overlays in the others (PS3.5 8.1.1)."""
    allocated = pixels.dtype.itemsize * 8
    if pixels.dtype.kind not in "iu" or not stored or not 0 < stored < allocated:
        return pixels
    left = allocated - 1 - (stored - 1 if high is None else min(max(high, stored - 1), allocated - 1))
    return (pixels << int(left)) >> int(allocated - stored)


def _decoded_by_gdcm(dataset: Dataset, path: Path) -> np.ndarray:
    """Compressed pixels through ITK's GDCM, from a copy that says nothing of rescaling and MONOCHROME1.

    GDCM inverts MONOCHROME1 and applies the rescaling of the first frame to all.
    """
    import SimpleITK as sitk
    from pydicom.dataset import FileDataset
    from pydicom.uid import generate_uid

    frames = int(number(dataset, "NumberOfFrames") or 1)
    secondary_capture = "1.2.840.10008.5.1.4.1.1.7" + (".3" if frames > 1 else "")
    copy = FileDataset("", {}, file_meta=dataset.file_meta, preamble=b"\0" * 128)
    for keyword in _PIXELS:
        if keyword in dataset:
            copy[keyword] = dataset[keyword]
    copy.PhotometricInterpretation = "MONOCHROME2"
    copy.SOPClassUID, copy.SOPInstanceUID = secondary_capture, generate_uid()
    copy.file_meta.MediaStorageSOPClassUID = secondary_capture
    copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "pixels.dcm")
        reader.SetFileName(str(plain))
        try:
            save_dataset(copy, plain)
            return sitk.GetArrayFromImage(reader.Execute())
        except (RuntimeError, *DAMAGE):
            raise InputError(
                f"{path} is compressed ({dataset.file_meta.TransferSyntaxUID.name}) in a way that can't be unpacked "
                "here, or damaged; export it uncompressed."
            ) from None


def _meta(series: Series, frames: list[Frame]) -> dict:
    """What is worth keeping; nothing that names the patient or the day."""
    header = frames[0].header
    meta = {
        "format": "DICOM",
        "stored_dtype": f"{'u' if not number(header, 'PixelRepresentation') else ''}int"
        f"{number(header, 'BitsAllocated') or 16:.0f}",
        "modality": series.modality,
        "series_description": series.description,
        "series_number": series.number,
        "series_uid": series.uid,
        "study_uid": text(header, "StudyInstanceUID"),
        "frame_of_reference_uid": text(header, "FrameOfReferenceUID"),
        "age": _age(header),
        "sex": text(header, "PatientSex") if text(header, "PatientSex") in ("F", "M") else None,
        "weight_kg": number(header, "PatientWeight") or None,
        "manufacturer": text(header, "Manufacturer"),
        "scanner": text(header, "ManufacturerModelName"),
        "scanner_software": text(header, "SoftwareVersions"),
        "field_strength_t": number(header, "MagneticFieldStrength"),
        "tr_ms": number(header, "RepetitionTime"),
        "te_ms": frames[0].echo,
        "ti_ms": number(header, "InversionTime"),
    }
    echoes = {frame.echo for frame in series.frames}
    if len(echoes) > 1:
        meta["echoes"] = len(echoes)
    if is_marked(header):
        meta["synthetic"] = True
    if series.modality == "PT" and attenuation_corrected(header) is False:
        meta["attenuation_corrected"] = False
    if series.others:
        meta["chosen_from"] = series.choice
    return {key: value for key, value in meta.items() if value not in (None, "")}


def _age(header: Dataset) -> float | None:
    """Years at the time of the scan: Patient's Age as stated, else from the dates of birth and study.

    0 and more than 120 years stand for what was removed.
    """
    from datetime import datetime

    stated = re.fullmatch(r"(\d{1,4})\s*([YMWD]?)", text(header, "PatientAge").strip().upper())
    unit = {"Y": "years", "M": "months", "W": "weeks", "D": "days"}.get(stated[2]) if stated else None
    if unit and 0 < (years := int(stated[1]) * YEARS_PER_UNIT[unit]) <= 120:
        return round(years, 2)
    try:
        born, seen = (datetime.strptime(text(header, key)[:8], "%Y%m%d") for key in ("PatientBirthDate", "StudyDate"))
    except ValueError:
        # Without its letter, against the standard: years, where they could not be months of a child.
        return float(stated[1]) if stated and not unit and 18 <= int(stated[1]) <= 120 else None
    years = (seen - born).days / 365.25
    return round(years, 2) if 0 <= years < 120 else None
