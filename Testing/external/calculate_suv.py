"""Factors to SUV of the headers that calculate-suv is tested with.

FOLDER is a clone of https://github.com/cornerstonejs/calculate-suv (MIT): ``test/metadata`` has headers of real scans,
``test/calculateSUV_SampleData.test.ts`` the factor to SUVbw that each must give, within 1e-6.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pydicom.dataset import Dataset

from DualGlowLib import InputError
from DualGlowLib.volumes.dicom.suv import suv_factor
from suite_table import Row, attempt, run

PRIVATE = {"SUVScaleFactor": 0x70531000, "ActivityConcentrationScaleFactor": 0x70531009}
TRACER = "RadionuclideTotalDose", "RadionuclideHalfLife", "RadiopharmaceuticalStart"


def header(values: dict) -> Dataset:
    """A slice's header from the suite's flat JSON."""
    dataset, tracer = Dataset(), Dataset()
    for key, value in values.items():
        if key == "PhilipsPETPrivateGroup":
            for name, number in value.items():
                dataset.add_new(PRIVATE[name], "DS", str(number))
        elif key == "GEPrivatePostInjectionDateTime":
            dataset.add_new(0x0009100D, "DT", value)
        else:
            setattr(tracer if key.startswith(TRACER) else dataset, key, value)
    dataset.RadiopharmaceuticalInformationSequence = [tracer]
    return dataset


def judged(file: Path, expected: float) -> tuple[str, str]:
    factor, reason = suv_factor(header(json.loads(file.read_text(encoding="utf-8"))[0]))
    if factor is None:
        raise InputError(reason)
    return "right" if abs(factor - expected) < 1e-6 else "wrong", f"{factor:.10f} for {expected:.10f}"


def rows(folder: Path) -> Iterator[Row]:
    test = (folder / "test" / "calculateSUV_SampleData.test.ts").read_text(encoding="utf-8")
    for name, number in re.findall(r"precomputedSUVFactors\.set\(\s*'([^']+)',\s*([\d.e-]+)\s*\)", test):
        file = folder / "test" / "metadata" / f"{name}-instances.json"
        yield attempt(name, partial(judged, file, float(number)))


if __name__ == "__main__":
    sys.exit(run(__doc__, rows))
