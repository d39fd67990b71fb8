"""DICOM series made up for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from DualGlowLib.volumes.dicom.file import save_dataset
from DualGlowLib.volumes.scan import Scan

STORAGE = {"MR": "4", "PT": "128", "CT": "2", "OT": "7", "enhanced MR": "4.1", "enhanced PT": "130"}
STUDY, FRAME = "1.2.3.4", "1.2.3.5"
MPRAGE = {
    "ScanningSequence": ["GR", "IR"],
    "SequenceVariant": ["SP", "MP"],
    "MRAcquisitionType": "3D",
    "RepetitionTime": "2300",
    "EchoTime": "2.98",
    "InversionTime": "900",
    "MagneticFieldStrength": "3",
}


def header(modality: str, stored: np.ndarray, **tags: object) -> FileDataset:
    """A file's elements but for place and pixels; ``stored`` (integers) gives the pixel format."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.{STORAGE[modality]}"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = UID(ExplicitVRLittleEndian)
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    bits = stored.dtype.itemsize * 8
    values = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": STUDY,
        "FrameOfReferenceUID": FRAME,
        "SeriesInstanceUID": "1.2.3.6.1",
        "SeriesNumber": 1,
        "Modality": modality.split()[-1],
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "StudyDate": "20200310",
        "StudyTime": "100000",
        "SeriesDate": "20200310",
        "SeriesTime": "101000",
        "AcquisitionDate": "20200310",
        "AcquisitionTime": "101000",
        "PatientName": "Doe^Jane",
        "PatientID": "SECRET-4711",
        "PatientBirthDate": "19480610",
        "PatientSex": "F",
        "PatientAge": "071Y",
        "PatientWeight": "70",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "Roe^Richard",
        "StudyID": "7",
        "Manufacturer": "Maker",
        "ManufacturerModelName": "Scanner One",
        "PatientPosition": "HFS",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        **tags,
    }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def write_series(
    folder: Path,
    stored: np.ndarray,
    affine: np.ndarray,
    modality: str = "MR",
    change: Callable[[Dataset, int], object] | None = None,
    **tags: object,
) -> list[Path]:
    """One file per slice of integers (I, J, K) on a RAS lattice; the names' order is not that of the slices.

    ``change`` may alter each file's dataset; the slice is not written if it returns False.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    names = np.random.default_rng(1).permutation(stored.shape[2])
    paths = []
    for k in range(stored.shape[2]):
        dataset = header(modality, stored, **tags)
        dataset.InstanceNumber = k + 1
        dataset.Columns, dataset.Rows = stored.shape[:2]
        dataset.ImagePositionPatient = [f"{v:.9g}" for v in (lps @ (0, 0, k, 1))[:3]]
        dataset.ImageOrientationPatient = [f"{v:.10g}" for v in (lps[:3, :2] / spacing[:2]).T.ravel()]
        dataset.PixelSpacing = [f"{spacing[1]:.9g}", f"{spacing[0]:.9g}"]
        dataset.SliceThickness = "1.5"  # never to be trusted
        dataset.add_new(0x7FE00010, "OW", np.ascontiguousarray(stored[:, :, k].T).tobytes())
        if change is not None and change(dataset, k) is False:
            continue
        paths.append(folder / f"{dataset.SeriesNumber}_{names[k]:03d}.dcm")
        save_dataset(dataset, paths[-1])
    return paths


def write_enhanced(
    path: Path,
    stored: np.ndarray,
    affine: np.ndarray,
    modality: str = "MR",
    change: Callable[[Dataset, int], object] | None = None,
    **tags: object,
) -> Path:
    """One enhanced multi-frame file, its frames in no order, with rescale slope 2 and intercept −10.

    ``change`` may alter the functional groups of each slice.
    """
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    order = np.random.default_rng(2).permutation(stored.shape[2])
    dataset = header(f"enhanced {modality}", stored, **tags)
    dataset.Columns, dataset.Rows, dataset.NumberOfFrames = *stored.shape[:2], stored.shape[2]
    dataset.InstanceNumber = 1
    dataset.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=[f"{spacing[1]:.9g}", f"{spacing[0]:.9g}"], SliceThickness="9")],
            PlaneOrientationSequence=[
                item(ImageOrientationPatient=[f"{v:.10g}" for v in (lps[:3, :2] / spacing[:2]).T.ravel()])
            ],
            MREchoSequence=[item(EffectiveEchoTime=2.5)],
            MRTimingAndRelatedParametersSequence=[item(RepetitionTime="2000")],
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[f"{v:.9g}" for v in (lps @ (0, 0, k, 1))[:3]])],
            PixelValueTransformationSequence=[item(RescaleSlope="2", RescaleIntercept="-10", RescaleType="US")],
        )
        for k in order
    ]
    for k, group in zip(order, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        if change is not None:
            change(group, int(k))
    dataset.add_new(0x7FE00010, "OW", np.ascontiguousarray(stored.transpose(2, 1, 0)[order]).tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    save_dataset(dataset, path)
    return path


def item(**tags: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def on_lattice(scan: Scan, affine: np.ndarray) -> np.ndarray:
    """A scan's voxels in the order of another affine of the same lattice; fails if it is another lattice."""
    step = np.linalg.inv(affine) @ scan.affine
    np.testing.assert_allclose(step, np.round(step), atol=1e-3)
    turn = np.round(step[:3, :3]).astype(int)
    np.testing.assert_array_equal(np.abs(turn), np.eye(3))  # a reader may turn axes around, not swap them here
    backwards = [axis for axis in range(3) if turn[axis, axis] < 0]
    for axis in range(3):
        assert round(step[axis, 3]) == (scan.shape[axis] - 1 if axis in backwards else 0)
    return np.flip(scan.data, backwards)
