"""Standardised uptake value by body weight (SUVbw) of a DICOM PET.

After the vendor-neutral pseudo-code of QIBA: RSNA QIBA FDG-PET/CT Technical Committee, "FDG-PET/CT as an Imaging
Biomarker Measuring Response to Cancer Therapy", Profile 1.13 (2016), Appendix G. Decay Correction ADMIN and NONE, for
which it gives no rule, follow PS3.3 C.8.9.1.1.4 and C.8.9.4.1.5; enhanced files state the same things in other tags.
The digital reference objects of the Image Biomarker Standardisation Initiative (github.com/oncoray/suv_computation)
check it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from math import exp, log
from typing import TYPE_CHECKING

import numpy as np

from .file import number, text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from .series import Frame

__all__ = [
    "attenuation_corrected",
    "falls_with_decay",
    "injection_to_frame",
    "seconds_of_frame",
    "stated_units",
    "suv_factor",
    "suv_factors",
]

_UNITS = {"BQML": "Bq/ml", "CNTS": "counts", "CPS": "counts/s", "NONE": "ratio", "PCNT": "%", "CM2ML": "SUVbsa"}
_SUV_TYPES = {"": "SUVbw", "BW": "SUVbw", "BSA": "SUVbsa", "LBM": "SUVlbm", "LBMJAMES128": "SUVlbm", "IBW": "SUVibw"}
_SUV_TYPES["LBMJANMA"] = "SUVlbm"
_GE_SCAN_TIME, _SIEMENS_DECAY_TIME = 0x0009100D, 0x00711022
_PHILIPS_SUV, _PHILIPS_ACTIVITY = 0x70531000, 0x70531009
_LONGEST = 6.0  # half lives from injection to scan; later there is nothing to see
_EARLIEST = -600.0  # seconds; a dynamic scan starts shortly before the injection
_DAY = 86400.0
_F18, _F18_CODES = 6586.2, ("C-111A1", "77004003")  # seconds; SNOMED's codes, old and new
_ROUNDED = 0.02  # of it: 110 minutes are still meant
# Becquerels that a person is injected with, and what a dose in another unit than the standard's looks like. Between
# the ranges a value may be anything (microcuries, millicuries), so nothing is made of it.
_DOSES = ((5e6, 5e9, 1.0, "Bq"), (3.7e4, 2e6, 1e3, "kBq"), (37.0, 2000.0, 1e6, "MBq"))


def stated_units(dataset: Dataset) -> str:
    """What the voxels of a PET measure, after rescaling: ``"Bq/ml"``, ``"SUVbw"``, ``"counts"``, ``"ratio"`` …"""
    code = _unit_code(dataset)
    if code == "GML":
        return _SUV_TYPES.get(text(dataset, "SUVType"), "SUV")
    return _UNITS.get(code, code or "unknown")


def attenuation_corrected(dataset: Dataset) -> bool | None:
    """Whether a PET says that it is corrected for attenuation; None where it doesn't say."""
    stated = text(dataset, "AttenuationCorrected").upper()
    if stated in ("YES", "NO"):
        return stated == "YES"
    corrected = text(dataset, "CorrectedImage").upper()
    if corrected:
        return "ATTN" in corrected.split("\\")
    return False if text(dataset, "AttenuationCorrectionMethod").upper() in ("NONE", "NO") else None


def suv_factors(frames: Sequence[Frame], acquired: Sequence[Frame] | None = None) -> tuple[np.ndarray | None, str]:
    """The factor of each slice that turns its rescaled values into SUVbw, or None and the reason why there is none.

    Args:
        frames: the slices.
        acquired: all slices of the series that they are a part of; by default themselves.

    Where values are not corrected for decay, every slice has the factor of the time when it was acquired: bed positions
    follow each other. Otherwise all were corrected to one time, which the slice that was acquired first tells best.
    """
    earliest = min(acquired or frames, key=_order)
    how = _decay_correction(earliest.header)
    if how == "NONE" or _unit_code(earliest.header) == "CNTS":
        known: dict[tuple[int, str], tuple[float | None, str]] = {}
        every = []
        for frame in frames:
            key = (id(frame.header), frame.time)
            if key not in known:
                known[key] = suv_factor(frame.header, frame.time)
            every.append(known[key])
        reason = next((reason for factor, reason in every if factor is None), "")
        return (None, reason) if reason else (np.array([factor for factor, _ in every]), "")
    factor, reason = suv_factor(earliest.header, earliest.time)
    return (None, reason) if factor is None else (np.full(len(frames), factor), "")


def suv_factor(dataset: Dataset, frame_time: str = "") -> tuple[float | None, str]:
    """The factor that turns rescaled voxel values into SUVbw (g/ml), or None and the reason why there is none.

    Args:
        dataset: a slice's header; of the one that was acquired first, where values are corrected for decay.
        frame_time: of a frame of an enhanced file, its Frame Reference DateTime.

    Returns:
        The factor and an empty reason, or None and a clause such as ``"the patient's weight is missing"``.
    """
    units = _unit_code(dataset)
    if units in ("GML", "CM2ML"):
        return _from_other_suv(dataset, units)
    how, scale = _decay_correction(dataset), 1.0
    if units == "CNTS":
        ready, scale = number(dataset, _PHILIPS_SUV), number(dataset, _PHILIPS_ACTIVITY)
        if ready and how != "NONE":
            return ready, ""
        if not scale:
            return None, "the values are counts without a calibration"
    elif units != "BQML":
        return None, f"the values are in {stated_units(dataset)}"

    corrected = text(dataset, "CorrectedImage").split("\\")
    if not attenuation_corrected(dataset):
        return None, "the values are not said to be corrected for attenuation"
    weight, reason = _weight(dataset)
    if weight is None:
        return None, reason
    sequence = dataset.get("RadiopharmaceuticalInformationSequence") or []
    tracer = sequence[0] if len(sequence) else None
    dose = number(tracer, "RadionuclideTotalDose") if tracer is not None else None
    half_life = number(tracer, "RadionuclideHalfLife") if tracer is not None else None
    if not dose or not half_life:
        return None, f"the {'injected dose' if not dose else 'half life'} is missing"
    becquerels = next((dose * unit for low, high, unit, _ in _DOSES if low <= dose <= high), None)
    if becquerels is None:
        return None, f"an injected dose of {dose:g} Bq is not plausible, and in which other unit it may be is not clear"
    if half_life < 0 or (_is_f18(tracer) and abs(half_life / _F18 - 1) > _ROUNDED):
        return None, f"a half life of {half_life:g} s is not {'plausible' if half_life < 0 else 'that of fluorine-18'}"

    if how in ("START", "ADMIN") and corrected != [""] and not {"DECY", "DECAY"}.intersection(corrected):
        return None, "the values are not said to be corrected for decay"
    if how == "ADMIN":
        return scale * weight * 1000 / becquerels, ""
    if how not in ("START", "NONE"):
        return None, "it isn't said to which time the values are corrected for decay"
    if how == "NONE":
        scan, reason = _frame_time(dataset, half_life, frame_time)
    else:
        scan, reason = _reference_time(dataset, half_life)
    if scan is None:
        return None, reason
    waited, reason = _since_injection(tracer, scan, _LONGEST * half_life, _zone(dataset))
    if waited is None:
        return None, reason
    return scale * weight * 1000 / (becquerels * 2 ** (-waited / half_life)), ""


def injection_to_frame(frame: Frame) -> tuple[float | None, str]:
    """Seconds from the injection to the start of a slice's time frame, or None and why they are unknown."""
    header = frame.header
    tracers = header.get("RadiopharmaceuticalInformationSequence") or []
    begun = _moment(frame.begun, _zone(header)) or _acquired(header)
    if begun is None or not len(tracers):
        return None, "the times of injection and scan are missing or not plausible"
    return _since_injection(tracers[0], begun, _LONGEST * _F18, _zone(header))


def falls_with_decay(frames: Sequence[Frame]) -> bool:
    """Whether slices stay as they decayed: they are not corrected for it, and SUV, which would be, can't be had."""
    return _decay_correction(frames[0].header) == "NONE" and suv_factors(frames)[0] is None


def seconds_of_frame(frame: Frame) -> float:
    """How long a slice's time frame was acquired, in seconds; 0 if it isn't said."""
    return (frame.lasted or 0.0) / 1000


def _is_f18(tracer: Dataset) -> bool:
    codes = tracer.get("RadionuclideCodeSequence") or []
    name = text(tracer, "Radiopharmaceutical").lower()
    return any(text(code, "CodeValue") in _F18_CODES for code in codes[:1]) or "deoxyglucose" in name or "fdg" in name


def _weight(dataset: Dataset) -> tuple[float | None, str]:
    weight = number(dataset, "PatientWeight")
    if not weight:
        return None, "the patient's weight is missing"
    return (weight, "") if 1 < weight < 500 else (None, f"a weight of {weight:g} kg is not plausible")


def _from_other_suv(dataset: Dataset, units: str) -> tuple[float | None, str]:
    """The factor from SUV by another measure of the body to SUV by its weight.

    Formulas: lean body mass of James (LBMJAMES128) and of Janmahasatian (LBMJANMA), body surface of Du Bois, ideal
    body weight as in QIBA's profile; of a sex that is stated as other, the mean of both.
    """
    kind = "BSA" if units == "CM2ML" else text(dataset, "SUVType") or "BW"
    if kind == "BW":
        return 1.0, ""
    if kind not in ("BSA", "IBW", "LBMJAMES128", "LBMJANMA"):
        return None, f"the values are {stated_units(dataset)} already, by an unknown formula"
    weight, reason = _weight(dataset)
    if weight is None:
        return None, reason
    height = (number(dataset, "PatientSize") or 0.0) * 100
    if not 50 < height < 260:
        return None, f"the values are {stated_units(dataset)} and the patient's height is missing or not plausible"
    if kind == "BSA":
        return weight * 1000 / (71.84 * weight**0.425 * height**0.725), ""
    bmi = weight / (height / 100) ** 2
    masses = {
        "IBW": {"M": 48.0 + 1.06 * (height - 152), "F": 45.5 + 0.91 * (height - 152)},
        "LBMJAMES128": {
            "M": 1.10 * weight - 128 * (weight / height) ** 2,
            "F": 1.07 * weight - 148 * (weight / height) ** 2,
        },
        "LBMJANMA": {"M": 9270 * weight / (6680 + 216 * bmi), "F": 9270 * weight / (8780 + 244 * bmi)},
    }[kind]
    masses["O"] = (masses["M"] + masses["F"]) / 2
    mass = masses.get(text(dataset, "PatientSex").upper())
    if mass is None or mass <= 0:
        return None, f"the values are {stated_units(dataset)} and the patient's sex is missing"
    return weight / mass, ""


def _decay_correction(dataset: Dataset) -> str:
    """START, ADMIN or NONE; of an enhanced file, which states the time itself, START or NONE."""
    return text(dataset, "DecayCorrection") or {"YES": "START", "NO": "NONE"}.get(text(dataset, "DecayCorrected"), "")


def _order(frame: Frame) -> tuple:
    header = frame.header
    return frame.time, text(header, "AcquisitionDate"), number(header, "AcquisitionTime") or 0.0


def _unit_code(dataset: Dataset) -> str:
    units = text(dataset, "Units").upper()
    if units:
        return units
    for place in (dataset, *(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]):
        for mapping in place.get("RealWorldValueMappingSequence") or []:
            for code in mapping.get("MeasurementUnitsCodeSequence") or []:
                known = {"Bq/ml": "BQML", "{counts}": "CNTS", "g/ml{SUVbw}": "GML", "{SUVbw}g/ml": "GML"}
                return known.get(text(code, "CodeValue"), text(code, "CodeValue"))
    return ""


def _reference_time(dataset: Dataset, half_life: float) -> tuple[datetime | None, str]:
    """The time that values with Decay Correction START are corrected to, or None and why it isn't known."""
    zone = _zone(dataset)
    stated = _moment(text(dataset, "DecayCorrectionDateTime"), zone)
    if stated:
        return stated, ""
    series = _moment(text(dataset, "SeriesDate") + text(dataset, "SeriesTime"))
    acquired = _acquired(dataset)
    if series and (acquired is None or (_apart(acquired, series) or 0) >= 0):
        return series, ""
    # The series was made later, by postprocessing: its time says nothing.
    private = (_moment(text(dataset, tag), zone) for tag in (_GE_SCAN_TIME, _SIEMENS_DECAY_TIME))
    made = next((moment for moment in private if moment), None)
    if made:
        return made, ""
    if acquired is None:
        return None, "the times of injection and scan are missing or not plausible"
    offset = number(dataset, "FrameReferenceTime")
    if not offset:
        return acquired, ""
    if not number(dataset, "ActualFrameDuration"):
        return None, "how long the frame was acquired is missing"
    return acquired + timedelta(seconds=_average_time(dataset, half_life) - offset / 1000), ""


def _frame_time(dataset: Dataset, half_life: float, frame_time: str) -> tuple[datetime | None, str]:
    """The time of values that are not corrected for decay: when the frame had its average count rate."""
    stated = _moment(frame_time, _zone(dataset))
    if stated:
        return stated, ""
    acquired = _acquired(dataset)
    if acquired is None:
        return None, "the times of injection and scan are missing or not plausible"
    if not number(dataset, "ActualFrameDuration"):
        return None, "how long the frame was acquired is missing"
    return acquired + timedelta(seconds=_average_time(dataset, half_life)), ""


def _average_time(dataset: Dataset, half_life: float) -> float:
    """Seconds from the start of a frame to its average count rate (PS3.3 C.8.9.4.1.5, example 2); 0 if unknown."""
    decay = log(2) / half_life * (number(dataset, "ActualFrameDuration") or 0.0) / 1000
    return half_life / log(2) * log(decay / (1 - exp(-decay))) if decay > 0 else 0.0


def _acquired(dataset: Dataset) -> datetime | None:
    return _moment(text(dataset, "AcquisitionDate") + text(dataset, "AcquisitionTime")) or _moment(
        text(dataset, "AcquisitionDateTime"), _zone(dataset)
    )


def _since_injection(
    tracer: Dataset, scan: datetime, longest: float, zone: timedelta | None
) -> tuple[float | None, str]:
    """Seconds from injection to ``scan``, or None and why they are unknown.

    The date of injection, where there is one, may have been shifted when the file was made anonymous, so it is used
    only if it fits; without it the injection was in the hours before the scan, maybe before midnight, which says enough
    of a tracer that is gone within a day. Midnight to the second is what some programs leave of a time.
    """
    stated = [text(tracer, f"RadiopharmaceuticalStart{kind}") for kind in ("Time", "DateTime")]
    if any(re.fullmatch(r"(\d{8})?000000(\.0*)?", moment.replace(":", "")) for moment in stated):
        return None, "an injection at midnight to the second stands for a time that was removed"
    injected = _moment(text(tracer, "RadiopharmaceuticalStartDateTime"), zone)
    clock = _moment(f"{scan:%Y%m%d}" + text(tracer, "RadiopharmaceuticalStartTime"))
    if clock and injected:
        off = (injected.replace(tzinfo=None) - clock).total_seconds() % _DAY
        off = min(off, _DAY - off)
        if injected.tzinfo is not None and scan.tzinfo is None and (injected.utcoffset() or off > 60) and not off % 900:
            injected = None  # one clock is the scanner's, as the standard has it, whatever zone the other is in
        elif not _has_offset(tracer) and off > 60:
            return None, "two times of injection are stated, which contradict each other"
    if (injected and (injected.tzinfo is None) != (scan.tzinfo is None)) or (not injected and _is_utc(scan)):
        return None, "one of the times of injection and scan states a time zone and the other doesn't"
    if injected:
        exact = (scan - injected).total_seconds()
        if _EARLIEST <= exact <= longest:
            return exact, ""
    day_of_scan = injected and injected.replace(year=scan.year, month=scan.month, day=scan.day)
    clock = (clock.replace(tzinfo=scan.tzinfo) if clock else None) or day_of_scan
    if clock is None or longest > _DAY:
        return None, "the times of injection and scan are missing or not plausible"
    waits = ((scan - clock).total_seconds(), (scan - clock).total_seconds() + _DAY)
    fits = next((seconds for seconds in waits if _EARLIEST <= seconds <= longest), None)
    return fits, "" if fits is not None else "the times of injection and scan are missing or not plausible"


def _has_offset(tracer: Dataset) -> bool:
    return bool(re.search(r"[+-]\d{4}$", text(tracer, "RadiopharmaceuticalStartDateTime")))


def _is_utc(moment: datetime) -> bool:
    return moment.tzinfo is not None and not moment.utcoffset()


def _apart(later: datetime, earlier: datetime) -> float | None:
    """Seconds between two moments; None if only one of them has a time zone."""
    return None if (later.tzinfo is None) != (earlier.tzinfo is None) else (later - earlier).total_seconds()


def _zone(dataset: Dataset) -> timedelta | None:
    """The offset from UTC of the dates and times that state none of their own."""
    found = re.fullmatch(r"([+-])(\d{2})(\d{2})", text(dataset, "TimezoneOffsetFromUTC"))
    return found and timedelta(hours=int(found[1] + found[2]), minutes=int(found[1] + found[3]))


def _moment(value: str, zone: timedelta | None = None) -> datetime | None:
    """A DICOM date and time, ``YYYYMMDDHHMMSS.ffffff&ZZXX``.

    Where it states an offset from UTC it is brought to the file's ``zone``, or is an aware datetime if that is unknown.
    """
    found = re.fullmatch(
        r"(\d{8})(\d{2})(\d{2})?(\d{2})?(?:\.(\d{1,6}))?\d*(?:([+-])(\d{2})(\d{2}))?", value.replace(":", "")
    )
    if not found:
        return None
    day, hour, minute, second, fraction, sign, hours, minutes = found.groups()
    try:
        moment = datetime.strptime(f"{day}{hour}{minute or '00'}{second or '00'}", "%Y%m%d%H%M%S")
        moment += timedelta(microseconds=int((fraction or "0").ljust(6, "0")))
        if not sign:
            return moment
        offset = timedelta(hours=int(sign + hours), minutes=int(sign + minutes))
        return moment.replace(tzinfo=timezone(offset)) if zone is None else moment - offset + zone
    except (ValueError, OverflowError):
        return None
