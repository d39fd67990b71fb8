"""Reference regions of SUVR in template space.

The regions are our own: an ellipsoid in the middle of the pons, ellipsoids in the cerebellar hemispheres times the
template's grey matter, or the patient's own brain. No atlas is used, so no atlas licence applies.
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..volumes.affines import from_matvec
from ..volumes.grid import Grid
from ..volumes.lattices import coordinates
from ..volumes.resampling import resample
from .template import load_template

__all__ = ["CEREBELLUM", "PONS", "REFERENCES", "pons", "reference_mean", "reference_region"]

REFERENCES = ("pons", "cerebellum", "brain")
"""The choices, the default first."""

PONS = ((0.0, -27.0, -33.0), (9.0, 6.0, 9.0))
"""Centre and semi-axes in millimetres: well inside the pons, so that the scanner's blur hardly mixes anything in."""

CEREBELLUM = ((27.0, -62.0, -42.0), (16.0, 16.0, 11.0))
"""Centre and semi-axes in millimetres of the right hemisphere's part; the left is its mirror image. Away from the
occipital and temporal lobes above, whose uptake spills over, and from the vermis, whose uptake is higher."""

_MIN_COVERED = 0.8  # of the region: less in the field of view and the mean is of something else


def pons(grid: Grid, fine: int = 3) -> np.ndarray:
    """The pons ellipsoid's share of each voxel, from ``fine``³ points per voxel; float32."""
    centre, axes = (np.array(v) for v in PONS)
    offset, steps = grid.affine[:3, 3], np.array(grid.spacing)
    low = np.floor((centre - axes - offset) / steps).astype(int)
    shape = np.ceil((centre + axes - offset) / steps).astype(int) + 1 - low
    box = from_matvec(np.diag(steps / fine), offset + steps * (low - (fine - 1) / (2 * fine)))
    points = coordinates(tuple(fine * shape), box)
    inside = (((points - centre) / axes) ** 2).sum(-1) <= 1
    i, j, k = shape
    share = np.zeros(grid.shape, dtype=np.float32)
    where = tuple(slice(start, start + count) for start, count in zip(low, shape, strict=True))
    share[where] = inside.reshape(i, fine, j, fine, k, fine).mean((1, 3, 5))
    return share


def cerebellum(grid: Grid) -> np.ndarray:
    """Cerebellar grey matter of both hemispheres, share of each voxel; float32."""
    grey = load_template().gm
    centre, axes = (np.array(v) for v in CEREBELLUM)
    points = coordinates(grey.shape, grey.affine)
    inside = (((np.abs(points) * [1, 0, 0] + points * [0, 1, 1] - centre) / axes) ** 2).sum(-1) <= 1
    return resample(inside * grey.data, grey.affine, grid.shape, grid.affine)


def reference_region(reference: str, grid: Grid, mask: np.ndarray) -> np.ndarray:
    """How much of each voxel belongs to a reference region.

    Args:
        reference: "pons", "cerebellum" (grey matter) or "brain".
        grid: the lattice in template space.
        mask: bool, the grid's shape; the patient's brain, which is the region "brain".

    Returns:
        float32 of the grid's shape, 0..1.

    Raises:
        InputError: for another reference.
    """
    if reference == "pons":
        return pons(grid)
    if reference == "cerebellum":
        return cerebellum(grid)
    if reference == "brain":
        return np.asarray(mask, np.float32)
    raise InputError(f"There is no reference region {reference!r}; choose one of {', '.join(REFERENCES)}.")


def reference_mean(
    pet: np.ndarray, fov: np.ndarray, grid: Grid, mask: np.ndarray, reference: str = "pons", where: str = "the PET"
) -> float:
    """Mean of a PET in a reference region, in the PET's own units.

    Args:
        pet: on the grid, in any units.
        fov: bool, the grid's shape: where the PET has been measured.
        grid, mask, reference: as for ``reference_region``.
        where: what the message calls the PET.

    Raises:
        InputError: if a fifth of the region or more lies outside the field of view, or the mean there is less than a
            tenth of the brain's (dividing by it would only magnify noise).
    """
    region = reference_region(reference, grid, mask)
    seen = region * fov
    covered = float(seen.sum()) / max(float(region.sum()), 1e-6)
    if covered < _MIN_COVERED:
        raise InputError(
            f"Only {covered:.0%} of the reference region ({reference}) lies in the field of view of {where}; choose "
            "another reference region, or give a PET that covers it."
        )
    value = float((seen * pet).sum() / seen.sum())
    brain = float(pet[mask & fov].mean()) if (mask & fov).any() else 0.0
    if not value > 0.1 * max(brain, 0) or not brain > 0:
        raise InputError(
            f"The uptake of {where} in the reference region ({reference}) is {value:.3g}, against {brain:.3g} in the "
            "whole brain, so no SUVR can be made of it; check that it is an FDG-PET of this patient."
        )
    return value
