"""One picture of a model that learns: of each held-out case T1, PET, and what the model makes of the T1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..volumes.grid import Grid
from ..volumes.resampling import resample
from .drawing import LARGE, SMALL, grey, heat, text_size, write_text
from .montage import AXIAL, slice_lattice

__all__ = ["samples_picture"]

_TOP, _MARGIN = 52, 6  # pixels
_TITLE, _TITLE_COLOUR = "SYNTHETIC FDG-PET (mean, sample), research use only", (255, 220, 90)
_COLUMNS = ("T1", "{} PET", "mean", "sample")


def samples_picture(
    rows: Sequence[Sequence[np.ndarray]], names: Sequence[str], grid: Grid, caption: str = "", given: str = "acquired"
) -> np.ndarray:
    """An axial slice of each image, the patient's right on the picture's left; PETs of a row in the same colours.

    Args:
        rows: of each case T1 (white matter 1), its PET, mean and one sample (SUVR), on the grid.
        names: of the cases.
        grid: that they lie on.
        caption: more for the title, such as the step.
        given: what the second column's PETs are: acquired or simulated.

    Returns:
        uint8, rows × columns × 3.
    """
    strips = []
    for (t1, *pets), name in zip(rows, names, strict=True):
        high = max(float(np.percentile(pets[0][t1 > 0], 99.5)) if (t1 > 0).any() else 0.0, 0.1)
        cuts = [_cut(image, grid) for image in (t1, *pets)]
        strip = np.concatenate([grey(cuts[0], 0, 1.2), *(heat(cut, high) for cut in cuts[1:])], axis=1)
        write_text(strip, f"{name}, SUVR 0 to {high:.1f}", strip.shape[0] - 18, _MARGIN, SMALL)
        strips.append(strip)
    picture = np.concatenate([np.zeros((_TOP, strips[0].shape[1], 3)), *strips])
    title = ", ".join(filter(None, (_TITLE, caption)))
    fits = text_size(title)[1] < picture.shape[1] - 2 * _MARGIN
    write_text(picture, title, _MARGIN - 3, _MARGIN, LARGE if fits else SMALL, _TITLE_COLOUR)
    width = picture.shape[1] // len(_COLUMNS)
    for place, column in enumerate(_COLUMNS):
        label = column.format(given)
        height, length = text_size(label)
        write_text(picture, label, _TOP - height - 3, place * width + (width - length) // 2)
    return np.rint(picture).clip(0, 255).astype(np.uint8)


def _cut(image: np.ndarray, grid: Grid) -> np.ndarray:
    """The slice, as rows and columns of a picture."""
    shape, place = slice_lattice(*AXIAL)
    return resample(image.astype(np.float32), grid.affine, shape, place, order=1)[..., 0].T
