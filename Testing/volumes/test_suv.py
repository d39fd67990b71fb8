"""SUV of DICOM PETs: factors, units, times, and why there is none."""

from __future__ import annotations

import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec

from dicom_files import header, item, write_enhanced, write_series
from dicom_files import on_lattice as voxels_on
from DualGlowLib.volumes.reading import read_scan

AXIAL = from_matvec(np.diag([-1.0, -1.0, 2.0]), [5.0, 6.0, -7.0])


@pytest.fixture
def stored() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4000, (12, 10, 9)).astype(np.uint16)


HALF_LIFE = 6586.2  # seconds, fluorine-18
TRACER = {
    "RadionuclideTotalDose": "3.7e8",
    "RadionuclideHalfLife": str(HALF_LIFE),
    "RadiopharmaceuticalStartTime": "091000.00",
}
UTC = {"RadiopharmaceuticalStartDateTime": "20200310081000+0000"}
TALL = {"Units": "GML", "PatientSize": "1.75"}
PET = {"Units": "BQML", "DecayCorrection": "START", "CorrectedImage": ["NORM", "ATTN", "DECY"]}
HOUR = 70 * 1000 / (3.7e8 * 2 ** (-3600 / HALF_LIFE))  # 70 kg, injected an hour before the series began


def factor(tracer: dict | None = None, **tags: object) -> tuple[float | None, str]:
    from DualGlowLib.volumes.dicom.suv import suv_factor

    pet = {**PET, **tags}
    private = pet.pop("private", {})
    dataset = header("PT", np.zeros(1, np.int16), **{k: v for k, v in pet.items() if v is not None})
    for keyword in [k for k, v in pet.items() if v is None and k in dataset]:
        del dataset[keyword]
    wanted = {**TRACER, **(tracer or {})}
    dataset.RadiopharmaceuticalInformationSequence = [item(**{k: v for k, v in wanted.items() if v is not None})]
    for tag, (vr, value) in private.items():
        dataset.add_new(tag, vr, value)
    return suv_factor(dataset)


def test_a_pet_becomes_suv(stored: np.ndarray, tmp_path: Path) -> None:
    tags = {**PET, "RadiopharmaceuticalInformationSequence": [item(**TRACER)]}
    write_series(tmp_path / "suv", stored, AXIAL, "PT", RescaleSlope="2", RescaleIntercept="0", **tags)
    scan = read_scan(tmp_path / "suv")
    np.testing.assert_allclose(voxels_on(scan, AXIAL), stored * 2 * HOUR, rtol=1e-5)
    assert scan.meta["units"] == "SUVbw"
    assert scan.meta["suv_factor"] == pytest.approx(HOUR)
    write_series(tmp_path / "no", stored, AXIAL, "PT", PatientWeight="", **tags)
    scan = read_scan(tmp_path / "no")
    np.testing.assert_array_equal(voxels_on(scan, AXIAL), stored)
    assert scan.meta["units"] == "Bq/ml"
    assert "weight is missing" in scan.meta["no_suv"]


AVERAGE = HALF_LIFE / np.log(2) * np.log((d := np.log(2) / HALF_LIFE * 1200) / (1 - np.exp(-d)))  # of a 20 min frame


@pytest.mark.parametrize(
    ("expected", "tracer", "tags"),
    [
        (HOUR, {}, {}),
        (HOUR, {"RadiopharmaceuticalStartDateTime": "20200310091000.000000+0100"}, {}),
        (HOUR, {"RadiopharmaceuticalStartDateTime": "19991231091000"}, {}),  # the date was shifted, the time was not
        (HOUR, {"RadiopharmaceuticalStartTime": None, "RadiopharmaceuticalStartDateTime": "20200310091000"}, {}),
        (HOUR, {"RadiopharmaceuticalStartTime": "234000"}, {"SeriesTime": "004000"}),  # over midnight
        (70 * 1000 / 3.7e8, {"RadiopharmaceuticalStartTime": None}, {"DecayCorrection": "ADMIN"}),
        (
            70 * 1000 / (3.7e8 * 2 ** (-(3600 + AVERAGE) / HALF_LIFE)),
            {},
            {"DecayCorrection": "NONE", "ActualFrameDuration": "1200000"},
        ),
        # Series Time of a later processing: GE's own scan time, or back from the frame's reference time, or acquisition
        (HOUR, {}, {"SeriesTime": "180000", "private": {0x0009100D: ("DT", "20200310101000.00")}}),
        (
            HOUR,
            {},
            {
                "SeriesTime": "180000",
                "AcquisitionTime": "103000",
                "ActualFrameDuration": "1200000",
                "FrameReferenceTime": f"{(1200 + AVERAGE) * 1000:.4f}",
            },
        ),
        (HOUR, {}, {"SeriesTime": "180000"}),
        (0.0042, {}, {"Units": "CNTS", "private": {0x70531000: ("DS", "0.0042")}}),
        (HOUR * 1.7, {}, {"Units": "CNTS", "private": {0x70531009: ("UN", b"1.7 ")}}),
        (1.0, {}, {"Units": "GML", "CorrectedImage": None}),
        # The dose in another unit than the standard's
        (HOUR, {"RadionuclideTotalDose": "370"}, {}),
        (HOUR, {"RadionuclideTotalDose": "370000"}, {}),
        # SUV by another measure of the body: 70 kg, 1.75 m
        (70 / 56.52, {}, {**TALL, "SUVType": "LBMJAMES128", "PatientSex": "M"}),
        (70 / 51.22, {}, {**TALL, "SUVType": "LBMJAMES128", "PatientSex": "F"}),
        (70 / 53.87, {}, {**TALL, "SUVType": "LBMJAMES128", "PatientSex": "O"}),
        (70 / 55.8573, {}, {**TALL, "SUVType": "LBMJANMA", "PatientSex": "M"}),
        (70 / 45.1972, {}, {**TALL, "SUVType": "LBMJANMA", "PatientSex": "F"}),
        (70 / 72.38, {}, {**TALL, "SUVType": "IBW", "PatientSex": "M"}),
        (70 / 66.43, {}, {**TALL, "SUVType": "IBW", "PatientSex": "F"}),
        (70000 / 18481.43, {}, {**TALL, "Units": "CM2ML"}),
        # Injection and scan in two time zones, where the file says in which
        (HOUR, {**UTC, "RadiopharmaceuticalStartTime": None}, {"TimezoneOffsetFromUTC": "+0100"}),
        (HOUR, {**UTC, "RadiopharmaceuticalStartTime": "081000"}, {"TimezoneOffsetFromUTC": "+0100"}),
        (HOUR, UTC, {}),  # the clock of the injection is the scanner's
        (HOUR, {**UTC, "RadiopharmaceuticalStartTime": None}, {"DecayCorrectionDateTime": "20200310091000+0000"}),
        # Siemens's own time of decay correction; zirconium two days after the injection
        (HOUR, {}, {"SeriesTime": "180000", "private": {0x00711022: ("DT", "20200310101000.00")}}),
        (
            70 * 1000 / (3.7e7 * 2 ** (-49 * 3600 / 282240)),
            {
                "RadionuclideTotalDose": "3.7e7",
                "RadionuclideHalfLife": "282240",
                "RadiopharmaceuticalStartDateTime": "20200308091000",
            },
            {},
        ),
    ],
)
def test_suv_factor(expected: float, tracer: dict, tags: dict) -> None:
    value, reason = factor(tracer, **tags)
    assert value == pytest.approx(expected, rel=2e-5), reason
    assert reason == ""


@pytest.mark.parametrize(
    ("words", "tracer", "tags"),
    [
        ("weight is missing", {}, {"PatientWeight": None}),
        ("weight is missing", {}, {"PatientWeight": "0"}),
        ("700 kg", {}, {"PatientWeight": "700"}),
        ("dose is missing", {"RadionuclideTotalDose": None}, {}),
        ("3e+06 Bq", {"RadionuclideTotalDose": "3e6"}, {}),  # too little, and too much in kilobecquerels
        ("10 Bq", {"RadionuclideTotalDose": "10"}, {}),  # megabecquerels or millicuries?
        ("-3.7e+08 Bq", {"RadionuclideTotalDose": "-3.7e8"}, {}),
        ("half life of -6586", {"RadionuclideHalfLife": "-6586"}, {}),
        ("height", {}, {"Units": "GML", "SUVType": "IBW", "PatientSize": None}),
        ("height", {}, {"Units": "CM2ML", "PatientSize": "0"}),
        ("sex", {}, {"Units": "GML", "SUVType": "LBMJANMA", "PatientSize": "1.75", "PatientSex": ""}),
        ("sex", {}, {"Units": "GML", "SUVType": "IBW", "PatientSize": "1.75", "PatientSex": "X"}),
        ("weight", {}, {"Units": "CM2ML", "PatientSize": "1.75", "PatientWeight": ""}),
        ("PROPCNTS", {}, {"Units": "PROPCNTS"}),
        ("how long", {}, {"DecayCorrection": "NONE"}),
        ("how long", {}, {"SeriesTime": "180000", "FrameReferenceTime": "600000"}),
        ("contradict", {"RadiopharmaceuticalStartDateTime": "20200310081500"}, {}),
        # A day's uptake, which a clock alone doesn't tell from one of some hours
        ("times of injection", {"RadionuclideHalfLife": "282240"}, {}),
        (
            "times of injection",
            {"RadionuclideHalfLife": "282240", "RadiopharmaceuticalStartDateTime": "19991231091000"},
            {},
        ),
        # In which zone the scan's clock runs is not said
        ("time zone", {**UTC, "RadiopharmaceuticalStartTime": None}, {}),
        ("time zone", {**UTC, "RadiopharmaceuticalStartTime": "081000"}, {}),
        ("time zone", {}, {"DecayCorrectionDateTime": "20200310091000+0000"}),
        ("half life is missing", {"RadionuclideHalfLife": ""}, {}),
        ("times of injection", {"RadiopharmaceuticalStartTime": None}, {}),
        ("times of injection", {"RadiopharmaceuticalStartTime": "104500"}, {}),  # long after the scan
        ("attenuation", {}, {"CorrectedImage": ["NORM", "DECY"]}),
        ("corrected for decay", {}, {"CorrectedImage": ["ATTN"]}),
        ("to which time", {}, {"DecayCorrection": None}),
        ("counts", {}, {"Units": "CNTS"}),
        ("SUVlbm", {}, {"Units": "GML", "SUVType": "LBM"}),
        ("in unknown", {}, {"Units": None}),
    ],
)
def test_why_there_is_no_suv(words: str, tracer: dict, tags: dict) -> None:
    value, reason = factor(tracer, **tags)
    assert value is None
    assert words in reason


def test_an_enhanced_pet_states_its_units_elsewhere(stored: np.ndarray, tmp_path: Path) -> None:
    tags = {
        "DecayCorrected": "YES",
        "AttenuationCorrected": "YES",
        "DecayCorrectionDateTime": "20200310101000",
        "RadiopharmaceuticalInformationSequence": [item(**TRACER)],
        "RealWorldValueMappingSequence": [
            item(MeasurementUnitsCodeSequence=[item(CodeValue="Bq/ml", CodingSchemeDesignator="UCUM")])
        ],
    }
    scan = read_scan(write_enhanced(tmp_path / "a.dcm", stored, AXIAL, "PT", **tags))
    assert scan.meta["units"] == "SUVbw"
    np.testing.assert_allclose(voxels_on(scan, AXIAL), (stored * 2.0 - 10) * HOUR, rtol=1e-5)


def test_each_bed_has_its_own_factor_where_nothing_is_corrected_for_decay(stored: np.ndarray, tmp_path: Path) -> None:
    def second_bed(dataset, k: int) -> None:
        if k >= 5:
            dataset.AcquisitionTime = "103000"

    tags = {**PET, "DecayCorrection": "NONE", "CorrectedImage": ["ATTN"], "ActualFrameDuration": "1200000"}
    tags["RadiopharmaceuticalInformationSequence"] = [item(**TRACER)]
    write_series(tmp_path, stored, AXIAL, "PT", second_bed, **tags)
    waited = np.where(np.arange(9) < 5, 3600, 3600 + 1200) + AVERAGE
    factors = 70 * 1000 / (3.7e8 * 2 ** (-waited / HALF_LIFE))
    np.testing.assert_allclose(voxels_on(read_scan(tmp_path), AXIAL), stored * factors, rtol=1e-5)


def test_each_frame_of_an_enhanced_pet_has_its_own_factor(stored: np.ndarray, tmp_path: Path) -> None:
    """Neither decay corrected nor of one slope, and the frames in no order.

    SimpleITK 2.5.7 applies the first frame's slope to all frames, dcm2niix 1.0.20260724 the last one's.
    """
    tags = {
        "DecayCorrected": "NO",
        "AttenuationCorrected": "YES",
        "RadiopharmaceuticalInformationSequence": [item(**TRACER)],
        "Units": "BQML",
    }
    slopes = 1 + np.arange(9) / 4

    def change(frame, k: int) -> None:
        frame.PixelValueTransformationSequence[0].RescaleSlope = str(slopes[k])
        frame.FrameContentSequence = [item(FrameReferenceDateTime=f"202003101010{6 * k:02d}")]

    path = write_enhanced(tmp_path / "a.dcm", stored, AXIAL, "PT", change, **tags)
    factors = 70 * 1000 / (3.7e8 * 2 ** (-(3600 + 6 * np.arange(9)) / HALF_LIFE))
    scan = read_scan(path)
    assert scan.meta["units"] == "SUVbw"
    np.testing.assert_allclose(voxels_on(scan, AXIAL), (stored * slopes - 10) * factors, rtol=1e-5)


def test_the_digital_reference_object_of_two_beds(shared: Path, tmp_path: Path) -> None:
    """0.2, 1 and 4 by definition (Image Biomarker Standardisation Initiative, DRO_3_4)."""
    zipfile.ZipFile(shared / "data/reports/pet_two_beds_decay_none/DRO_3_4.zip").extractall(tmp_path)
    scan = read_scan(next(tmp_path.rglob("PT")))
    mask = nib.load(next(tmp_path.rglob("DRO_mask.nii.gz")))
    places = apply_affine(np.linalg.inv(scan.affine) @ mask.affine, np.argwhere(np.asarray(mask.dataobj) > 0))
    inside = scan.data[tuple(np.round(places).astype(int).T)]
    assert [inside.min(), np.median(inside), inside.max()] == pytest.approx([0.2, 1.0, 4.0], abs=0.005)


FLUORINE = item(CodeValue="C-111A1", CodingSchemeDesignator="SRT", CodeMeaning="^18^Fluorine")


@pytest.mark.parametrize(
    ("tracer", "reason"),
    [
        ({"RadiopharmaceuticalStartTime": "000000"}, "midnight"),
        ({"RadiopharmaceuticalStartTime": "000000.00"}, "midnight"),
        ({"RadiopharmaceuticalStartTime": None, "RadiopharmaceuticalStartDateTime": "20200310000000"}, "midnight"),
        ({"RadionuclideHalfLife": "109.77", "RadionuclideCodeSequence": [FLUORINE]}, "fluorine-18"),  # minutes
        ({"RadionuclideHalfLife": "1223", "Radiopharmaceutical": "Fluorodeoxyglucose"}, "fluorine-18"),
    ],
)
@pytest.mark.parametrize("scan", ["101000", "000000", "001000"])
def test_times_that_were_removed_and_half_lives_of_something_else(tracer: dict, reason: str, scan: str) -> None:
    found = factor(tracer, SeriesTime=scan, AcquisitionTime=scan)
    assert found[0] is None
    assert reason in found[1]


@pytest.mark.parametrize("half_life", ["6586.2", "6588", "6600"])
def test_half_lives_of_fluorine(half_life: str) -> None:
    tracer = {"RadionuclideHalfLife": half_life, "RadionuclideCodeSequence": [FLUORINE]}
    assert factor(tracer)[0] == pytest.approx(HOUR, rel=2e-3)
    assert factor({"RadiopharmaceuticalStartTime": "233000"}, SeriesTime="003000", AcquisitionTime="003000")[0] == (
        pytest.approx(HOUR)
    )
