"""A coarse set of brain regions, defined here by MNI152 coordinates.

Each region is a handful of spheres placed by hand on the gyri and nuclei it is named after; a voxel belongs to the
region of its nearest sphere (nearest in power distance, with soft borders of a few millimetres). No atlas is used, so
no atlas licence applies. The borders are those of lobes and networks, not of gyri: good enough to give an FDG pattern
its regional contrast and to report region means, not for anatomy.

The regions divide the whole of space; multiplied by a tissue map they become regions of interest (``weights``).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from ..volumes.grid import GRIDS, Grid
from ..volumes.lattices import coordinates
from ..volumes.resampling import resample
from ..volumes.separable import HALF, WORK, apply_axes, half_affine, lines, sample_axes, upsample
from .derived import dense, derived
from .reference import PONS, pons
from .template import load_template

__all__ = [
    "PARTITION",
    "PONS",
    "REGIONS",
    "SEEN",
    "compute_weights",
    "coordinates",
    "incomplete",
    "labels",
    "partition",
    "pons",
    "regions_seen",
    "weights",
]

# Region: spheres (x, y, z, radius) in RAS+ millimetres of MNI152 space. "*" in place of a side: written for the right
# half (x > 0) and mirrored. Names with "_L"/"_R" are made from the ones that end in "_*".
_SPHERES: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "posterior_cingulate_precuneus": ((7, -56, 46, 12), (6, -44, 30, 10), (8, -68, 42, 10), (7, -54, 16, 8)),
    "inferior_parietal_*": (
        (46, -60, 40, 12), (56, -40, 36, 12), (28, -62, 56, 10), (38, -50, 54, 10), (34, -74, 42, 10),
    ),
    "lateral_temporal_*": (
        (58, -14, 2, 10), (60, -30, 8, 10), (60, -32, -6, 10), (58, -12, -16, 10), (54, -30, -22, 10),
        (52, -54, -10, 10), (52, -56, 10, 10), (42, 12, -32, 12), (36, -44, -18, 8), (38, -24, -26, 8),
        (48, 0, -34, 10),
    ),
    "medial_temporal_*": ((27, -20, -14, 8), (24, -6, -22, 8), (24, -32, -10, 7), (24, -16, -28, 6), (20, 4, -24, 6)),
    "medial_frontal": (
        (7, 52, 26, 12), (7, 36, 18, 10), (7, 52, -4, 12), (7, 34, -18, 10), (8, 28, 46, 10), (8, 10, 62, 10),
        (6, 12, 36, 10), (6, -10, 40, 8), (6, 22, -6, 8),
    ),
    "lateral_frontal_*": (
        (38, 34, 30, 12), (28, 52, 16, 12), (48, 18, 22, 12), (48, 28, 4, 12), (40, 46, -4, 12), (28, 28, 46, 12),
        (32, 34, -14, 12), (22, 50, -12, 10), (22, 14, 58, 10), (40, 12, 46, 10), (50, 10, 10, 8),
    ),
    "occipital": (
        (10, -76, 8, 12), (10, -82, 26, 10), (14, -66, -4, 8), (36, -82, 12, 12), (28, -92, 4, 12), (38, -78, -8, 10),
        (24, -84, 34, 8), (12, -98, 0, 10), (24, -76, -10, 8),
    ),
    "sensorimotor_*": (
        (44, -8, 48, 12), (46, -24, 52, 12), (8, -28, 62, 10), (26, -26, 66, 10), (58, -8, 28, 12), (26, -6, 62, 10),
        (54, -12, 14, 8), (54, -20, 40, 10), (28, -40, 64, 8),
    ),
    "insula_*": ((38, 6, -4, 7), (38, -8, 4, 7), (36, 18, 2, 6), (38, -20, 10, 6)),
    "thalamus_*": ((9, -20, 8, 9), (14, -24, 6, 8), (7, -10, 8, 6)),
    "striatum_*": (
        (12, 16, 4, 7), (13, 10, 12, 6), (15, -2, 20, 5), (25, 8, 2, 7), (28, -4, 4, 7), (19, -4, 0, 6),
        (11, 11, -7, 5),
    ),
    "cerebellum": (
        (22, -64, -34, 16), (40, -60, -38, 14), (12, -52, -22, 10), (2, -62, -26, 10), (12, -72, -44, 12),
        (26, -48, -46, 12), (26, -78, -30, 10),
    ),
    "brain_stem": ((3, -28, -34, 12), (3, -36, -50, 10), (5, -24, -16, 9), (3, -42, -64, 10), (3, -30, -42, 10)),
}  # fmt: skip

SEEN = 0.9
"""Share of a region that must have been measured, or its mean is not that of the region and is not given."""

_CHUNK = 4096  # voxels at once
_SOFTNESS = 5.0  # mm; two spheres 25 mm apart meet in a border that is about 4 mm wide


def _names() -> tuple[str, ...]:
    names: list[str] = []
    for name in _SPHERES:
        names += [name[:-1] + side for side in "LR"] if name.endswith("*") else [name]
    return tuple(names)


PARTITION: tuple[str, ...] = _names()
"""The regions that divide space, in the order of ``partition``'s first axis."""

REGIONS: tuple[str, ...] = (*PARTITION, "pons", "white_matter")
"""The regions that are reported, in the order of ``weights``'s first axis."""


def _spheres() -> tuple[np.ndarray, np.ndarray]:
    """All spheres, both sides: ``[n, 4]`` and the index of each one's region in ``PARTITION``."""
    rows, owner = [], []
    for name, spheres in _SPHERES.items():
        for x, y, z, radius in spheres:
            for side, sign in (("L", -1), ("R", 1)):
                rows.append((sign * x, y, z, radius))
                owner.append(PARTITION.index(name[:-1] + side if name.endswith("*") else name))
    return np.array(rows, dtype=np.float32), np.array(owner)


def partition(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """How much of each voxel's surroundings belongs to each region of ``PARTITION``.

    Args:
        shape: voxels along the three axes.
        affine: 4×4, voxel indices to RAS+ millimetres of MNI152 space.

    Returns:
        float32 ``[len(PARTITION), *shape]``; sums to 1 over the first axis, everywhere.
    """
    spheres, owner = _spheres()
    points = coordinates(shape, affine).reshape(-1, 3)
    result = np.empty((len(PARTITION), len(points)), dtype=np.float32)
    belongs = (owner[:, None] == np.arange(len(PARTITION))).astype(np.float32)
    for start in range(0, len(points), _CHUNK):
        chunk = points[start : start + _CHUNK]
        # Squared power distance, written as a product so that no [points, spheres, 3] array is made.
        power = (chunk**2).sum(1)[:, None] - 2 * chunk @ spheres[:, :3].T
        power += ((spheres[:, :3] ** 2).sum(1) - spheres[:, 3] ** 2)[None]
        score = np.exp((power.min(1, keepdims=True) - power) / (2 * _SOFTNESS**2))
        share = belongs.T @ score.T
        result[:, start : start + _CHUNK] = share / share.sum(0)
    return result.reshape(-1, *shape)


@lru_cache(maxsize=1)
def half_partition() -> np.ndarray:
    """``partition`` on the 4 mm lattice ``HALF``; read-only."""
    share = partition(HALF, half_affine())
    share.setflags(write=False)
    return share


def work_partition() -> np.ndarray:
    """``partition`` on ``WORK``, interpolated from ``half_partition``."""
    return upsample(torch.from_numpy(half_partition().copy()), WORK.shape).numpy()


@lru_cache(maxsize=4)
def weights(grid: Grid) -> np.ndarray:
    """The regions of interest on a grid, for means: ``(weights * pet).sum(axes) `` with weights that sum to 1.

    The same for every case, as an atlas in template space is: a region of ``PARTITION`` times the template's grey
    matter (all tissue in the brain stem), a small ellipsoid in the middle of the pons, and the core of the cerebral
    white matter.

    Returns:
        float32 ``[len(REGIONS), *grid.shape]``; each sums to 1; read-only.
    """
    shipped = derived(f"weights-{grid.name}") if grid == GRIDS.get(grid.name) else {}
    maps = dense(**shipped) if shipped else compute_weights(grid)
    maps.setflags(write=False)
    return maps


def compute_weights(grid: Grid) -> np.ndarray:
    """``weights``, from the template."""
    template = load_template()
    gm, wm = (resample(s.data, s.affine, WORK.shape, WORK.affine) for s in (template.gm, template.wm))
    wider = [np.sqrt(max(step**2 - 4.0, 0)) for step in grid.spacing]
    axes = sample_axes(lines(WORK.shape, WORK.affine), lines(grid.shape, grid.affine), wider, tent=True)
    maps, cerebrum = np.empty((len(REGIONS), *grid.shape), np.float32), np.ones(WORK.shape, np.float32)

    def put(name: str, at_work: np.ndarray) -> None:
        found = apply_axes(axes, torch.from_numpy(at_work)).numpy()
        found[found < 0.1 * found.max()] = 0
        maps[REGIONS.index(name)] = found / found.sum()

    for name, coarse in zip(PARTITION, half_partition(), strict=True):  # one by one: each takes megabytes on ``WORK``
        share = upsample(torch.from_numpy(coarse.copy()), WORK.shape).numpy()
        put(name, share * (gm + wm if name == "brain_stem" else gm))
        if name in ("brain_stem", "cerebellum"):
            cerebrum -= share
    put("pons", pons(WORK))
    put("white_matter", np.clip(5 * wm - 4, 0, 1) * cerebrum)
    return maps


def regions_seen(grid: Grid, seen: np.ndarray | None) -> np.ndarray:
    """Share of each region of ``REGIONS`` (by its weights) that lies where a scan has measured.

    Args:
        grid: the lattice in template space.
        seen: bool, the grid's shape; None for everywhere.
    """
    if seen is None or seen.all():
        return np.ones(len(REGIONS))
    return np.tensordot(weights(grid), seen.astype(np.float64), 3)


def incomplete(shares: np.ndarray, least: float = SEEN) -> dict[str, float]:
    """Those of ``REGIONS`` of which less than ``least`` is there, by name: the share that is, to three digits."""
    return {name: round(float(share), 3) for name, share in zip(REGIONS, shares, strict=True) if share < least}


def labels(grid: Grid) -> np.ndarray:
    """A label map for display: 0 outside the template's brain, else 1 + the index in ``PARTITION``; uint8."""
    mask = load_template().mask
    inside = resample(mask.data, mask.affine, grid.shape, grid.affine) > 0.5
    return np.where(inside, partition(grid.shape, grid.affine).argmax(0) + 1, 0).astype(np.uint8)
