"""Why whole-volume numbers are not enough: what becomes of them when a method erases a deficit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...atlas.regions import REGIONS, weights
from ...metrics.images import image_metrics, whole_volume_metrics
from ...pictures.charts import Chart, Curve, curves
from ...pictures.drawing import png_bytes
from ...pictures.samples import rows_picture
from ...simulate.anatomy import template_anatomy
from ...simulate.case import simulate_case
from ...volumes.grid import GRIDS, Grid
from ..table import Cell, Part, Table

__all__ = ["deficit"]

_REGION, _OTHER = "posterior_cingulate_precuneus", "occipital"
_DEPTHS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
_SHOWN = 0.2
_SEED = 11


def deficit(grid: Grid = GRIDS["medium"], depths: Sequence[float] = _DEPTHS) -> Part:
    """A simulated PET with a deficit in the posterior cingulate, against the same PET without: whole-volume SSIM and
    PSNR, SSIM in the brain, and the error of region means, by the deficit's depth.

    Args:
        grid: of the case.
        depths: of the deficit, shares of the uptake.

    Raises:
        InputError: if matplotlib is missing.
    """
    case = simulate_case(_SEED, [template_anatomy()], grid)
    t1, pet, mask = (np.asarray(image, np.float32) for image in (case.t1, case.pet, case.mask))
    kernels = weights(grid)
    place, other = (kernels[REGIONS.index(name)] for name in (_REGION, _OTHER))
    share = place / place.max()
    data_range = float(np.round(1.2 * np.quantile(pet, 0.9999), 2))
    rows, numbers = [], []
    for depth in depths:
        truth = pet * (1 - depth * share)
        whole = whole_volume_metrics(pet, truth, data_range)
        inside = image_metrics(pet, truth, mask > 0, data_range)
        errors = [100 * float((kernel * (pet - truth)).sum() / (kernel * truth).sum()) for kernel in (place, other)]
        values = (whole["ssim_whole"], inside.ssim, whole["psnr_whole"], inside.psnr, *errors)
        numbers.append(values)
        forms = (".4f", ".4f", ".1f", ".1f", ".1f", ".1f")
        cells = [
            Cell(value if np.isfinite(value) else None, form=form) for value, form in zip(values, forms, strict=True)
        ]
        rows.append((f"{100 * depth:g} %", cells))
    table = Table(
        "a deficit that is erased, by its depth",
        ["depth", "SSIM whole volume", "SSIM in the brain", "PSNR whole volume, dB", "PSNR in the brain, dB",
         f"error of {_spoken(_REGION)}, %", f"error of {_spoken(_OTHER)}, %"],
        rows,
    )  # fmt: skip
    chart = _chart(depths, np.array(numbers))
    truth = pet * (1 - _SHOWN * share)
    names, rows_of = ["T1", "simulated PET", "deficit erased"], [[t1, truth, pet]]
    title = "SIMULATED FDG-PET"
    picture = rows_picture(rows_of, [f"{100 * _SHOWN:g} % deficit"], names, grid, "", title, _level(share, grid))
    notes = [
        f"A simulated case on the grid {grid.name}, seed {_SEED}; uptake of the {_spoken(_REGION)} is lowered by so "
        "much in the true PET, and the prediction is that PET without the deficit, else perfect.",
        "Whole-volume SSIM hardly tells a prediction that misses the disease from a perfect one; the region does.",
    ]
    return Part(
        "An erased deficit", [table], {"": chart.png, "images": png_bytes(picture)}, {"": chart.svg}, notes
    )  # fmt: skip


def _chart(depths: Sequence[float], numbers: np.ndarray) -> Chart:
    shown = {
        f"error of {_spoken(_REGION)}": numbers[:, 4],
        f"error of {_spoken(_OTHER)}": numbers[:, 5],
        "SSIM lost, in the brain": 100 * (1 - numbers[:, 1]),
        "SSIM lost, whole volume": 100 * (1 - numbers[:, 0]),
    }
    percent = [100 * depth for depth in depths]
    lines = [Curve(name, percent, values.tolist(), group=group) for group, (name, values) in enumerate(shown.items())]
    title = "A prediction that erases a deficit, else perfect"
    return curves({"": lines}, title, "depth of the deficit, %", "%")


def _spoken(region: str) -> str:
    return region.replace("_", " ")


def _level(share: np.ndarray, grid: Grid) -> float:
    """Height of the slice through the middle of the deficit, millimetres."""
    heights = share.sum((0, 1))
    middle = float((heights * np.arange(len(heights))).sum() / heights.sum())
    return float(grid.affine[2, 2] * middle + grid.affine[2, 3])
