"""A simulated cohort as another site would have acquired it: other resolution, contrast and level of uptake."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.writing import write_scan

__all__ = ["make_site"]


def make_site(cohort: Path, out: Path, blur: float = 5.0, gamma: float = 1.3, uptake: float = 1.12) -> Path:
    """A copy of a cohort with other scans.

    Args:
        cohort: that ``simulate`` wrote; the truth beside it is left out, since it is not that of the new scans.
        out: a folder that doesn't exist.
        blur: full width at half maximum of the Gaussian that PETs are blurred by, mm.
        gamma: exponent that the normalised T1s are raised to.
        uptake: factor on SUVR.
    """
    shutil.copytree(cohort, out, ignore=shutil.ignore_patterns("truth"))
    for case in read_cases(out):
        t1, pet = read_scan(case.t1), read_scan(case.pet)
        sigma = blur / 2.355 / np.linalg.norm(pet.affine[:3, :3], axis=0)
        t1.data = np.clip(t1.data, 0, None) ** gamma
        pet.data = uptake * gaussian_filter(pet.data, sigma)
        for scan, path in ((t1, case.t1), (pet, case.pet)):
            path.unlink()
            write_scan(scan, path)
    return out
