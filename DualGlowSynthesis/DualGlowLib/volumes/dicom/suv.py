"""Standardised uptake value by body weight (SUVbw) of a DICOM PET.

After the vendor-neutral pseudo-code of QIBA: RSNA QIBA FDG-PET/CT Technical Committee, "FDG-PET/CT as an Imaging
Biomarker Measuring Response to Cancer Therapy", Profile 1.13 (2016), Appendix G. Decay Correction ADMIN and NONE, for
which it gives no rule, follow PS3.3 C.8.9.1.1.4 and C.8.9.4.1.5; enhanced files state the same things in other tags.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from math import exp, log
from typing import TYPE_CHECKING

from .file import number, text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["stated_units", "suv_factor"]

_UNITS = {"BQML": "Bq/ml", "CNTS": "counts", "CPS": "counts/s", "NONE": "ratio", "PCNT": "%"}
_SUV_TYPES = {"": "SUVbw", "BW": "SUVbw", "BSA": "SUVbsa", "LBM": "SUVlbm", "LBMJAMES128": "SUVlbm", "IBW": "SUVibw"}
_GE_SCAN_TIME = 0x0009100D
_PHILIPS_SUV, _PHILIPS_ACTIVITY = 0x70531000, 0x70531009
_LONGEST = 6.0  # half lives from injection to scan; later there is nothing to see
_EARLIEST = -600.0  # seconds; a dynamic scan starts shortly before the injection


def stated_units(dataset: Dataset) -> str:
    """What the voxels of a PET measure, after rescaling: ``"Bq/ml"``, ``"SUVbw"``, ``"counts"``, ``"ratio"`` …"""
    code = _unit_code(dataset)
    if code == "GML":
        return _SUV_TYPES.get(text(dataset, "SUVType"), "SUV")
    return _UNITS.get(code, code or "unknown")


def suv_factor(dataset: Dataset) -> tuple[float | None, str]:
    """The factor that turns rescaled voxel values into SUVbw (g/ml), or None and the reason why there is none.

    Args:
        dataset: header of the slice that was acquired first.

    Returns:
        The factor and an empty reason, or None and a clause such as ``"the patient's weight is missing"``.
    """
    units = _unit_code(dataset)
    if units == "GML":
        kind = stated_units(dataset)
        return (1.0, "") if kind == "SUVbw" else (None, f"the values are {kind} already")
    scale = 1.0
    if units == "CNTS":
        ready, scale = number(dataset, _PHILIPS_SUV), number(dataset, _PHILIPS_ACTIVITY)
        if ready:
            return ready, ""
        if not scale:
            return None, "the values are counts without a calibration"
    elif units != "BQML":
        return None, f"the values are in {stated_units(dataset)}"

    corrected = text(dataset, "CorrectedImage").split("\\")
    if "ATTN" not in corrected and text(dataset, "AttenuationCorrected") != "YES":
        return None, "the values are not said to be corrected for attenuation"
    weight = number(dataset, "PatientWeight")
    if not weight or not 1 < weight < 500:
        return None, "the patient's weight is missing" if not weight else f"a weight of {weight:g} kg is not plausible"
    sequence = dataset.get("RadiopharmaceuticalInformationSequence") or []
    tracer = sequence[0] if len(sequence) else None
    dose = number(tracer, "RadionuclideTotalDose") if tracer is not None else None
    half_life = number(tracer, "RadionuclideHalfLife") if tracer is not None else None
    if not dose or not half_life:
        return None, f"the {'injected dose' if not dose else 'half life'} is missing"
    if dose < 1e5:  # less than any scan; some exporters write megabecquerel
        return None, f"an injected dose of {dose:g} Bq is not plausible"

    how = text(dataset, "DecayCorrection")
    if not how and text(dataset, "DecayCorrected") == "YES":
        how = "START"  # of an enhanced file, which states the time itself
    if how in ("START", "ADMIN") and corrected != [""] and not {"DECY", "DECAY"}.intersection(corrected):
        return None, "the values are not said to be corrected for decay"
    if how == "ADMIN":
        return scale * weight * 1000 / dose, ""
    if how not in ("START", "NONE"):
        return None, "it isn't said to which time the values are corrected for decay"
    scan = _reference_time(dataset, half_life) if how == "START" else _frame_time(dataset, half_life)
    waited = _since_injection(tracer, scan, _LONGEST * half_life)
    if waited is None:
        return None, "the times of injection and scan are missing or not plausible"
    return scale * weight * 1000 / (dose * 2 ** (-waited / half_life)), ""


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


def _reference_time(dataset: Dataset, half_life: float) -> datetime | None:
    """The time that values with Decay Correction START are corrected to."""
    stated = _moment(text(dataset, "DecayCorrectionDateTime"))
    if stated:
        return stated
    series = _moment(text(dataset, "SeriesDate") + text(dataset, "SeriesTime"))
    acquired = _acquired(dataset)
    if series and (acquired is None or series <= acquired):
        return series
    # The series was made later, by postprocessing: its time says nothing.
    ge = _moment(text(dataset, _GE_SCAN_TIME))
    if ge:
        return ge
    offset, average = number(dataset, "FrameReferenceTime"), _average_time(dataset, half_life)
    if acquired and offset and average:
        return acquired + timedelta(seconds=average - offset / 1000)
    return acquired


def _frame_time(dataset: Dataset, half_life: float) -> datetime | None:
    """The time of values that are not corrected for decay: when the frame had its average count rate."""
    acquired = _acquired(dataset)
    return acquired and acquired + timedelta(seconds=_average_time(dataset, half_life))


def _average_time(dataset: Dataset, half_life: float) -> float:
    """Seconds from the start of a frame to its average count rate (PS3.3 C.8.9.4.1.5, example 2); 0 if unknown."""
    decay = log(2) / half_life * (number(dataset, "ActualFrameDuration") or 0.0) / 1000
    return half_life / log(2) * log(decay / (1 - exp(-decay))) if decay > 0 else 0.0


def _acquired(dataset: Dataset) -> datetime | None:
    return _moment(text(dataset, "AcquisitionDate") + text(dataset, "AcquisitionTime")) or _moment(
        text(dataset, "AcquisitionDateTime")
    )


def _since_injection(tracer: Dataset, scan: datetime | None, longest: float) -> float | None:
    """Seconds from injection to ``scan``; None if unknown or not credible.

    The date of injection, where there is one, may have been shifted when the file was made anonymous, so it is used
    only if it fits; without it the injection was in the hours before the scan, maybe before midnight.
    """
    if scan is None:
        return None
    injected = _moment(text(tracer, "RadiopharmaceuticalStartDateTime"))
    clock = _moment(scan.strftime("%Y%m%d") + text(tracer, "RadiopharmaceuticalStartTime")) or (
        injected and injected.replace(year=scan.year, month=scan.month, day=scan.day)
    )
    before = (injected, clock, clock and clock - timedelta(days=1))
    waits = ((scan - moment).total_seconds() for moment in before if moment)
    return next((seconds for seconds in waits if _EARLIEST <= seconds <= longest), None)


def _moment(value: str) -> datetime | None:
    """A DICOM date and time, ``YYYYMMDDHHMMSS.ffffff&ZZXX``; the offset from UTC is dropped, all being local."""
    found = re.fullmatch(r"(\d{8})(\d{2})(\d{2})?(\d{2})?(?:\.(\d{1,6}))?\d*(?:[+-]\d{4})?", value.replace(":", ""))
    if not found:
        return None
    day, hour, minute, second, fraction = found.groups()
    try:
        moment = datetime.strptime(f"{day}{hour}{minute or '00'}{second or '00'}", "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return moment + timedelta(microseconds=int((fraction or "0").ljust(6, "0")))
