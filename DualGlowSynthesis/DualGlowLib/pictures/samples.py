"""Pictures of many cases, a row each: T1, its PET, and what models make of the T1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..volumes.grid import Grid
from ..volumes.resampling import resample
from .drawing import LARGE, SMALL, grey, heat, text_size, write_text
from .montage import AXIAL, slice_lattice

__all__ = ["rows_picture", "samples_picture"]

_TOP, _BELOW, _MARGIN = 52, 20, 6  # pixels
_WHAT, _USE = "SYNTHETIC FDG-PET", "research use only"
_TITLE_COLOUR = (255, 220, 90)


def samples_picture(
    rows: Sequence[Sequence[np.ndarray]], names: Sequence[str], grid: Grid, caption: str = "", given: str = "acquired"
) -> np.ndarray:
    """A model that learns: of held-out cases T1, PET, and what the model makes of the T1; see ``rows_picture``.

    Args:
        rows: of each case T1 (white matter 1), its PET, mean and one sample (SUVR), on the grid.
        names: of the cases.
        grid: that they lie on.
        caption: more for the title, such as the step.
        given: what the second column's PETs are: acquired or simulated.

    Returns:
        uint8, rows × columns × 3.
    """
    return rows_picture(rows, names, ("T1", f"{given} PET", "mean", "sample"), grid, caption, f"{_WHAT} (mean, sample)")


def rows_picture(
    rows: Sequence[Sequence[np.ndarray]],
    names: Sequence[str],
    columns: Sequence[str],
    grid: Grid,
    caption: str = "",
    what: str = _WHAT,
    level: float = AXIAL[3],
) -> np.ndarray:
    """An axial slice of each image, the patient's right on the picture's left; PETs of a row in the same colours.

    Args:
        rows: of each case T1 (white matter 1) and PETs (SUVR), on the grid; the first PET sets the colours.
        names: of the cases.
        columns: what the images are.
        grid: that they lie on.
        caption: more for the title.
        what: the title's beginning: what the PETs are.
        level: height of the slice in template space, millimetres.

    Returns:
        uint8, rows × columns × 3.
    """
    strips = []
    for (t1, *pets), name in zip(rows, names, strict=True):
        high = max(float(np.percentile(pets[0][t1 > 0], 99.5)) if (t1 > 0).any() else 0.0, 0.1)
        cuts = [_cut(image, grid, level) for image in (t1, *pets)]
        strip = np.concatenate([grey(cuts[0], 0, 1.2), *(heat(cut, high) for cut in cuts[1:])], axis=1)
        below = np.zeros((_BELOW, *strip.shape[1:]))
        write_text(below, f"{name}, SUVR 0 to {high:.1f}", 1, _MARGIN, SMALL)
        strips += [strip, below]
    picture = np.concatenate([np.zeros((_TOP, strips[0].shape[1], 3)), *strips])
    title = ", ".join(filter(None, (what, _USE, caption)))
    fits = text_size(title)[1] < picture.shape[1] - 2 * _MARGIN
    write_text(picture, title, _MARGIN - 3, _MARGIN, LARGE if fits else SMALL, _TITLE_COLOUR)
    width = picture.shape[1] // len(columns)
    for place, label in enumerate(columns):
        size = LARGE if text_size(label)[1] < width else SMALL
        height, length = text_size(label, size)
        write_text(picture, label, _TOP - height - 3, place * width + (width - length) // 2, size)
    return np.rint(picture).clip(0, 255).astype(np.uint8)


def _cut(image: np.ndarray, grid: Grid, level: float) -> np.ndarray:
    """The slice, as rows and columns of a picture."""
    shape, place = slice_lattice(*AXIAL[:3], level)
    return resample(image.astype(np.float32), grid.affine, shape, place, order=1)[..., 0].T
