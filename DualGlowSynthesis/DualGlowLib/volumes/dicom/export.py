"""Write a synthetic PET into the patient's study, as a derived DICOM series that says what it is.

The SOP class is PET Image Storage (PS3.3 A.21): viewers fuse it with the T1 as they do an acquired PET, while
Parametric Map and Enhanced PET are read by few. Its mandatory attributes of acquisition are filled with what is true
of an image that nothing was injected for: no radiopharmaceutical, no acquisition date, no decay correction.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import warnings
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ... import __version__
from ...errors import InputError
from ...outputs import NAME
from ...provenance import covariates_of
from ..affines import apply_affine, from_matvec
from ..scan import Scan
from .file import number, read_dataset, save_dataset, text
from .series import Frame, Series
from .volume import find_series, stack

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["check_export", "export_dicom"]

_LARGEST = 32767  # of the stored signed 16-bit values
_FACTS: dict[str, str] = {
    "Bundle": "bundle",
    "BundleSHA256": "SHA-256",
    "Temperature": "temperature",
    "Samples": "samples",
    "Seed": "seed",
    "Units": "values in",
}
_OFF = 0.05  # millimetres that the two lattices may lie apart, more than any file format rounds
# Of the modules Patient, General Study, Patient Study, General Series and Frame of Reference (PS3.3 C.7.1 to C.7.4).
# A PET that has Patient Orientation Codes is to have no Patient Position, but scanners write both, and converters and
# viewers look for the second alone.
_COPIED = re.findall(
    r"\w+",
    """
    SpecificCharacterSet TimezoneOffsetFromUTC StudyDate StudyTime AccessionNumber ReferringPhysicianName
    StudyDescription PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex OtherPatientIDs PatientAge
    PatientSize PatientWeight EthnicGroup PatientIdentityRemoved DeidentificationMethod
    DeidentificationMethodCodeSequence StudyInstanceUID StudyID PatientPosition FrameOfReferenceUID
    PositionReferenceIndicator
    """,
)
_MAY_BE_EMPTY = re.findall(
    r"\w+",
    """
    StudyDate StudyTime AccessionNumber ReferringPhysicianName PatientName PatientID PatientBirthDate PatientSex StudyID
    PositionReferenceIndicator
    """,
)


def export_dicom(
    scan: Scan,
    source: str | Path,
    folder: str | Path,
    description: str = "DualGlow",
    provenance: dict | None = None,
    series: str | None = None,
) -> list[Path]:
    """Write a synthetic PET as one single-frame PET image per slice of the T1 series that it was made from.

    The files belong to the T1's study and frame of reference, in a new series. They say that they are synthetic in
    Synthetic Data (0008,001C), Image Type, Series Description, Derivation Description, Image Comments and Contributing
    Equipment, and refer slice by slice to the T1. Values are stored as signed 16-bit numbers with one Rescale Slope for
    the series, which rounds them by at most 1/65534 of the largest.

    Args:
        scan: SUVR on the T1's lattice; its axes may run in another order or direction than the slices' (as those of a
            NIfTI file converted from the series do).
        source: the T1's DICOM folder, or one of its files.
        folder: where to, new or empty, or with nothing in it but an earlier PET of the same series, which is replaced;
            its parent must exist. It appears with all files in it or not at all.
        description: what the Series Description has between "SYNTHETIC FDG" and "NOT FOR DIAGNOSIS".
        provenance: ``Synthesis.provenance``; what it says of bundle, age, sex, diagnosis, temperature, samples and seed
            goes into the Derivation Description.
        series: which series of ``source`` the T1 is, as for ``read_scan``.

    Returns:
        The files, in the order of the slices along their normal.

    Raises:
        InputError: if ``source`` is no readable DICOM series, the scan lies on another lattice, that lattice is
            sheared, values are not finite, or the folder holds anything else or can't be written.
    """
    from pydicom import config

    source, folder = Path(source), Path(folder)
    _check_folder(folder)
    place = Path(os.path.realpath(folder))  # a link stays one
    temporary, former = (place.with_name(f".{secrets.token_hex(6)}.{end}") for end in ("part", "former"))
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")  # the T1 may break rules of the standard; what it says is copied as it is
        origin, frames, values = _on_series(scan, source, series)
        _check_former(folder, origin)
        slope = f"{max(float(np.abs(values).max()), 1e-6) / _LARGEST * (1 + 1e-7):.9e}"  # a DS has 16 characters
        brightest = float(np.percentile(values, 99.9))
        common = _common(origin, frames, description, provenance or {})
        try:
            temporary.mkdir()
            for k, frame in enumerate(frames):
                stored = np.round(values[:, :, k].T / float(slope)).astype("<i2")
                image = _image(common, frame, k, stored, slope, brightest if brightest > 0 else 1.0)
                save_dataset(image, temporary / f"{k + 1:04d}.dcm")
            _check_former(folder, origin)  # again: that was a while ago
            if place.is_dir():
                place.rename(former)
            try:
                temporary.rename(place)
            except OSError:
                if former.is_dir():
                    former.rename(place)
                raise
        except OSError as error:
            raise InputError(f"{folder} can't be written: {error.strerror or error}.") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            if place.is_dir():
                shutil.rmtree(former, ignore_errors=True)
    return [folder / f"{k + 1:04d}.dcm" for k in range(len(frames))]


def check_export(source: str | Path, folder: str | Path, series: str | None = None) -> None:
    """Refuse what ``export_dicom`` will refuse of its T1 and its folder, before there is a PET.

    Raises:
        InputError: as ``export_dicom``.
    """
    source, folder = Path(source), Path(folder)
    _check_folder(folder)
    if not source.exists():
        raise InputError(f"{source} does not exist; check the name.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check_former(folder, find_series(source, series))


def _check_folder(folder: Path) -> None:
    """Refuse a folder that can't be made, or that holds anything but a series that DualGlow wrote."""
    parent = Path(os.path.realpath(folder)).parent
    if not parent.is_dir():
        raise InputError(f"{folder} can't be written: the folder {parent} does not exist; make it first.")
    if not os.access(parent, os.W_OK):
        raise InputError(f"{folder} can't be written: the folder {parent} may not be written to; give another.")
    if os.path.exists(folder) and (not folder.is_dir() or not all(map(_exported_from, folder.iterdir()))):
        raise InputError(f"{folder} exists and is not an empty folder; a DICOM series needs a folder of its own.")


def _check_former(folder: Path, origin: Series) -> None:
    """Refuse to replace anything but PETs of this T1."""
    _check_folder(folder)
    if not origin.uid:
        raise InputError(
            f"{origin.files[0]} states no Series Instance UID, which a derived series has to refer to; write NIfTI "
            "instead."
        )
    if folder.is_dir() and {*map(_exported_from, folder.iterdir())} - {origin.uid}:
        raise InputError(f"{folder} holds a PET that was made from another MRI; give another folder.")


def _exported_from(path: Path) -> str:
    """The UID of the series that a file which ``export_dicom`` wrote was made from; empty for any other file."""
    try:
        header = read_dataset(path, stop_before_pixels=True)
        if (text(header, "Manufacturer"), text(header, "ManufacturerModelName")) != (NAME, NAME):
            return ""
        return text(header.ReferencedSeriesSequence[0], "SeriesInstanceUID")
    except Exception:  # whatever pydicom makes of a file that is something else
        return ""


def _on_series(scan: Scan, source: Path, series: str | None) -> tuple[Series, list[Frame], np.ndarray]:
    """The T1's series, its slices, and the scan's values indexed [column, row, slice] as the series states them."""
    if not source.exists():
        raise InputError(f"{source} does not exist; check the name.")
    origin = find_series(source, series)
    frames, affine = stack(origin, source)
    shape = (*origin.shape[:2], len(frames))
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3:
        raise InputError(f"{source} has sheared slices (a tilted gantry), which viewers misplace; write NIfTI instead.")
    turn = np.round(np.linalg.solve(affine, scan.affine)[:3, :3])
    order = np.abs(turn).argmax(axis=1)  # axis of the scan that runs along each axis of the series
    same = np.array_equal(np.abs(turn), np.eye(3)[order]) and tuple(scan.shape[axis] for axis in order) == shape
    if same:
        backwards = turn.sum(axis=1) < 0
        to_series = from_matvec(turn, np.where(backwards, np.array(shape) - 1, 0))
        corners = np.array(list(product(*[(0, n - 1) for n in scan.shape])))
        apart = apply_affine(scan.affine - affine @ to_series, corners)
        same = np.linalg.norm(apart, axis=1).max() < _OFF
    if not same:
        raise InputError(
            f"{scan.source or 'The PET'} does not lie on the voxels of {source}, series {origin}; give the very series "
            "that the PET was synthesized from."
        )
    values = np.flip(np.transpose(scan.data, order), np.flatnonzero(backwards))
    if not np.isfinite(values).all():
        raise InputError(f"{scan.source or 'The PET'} has voxels that are not finite; synthesize it again.")
    return origin, frames, values


def _common(origin: Series, frames: list[Frame], description: str, provenance: dict) -> Dataset:
    """Everything that is the same in all files of the new series."""
    from pydicom.dataset import Dataset
    from pydicom.uid import PositronEmissionTomographyImageStorage, generate_uid

    t1 = read_dataset(frames[0].file, stop_before_pixels=True)
    common = Dataset()
    for keyword in _COPIED:
        if keyword in t1:
            common[keyword] = t1[keyword]
        elif keyword in _MAY_BE_EMPTY:
            setattr(common, keyword, "")
    if not text(common, "FrameOfReferenceUID"):
        common.FrameOfReferenceUID = generate_uid()
    common.SOPClassUID = PositronEmissionTomographyImageStorage
    common.Modality = "PT"
    common.SeriesInstanceUID = generate_uid()
    common.SeriesNumber = 9000 + (origin.number or 0)
    # What the image shows is the state at the time of the MRI; nothing was acquired at any other.
    common.SeriesDate = text(t1, "SeriesDate") or text(t1, "AcquisitionDate") or text(t1, "StudyDate")
    common.SeriesTime = text(t1, "SeriesTime") or text(t1, "AcquisitionTime") or text(t1, "StudyTime")
    common.SeriesDescription = f"SYNTHETIC FDG {_ascii(description)[:32].strip()} NOT FOR DIAGNOSIS".replace("  ", " ")
    common.BodyPartExamined = "BRAIN"
    common.Manufacturer, common.ManufacturerModelName = "DualGlow", "DualGlow"
    common.SoftwareVersions = __version__

    common.add_new(0x0008001C, "CS", "YES")  # Synthetic Data; pydicom 2 has no keyword for it
    # C.8.9.4.1.1 wants PRIMARY as second value of a PET. By the general rule (C.7.6.1.1.2) this is SECONDARY, and
    # programs that look for PRIMARY, to measure acquired PET, shall not take it for one.
    common.ImageType = ["DERIVED", "SECONDARY"]
    common.DerivationDescription = _derivation(provenance)
    common.DerivationCodeSequence = [_code("DCM", "ArtificialIntelligence")]
    common.ImageComments = "SYNTHETIC, computed from an MRI. Research use only, NOT FOR DIAGNOSIS."
    common.ContributingEquipmentSequence = [_equipment()]
    common.BurnedInAnnotation = "NO"
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if text(t1, "LossyImageCompression") == "01" and keyword in t1:
            common[keyword] = t1[keyword]

    # PET Series (C.8.9.1). SUVR is one activity over another, so it has no unit: NONE. 1CM is an attenuation per
    # centimetre, GML would make viewers show it as SUV.
    common.Units = "NONE"
    common.CountsSource = "EMISSION"
    common.SeriesType = ["STATIC", "IMAGE"]
    common.NumberOfSlices = len(frames)
    spread = frames[-1].depth - frames[0].depth
    common.SliceThickness = _decimal(spread / (len(frames) - 1))
    common.CorrectedImage = None
    common.DecayCorrection = "NONE"
    common.CollimatorType = None
    common.RadiopharmaceuticalInformationSequence = []  # nothing was injected
    common.PatientOrientationCodeSequence = common.PatientGantryRelationshipCodeSequence = []  # nobody lay in a PET
    # PET Image (C.8.9.4)
    common.AcquisitionDate = common.AcquisitionTime = common.ActualFrameDuration = None
    common.FrameReferenceTime = 0
    # Image Pixel (C.7.6.3)
    common.SamplesPerPixel, common.PhotometricInterpretation = 1, "MONOCHROME2"
    common.Columns, common.Rows = origin.shape[:2]
    common.BitsAllocated, common.BitsStored, common.HighBit, common.PixelRepresentation = 16, 16, 15, 1
    return common


def _image(common: Dataset, frame: Frame, k: int, stored: np.ndarray, slope: str, window: float) -> Dataset:
    """The file of one slice; ``stored`` is int16 (rows, columns)."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    file_meta = FileMetaDataset()
    file_meta.MediaStorageSOPClassUID = common.SOPClassUID
    file_meta.MediaStorageSOPInstanceUID = generate_uid()
    file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=file_meta, preamble=b"\0" * 128)
    image.update(common)
    image.SOPInstanceUID = file_meta.MediaStorageSOPInstanceUID
    image.InstanceNumber = image.ImageIndex = k + 1
    image.ImagePositionPatient = [_decimal(v) for v in frame.position]
    image.ImageOrientationPatient = [_decimal(v) for v in frame.axes.ravel()]
    image.PixelSpacing = [_decimal(frame.spacing[1]), _decimal(frame.spacing[0])]
    image.SliceLocation = _decimal(frame.depth)
    image.RescaleSlope, image.RescaleIntercept = slope, "0"
    image.WindowCenter, image.WindowWidth = _decimal(window / 2), _decimal(window)
    image.VOILUTFunction = "LINEAR_EXACT"  # LINEAR takes off 1, which is much of SUVR (C.11.2.1.3)

    mapping = Dataset()
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = -_LARGEST, _LARGEST
    mapping.RealWorldValueIntercept, mapping.RealWorldValueSlope = 0.0, float(slope)
    mapping.LUTExplanation, mapping.LUTLabel = "Synthetic SUVR", "SUVR"
    mapping.MeasurementUnitsCodeSequence = [_code("UCUM", "Ratio")]
    image.RealWorldValueMappingSequence = [mapping]

    reference = _reference(frame)
    whole = Dataset()
    whole.SeriesInstanceUID = text(frame.header, "SeriesInstanceUID")
    whole.ReferencedInstanceSequence = [_reference(frame)]
    image.ReferencedSeriesSequence = [whole]
    reference.SpatialLocationsPreserved = "YES"
    reference.PurposeOfReferenceCodeSequence = [_code("DCM", "SourceImageForImageProcessingOperation")]
    image.SourceImageSequence = [reference]
    image.add_new(0x7FE00010, "OW", stored.tobytes())
    return image


def _reference(frame: Frame) -> Dataset:
    from pydicom.dataset import Dataset

    reference = Dataset()
    reference.ReferencedSOPClassUID = text(frame.header, "SOPClassUID")
    reference.ReferencedSOPInstanceUID = text(frame.header, "SOPInstanceUID")
    if (number(frame.header, "NumberOfFrames") or 1) > 1:
        reference.ReferencedFrameNumber = frame.index + 1
    return reference


def _equipment() -> Dataset:
    """DualGlow as Contributing Equipment (PS3.3 C.12.1, CID 7005).

    Not the scanner of the T1: converters lift a nested manufacturer, serial number and software to the top, where they
    would say that this scanner acquired a PET. The T1 is referred to, and says by what it was acquired.
    """
    from pydicom.dataset import Dataset

    ours = Dataset()
    ours.PurposeOfReferenceCodeSequence = [_code("DCM", "SynthesizingEquipment")]
    ours.Manufacturer, ours.ManufacturerModelName, ours.SoftwareVersions = "DualGlow", "DualGlow", __version__
    ours.ContributionDescription = "Synthesized an FDG-PET from a T1-weighted MRI"
    return ours


def _derivation(provenance: dict) -> str:
    """Derivation Description: at most 1024 characters."""
    facts = [f"DualGlow {provenance.get('DualGlowVersion', __version__)}"]
    said = {name: provenance.get(key) for key, name in _FACTS.items()} | covariates_of(provenance)
    facts += [f"{name} {value}" for name, value in said.items() if value is not None]
    if provenance.get("TrainedOnSimulatedPET"):
        facts.append("model trained on simulated PET")
    return _ascii(
        f"SYNTHETIC FDG-PET computed from a T1-weighted MRI, not acquired: {', '.join(facts)}. Research use only, NOT "
        "FOR DIAGNOSIS."
    )[:1024]


def _code(scheme: str, keyword: str) -> Dataset:
    """A code of pydicom's dictionary, which is made from the standard."""
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes

    found, code = getattr(getattr(codes, scheme), keyword), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = found.value, found.scheme_designator, found.meaning
    return code


def _decimal(value: float) -> str:
    """A Decimal String: at most 16 characters, as many digits as fit."""
    return next(text for text in (f"{value:.{digits}g}" for digits in range(15, 4, -1)) if len(text) <= 16)


def _ascii(value: str) -> str:
    return re.sub(r"[^ -\[\]-~]", "?", value)
