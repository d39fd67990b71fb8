"""Cases that lie on a grid: on which, and their scans."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..preparation.intensity import normalise_t1
from ..volumes.grid import GRIDS, Grid
from ..volumes.reading import read_scan
from .case import Case

__all__ = ["grid_of", "read_on_grid"]


def grid_of(cases: Sequence[Case]) -> Grid | None:
    """The grid that cases lie on, after the first T1 that can be read; None if it is none, as of acquired scans."""
    for case in cases:
        with suppress(InputError):
            t1 = read_scan(case.t1)
            return next((grid for grid in GRIDS.values() if grid.holds(t1.shape, t1.affine)), None)
    return None


def read_on_grid(case: Case, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The scans of a case that lie on ``grid`` already, as ``prepare`` and ``simulate`` write them.

    Returns:
        Normalised T1 (``intensity.normalise_t1``), PET in SUVR, both float32, and brain mask (the case's own, or where
        the T1 is above 0), each of the grid's shape.

    Raises:
        InputError: for a scan that can't be read or lies elsewhere.
    """

    def read(path: Path) -> np.ndarray:
        scan = read_scan(path)
        if not grid.holds(scan.shape, scan.affine):
            raise InputError(
                f"{path} does not lie on the grid {grid.name!r} ({'×'.join(map(str, grid.shape))} in MNI152 space); "
                "prepare the cases first, all on one grid, or choose the grid that they lie on with --grid."
            )
        return scan.data

    t1, pet = read(case.t1), read(case.pet)
    mask = (t1 if case.mask is None else read(case.mask)) > 0
    return normalise_t1(t1, mask), pet, mask
