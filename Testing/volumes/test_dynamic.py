"""Dynamic PET: the frames of a window after injection become one volume, or one sentence says why they don't."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from dicom_files import FRAME, item, write_enhanced, write_series
from DualGlowLib import InputError
from DualGlowLib.volumes.dynamic.pet import check_pet, frame_doubts, read_pet
from DualGlowLib.volumes.dynamic.times import FrameTimes, bids_times
from DualGlowLib.volumes.lattices import coordinates

SHAPE, AFFINE = (26, 30, 24), np.diag([6.0, 6.0, 6.0, 1.0])
STARTS, DURATIONS = [300 * k for k in range(6)], [300] * 6
ADNI = {"FrameTimesStart": STARTS, "FrameDuration": DURATIONS, "InjectionStart": -1800}
MINUTES, MILLISECONDS = (
    {key: (np.array(value) * unit).tolist() for key, value in ADNI.items()} for unit in (1 / 60, 1000)
)


def brain(shift: float = 0.0) -> np.ndarray:
    """A lopsided warm body, moved along the second axis by millimetres."""
    i, j, k = coordinates(SHAPE, AFFINE).reshape(*SHAPE, 3).transpose(3, 0, 1, 2)
    j = j - shift
    body = np.exp(-(((i - 75) / 50) ** 4) - ((j - 85) / 60) ** 4 - ((k - 70) / 45) ** 4)
    return 1000 * body * (1 + 0.5 * np.sin(i / 14) * np.cos(j / 17) + 0.3 * (k > 70))


def frames(count: int = 6, moved: dict[int, float] | None = None) -> np.ndarray:
    """Uptake that rises from frame to frame."""
    return np.stack([brain((moved or {}).get(k, 0.0)) * (1 + 0.1 * k) for k in range(count)], axis=-1)


def nifti(folder: Path, data: np.ndarray) -> Path:
    path = folder / "pet.nii.gz"
    nib.save(nib.Nifti1Image(data.astype(np.float32), AFFINE), path)
    return path


def test_six_frames_of_adni(tmp_path: Path) -> None:
    data = frames()
    scan = read_pet(nifti(tmp_path, data), about=ADNI)
    np.testing.assert_allclose(scan.data, data.mean(axis=-1), rtol=1e-4)
    assert scan.meta["frames"] == "the mean, weighted by duration, of frames 1 to 6 of 6, 30 to 60 min after injection"
    assert scan.meta["frames_moved_mm"] < 0.3
    assert frame_doubts(scan) == []


def test_the_window_and_the_durations_count(tmp_path: Path) -> None:
    data = frames(4)
    about = {"FrameTimesStart": [0, 1800, 2400, 3600], "FrameDuration": [1800, 600, 1200, 600], "InjectionStart": 0}
    path = nifti(tmp_path, data)
    np.testing.assert_allclose(read_pet(path, about=about).data, (data[..., 1] + 2 * data[..., 2]) / 3, rtol=1e-4)
    np.testing.assert_allclose(read_pet(path, (60, 70), about).data, data[..., 3], rtol=1e-4)
    assert check_pet(path, (60, 70), about) == "frame 4 of 4, 60 to 70 min after injection"


def test_values_without_correction_for_decay_are_brought_to_one_time() -> None:
    half = 6586.2 / 60
    times = FrameTimes((0.0, 60 * half), (60.0, 60.0), False)
    (late,) = times.within((half, half + 1), "pet").weights
    (early,) = times.within((0, 1), "pet").weights
    assert late == pytest.approx(2 * early)


@pytest.mark.parametrize(
    ("about", "window", "says"),
    [
        ({}, (30, 60), "times are not known (no FrameTimesStart and FrameDuration in numbers)"),
        ({**ADNI, "FrameDuration": None}, (30, 60), "(no FrameDuration in numbers)"),
        ({**ADNI, "FrameDuration": ["300"] * 6}, (30, 60), "(no FrameDuration in numbers)"),
        ({**ADNI, "FrameDuration": [300] * 5 + [0]}, (30, 60), "positive duration for each frame"),
        (MINUTES, (30, 60), "they would cover it if their times were minutes, which must be seconds"),
        (MILLISECONDS, (30, 60), "they would cover it if their times were milliseconds, which must be seconds"),
        ({**ADNI, "InjectionStart": None}, (30, 60), "when the tracer was injected (InjectionStart"),
        ({**ADNI, "FrameTimesStart": STARTS[:5]}, (30, 60), "5 FrameTimesStart and 6 FrameDuration"),
        ({**ADNI, "FrameTimesStart": STARTS[::-1]}, (30, 60), "frames that overlap"),
        ({**ADNI, "InjectionStart": 0}, (30, 60), "0 to 30 min after injection, which cover 0% of the wanted 30 to 60"),
        (ADNI, (50, 90), "cover 25% of the wanted 50 to 90 min after injection; choose the window with --pet-window"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, about: dict, window: tuple[float, float], says: str) -> None:
    for act in (check_pet, read_pet):
        with pytest.raises(InputError) as refused:
            act(nifti(tmp_path, frames()), window, about)
        assert says in str(refused.value)


def test_a_window_that_is_covered_in_part_is_doubtful(tmp_path: Path) -> None:
    (doubt,) = frame_doubts(read_pet(nifti(tmp_path, frames()), (30, 75), ADNI))
    assert "which covers 67% of the wanted 30 to 75 min" in doubt


def test_frames_that_reach_far_out_of_the_window_are_doubtful(tmp_path: Path) -> None:
    about = {"FrameTimesStart": [0, 900], "FrameDuration": [900, 3600], "InjectionStart": 0}
    (doubt,) = frame_doubts(read_pet(nifti(tmp_path, frames(2)), (30, 60), about))
    assert "frame 2 of 2, 15 to 75 min after injection" in doubt
    assert "of which 50% is outside the wanted 30 to 60 min" in doubt


def test_a_frame_that_is_missing_is_doubtful(tmp_path: Path) -> None:
    about = {key: [x for k, x in enumerate(ADNI[key]) if k != 3] for key in ("FrameTimesStart", "FrameDuration")}
    (doubt,) = frame_doubts(read_pet(nifti(tmp_path, frames(5)), about={**ADNI, **about}))
    assert "which covers 83% of the wanted 30 to 60 min" in doubt


def test_a_frame_that_shows_nothing_is_named(tmp_path: Path) -> None:
    data = frames()
    data[..., 4] = 0
    with pytest.raises(InputError, match=r"pet.nii.gz, frame 5, has the same value"):
        read_pet(nifti(tmp_path, data), about=ADNI)


def test_a_frame_that_shows_no_head_is_named(tmp_path: Path) -> None:
    data = frames()
    data[..., 4] = 0
    data[1, 1, 1, 4] = 1
    with pytest.raises(InputError, match="frame 5 shows no head like that of the middle one"):
        read_pet(nifti(tmp_path, data), about=ADNI)


def test_noise_is_no_motion(tmp_path: Path) -> None:
    data = frames()
    data += np.random.default_rng(0).normal(0, 200, data.shape)  # a fifth of the brain's uptake
    assert read_pet(nifti(tmp_path, data), about=ADNI).meta["frames_moved_mm"] < 1


def test_motion_between_frames(tmp_path: Path) -> None:
    scan = read_pet(nifti(tmp_path, frames(moved={1: 5.0})), about=ADNI)
    assert scan.meta["frames_moved_mm"] == pytest.approx(5.0, abs=0.7)
    (doubt,) = frame_doubts(scan)
    assert "most in frame 2" in doubt
    with pytest.raises(InputError, match=r"in frame 6 the head lies 1[0-9] mm"):
        read_pet(nifti(tmp_path, frames(moved={5: 14.0})), about=ADNI)


def test_a_static_pet_is_read_as_it_is(tmp_path: Path) -> None:
    path = nifti(tmp_path, frames(1)[..., 0])
    assert check_pet(path, (0, 1)) == ""
    assert "frames" not in read_pet(path).meta
    nib.save(nib.Nifti1Image(frames(1).astype(np.float32), AFFINE), path)  # a fourth axis of one frame
    assert nib.load(path).shape == (*SHAPE, 1)
    assert check_pet(path) == ""
    assert read_pet(path).shape == SHAPE


def test_times_may_be_whole_numbers_or_not_but_numbers() -> None:
    assert bids_times({**ADNI, "FrameTimesStart": [0, 300.5]} | {"FrameDuration": [300, 300]}, 2, "pet").starts == (
        1800, 2100.5,
    )  # fmt: skip
    with pytest.raises(InputError):
        bids_times({**ADNI, "FrameTimesStart": [True] * 6}, 6, "pet")


# ------------------------------------------------------------------------------------------------------------ DICOM

TRACER = {
    "Radiopharmaceutical": "FDG",
    "RadiopharmaceuticalStartTime": "100000",
    "RadionuclideTotalDose": "370000000",
    "RadionuclideHalfLife": "6586.2",
}
TAGS = {
    "Units": "BQML",
    "DecayCorrection": "START",
    "CorrectedImage": ["DECY", "ATTN"],
    "SeriesTime": "103000",
    "RescaleSlope": "1",
    "RescaleIntercept": "0",
}


def dynamic_series(folder: Path, count: int, change: Callable | None = None, **more: str) -> np.ndarray:
    """Frames of 5 minutes from 10:30 on; the injection was at 10:00."""
    data = np.rint(frames(count)).astype(np.int16)
    for k in range(count):
        times = {"AcquisitionTime": f"10{30 + 5 * k:02d}00", "FrameReferenceTime": f"{(300 * k + 150) * 1000}"}
        tracer = [item(**TRACER)]
        write_series(
            folder / str(k), data[..., k], AFFINE, "PT", change, ActualFrameDuration="300000",
            RadiopharmaceuticalInformationSequence=tracer, **{**TAGS, **times, **more},
        )  # fmt: skip
    return data


@pytest.mark.parametrize("more", [{}, {"AcquisitionTime": "103000"}])
def test_frames_of_a_dicom_series(tmp_path: Path, more: dict[str, str]) -> None:
    """Also where every frame states when the series began."""
    data = dynamic_series(tmp_path, 6, **more)
    scan = read_pet(tmp_path)
    factor = 70e3 / (370e6 * 2 ** (-1800 / 6586.2))
    expected = factor * data.mean(axis=-1)
    assert sorted(scan.data.ravel())[-100:] == pytest.approx(sorted(expected.ravel())[-100:], rel=2e-3)
    assert scan.meta["units"] == "SUVbw"
    assert "frames 1 to 6 of 6, 30 to 60 min" in scan.meta["frames"]
    assert "frames 5 to 6 of 6, 50 to 60 min" in check_pet(tmp_path, (50, 60))


def test_times_that_differ_within_a_frame(tmp_path: Path) -> None:
    def later(header: pydicom.Dataset, k: int) -> None:
        header.AcquisitionTime = f"{header.AcquisitionTime}.{k:03d}"

    dynamic_series(tmp_path, 3, later)
    assert "of frames 1 to 3 of 3, 30 to 45 min" in check_pet(tmp_path, (30, 45))


def test_a_dicom_frame_that_lacks_a_slice(tmp_path: Path) -> None:
    dynamic_series(tmp_path, 2)
    next((tmp_path / "1").iterdir()).unlink()
    with pytest.raises(InputError, match="no whole time frames"):
        check_pet(tmp_path, (30, 40))


def test_a_static_dicom_series_goes_before_a_dynamic_one(tmp_path: Path) -> None:
    dynamic_series(tmp_path / "dynamic", 3)
    write_series(
        tmp_path / "static", np.rint(brain()).astype(np.int16), AFFINE, "PT", ActualFrameDuration="1800000",
        RadiopharmaceuticalInformationSequence=[item(**TRACER)], SeriesInstanceUID=f"{FRAME}.7", **TAGS,
    )  # fmt: skip
    assert check_pet(tmp_path) == ""
    assert read_pet(tmp_path).meta["series_uid"] == f"{FRAME}.7"


def test_values_that_are_not_corrected_for_decay_without_a_weight(tmp_path: Path) -> None:
    """SUV can't be had, and the later frame is brought up to the earlier one's time all the same."""
    data = dynamic_series(tmp_path, 2, DecayCorrection="NONE", CorrectedImage=["ATTN"], PatientWeight="")
    scan = read_pet(tmp_path, (30, 40))
    assert scan.meta["units"] == "Bq/ml"
    factors = [2 ** ((1800 + 150 + 300 * k) / 6586.2) / 2 for k in range(2)]
    expected = np.tensordot(data, factors, 1)
    assert sorted(scan.data.ravel())[-100:] == pytest.approx(sorted(expected.ravel())[-100:], rel=2e-3)


def test_one_time_of_decay_for_all_frames(tmp_path: Path) -> None:
    """A series that was stored later, without reference times: the first frame says to when all are corrected."""
    data = dynamic_series(tmp_path, 6, SeriesTime="150000", FrameReferenceTime="")
    scan = read_pet(tmp_path, (45, 60))
    expected = data[..., 3:].mean(axis=-1) * 70e3 / (370e6 * 2 ** (-1800 / 6586.2))
    assert sorted(scan.data.ravel())[-100:] == pytest.approx(sorted(expected.ravel())[-100:], rel=2e-3)


def test_frames_in_two_units_are_not_averaged(tmp_path: Path) -> None:
    dynamic_series(tmp_path, 2, DecayCorrection="NONE", CorrectedImage=["ATTN"])
    for path in (tmp_path / "1").iterdir():
        header = pydicom.dcmread(path)
        header.PatientWeight = None
        header.save_as(path)
    with pytest.raises(InputError, match=r"time frames in different units \(Bq/ml and SUVbw\)"):
        read_pet(tmp_path, (30, 40))


def test_frames_of_a_dicom_series_without_times(tmp_path: Path) -> None:
    dynamic_series(tmp_path, 2, AcquisitionTime="", AcquisitionDate="", FrameReferenceTime="")
    with pytest.raises(InputError, match="no whole time frames"):
        check_pet(tmp_path)


def test_frames_of_an_enhanced_dicom_file(tmp_path: Path) -> None:
    data = np.rint(frames(2)).astype(np.uint16)
    both = np.concatenate([data[..., 0], data[..., 1]], axis=2)
    count = SHAPE[2]

    def change(group, k: int) -> None:
        begun = f"2020031010{30 + 5 * (k // count):02d}00"
        group.FrameContentSequence = [item(FrameAcquisitionDateTime=begun, FrameAcquisitionDuration=300000.0)]
        place = group.PlanePositionSequence[0]
        place.ImagePositionPatient = [*place.ImagePositionPatient[:2], 6.0 * (k % count)]

    path = write_enhanced(
        tmp_path / "pet.dcm", both, AFFINE, "PT", change,
        RadiopharmaceuticalInformationSequence=[item(**TRACER)], FrameOfReferenceUID=FRAME,
    )  # fmt: skip
    assert "frames 1 to 2 of 2, 30 to 40 min" in check_pet(path, (30, 40))
    mean = 2 * data.mean(axis=-1) - 10
    assert sorted(read_pet(path, (30, 40)).data.ravel()) == pytest.approx(sorted(mean.ravel()), abs=1e-2)


def test_the_sidecar_of_a_case_reaches_the_reader(tmp_path: Path) -> None:
    """From a BIDS name to the list of usable cases, and back to the window that was asked for."""
    from DualGlowLib.cases.report import validate_cases

    for place in ("anat/sub-1_T1w.nii.gz", "pet/sub-1_trc-18FFDG_pet.nii.gz"):
        (tmp_path / "sub-1" / place).parent.mkdir(parents=True)
        data = frames() if "pet" in place else brain()
        nib.save(nib.Nifti1Image(data.astype(np.float32), AFFINE), tmp_path / "sub-1" / place)
    assert "no FrameTimesStart" in "".join(validate_cases(tmp_path).unusable[0].problems)
    (tmp_path / "sub-1/pet/sub-1_trc-18FFDG_pet.json").write_text(json.dumps(ADNI))
    (item,) = validate_cases(tmp_path, deep=True).findings.items
    assert item.is_usable()
    assert "of frames 1 to 6 of 6, 30 to 60 min" in item.choices[0]
    (item,) = validate_cases(tmp_path, pet_window=(60, 90)).unusable
    assert "which cover 0% of the wanted 60 to 90 min" in item.no_pet
