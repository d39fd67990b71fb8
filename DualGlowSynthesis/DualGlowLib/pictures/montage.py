"""One picture of many PETs of one brain: a column for each, all in the same colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..preparation.t1 import Prepared
from ..volumes.resampling import resample
from .drawing import LARGE, SMALL, blend, heat, iso_line, text_size, write_text

__all__ = ["montage"]

_PIXEL, _HALF = 1.0, np.array([80.0, 100.0, 86.0])  # millimetres: half of what is shown along x, y, z
_CENTRE = np.array([0.0, -17.0, 5.0])  # of the template's brain
# The axis that runs across, the one that runs down (both towards lower values), the one looked along, where
# (template millimetres), and what is left in the picture: radiological convention.
_ROWS = ((0, 1, 2, 8.0, "R", "axial"), (0, 2, 1, -45.0, "R", "coronal"), (1, 2, 0, -6.0, "A", "sagittal"))
_LEFT, _TOP, _BAR = 24, 52, 60  # pixels
_TITLE = "SYNTHETIC FDG-PET, research use only"
_OUTLINE, _TITLE_COLOUR = (120, 120, 120), (255, 220, 90)


def montage(
    prepared: Prepared, pets: Sequence[np.ndarray], labels: Sequence[str], high: float | None = None
) -> np.ndarray:
    """Axial, coronal and sagittal slices (rows) of PETs on the grid (columns), with the brain's outline.

    Slices lie in template space, upright, the patient's right on the picture's left.

    Args:
        prepared: of the T1 that they belong to.
        pets: SUVR on its grid.
        labels: above the columns.
        high: SUVR at the upper end of the colours; None for the 99.5th percentile in the brain of them all.

    Returns:
        uint8, rows × columns × 3.
    """
    grid = prepared.grid
    if high is None:
        high = float(np.percentile(np.stack([pet[prepared.mask] for pet in pets]), 99.5))
    share = prepared.mask.astype(np.float32)
    strips = []
    for across, down, along, level, side, name in _ROWS:
        shape, place = _slice(across, down, along, level)
        outline = iso_line(resample(share, grid.affine, shape, place, order=1)[..., 0].T, 0.5, 1.2)
        panels = []
        for pet in pets:
            cut = resample(pet, grid.affine, shape, place, order=3)[..., 0].T
            panel = heat(np.clip(cut, 0, None), high)
            blend(panel, 0.8 * outline, _OUTLINE)
            panels.append(panel)
        write_text(panels[0], side, (panels[0].shape[0] - text_size(side)[0]) // 2, 4)
        strips.append(np.concatenate([_sideways(name, panels[0].shape[0]), *panels], axis=1))
    width = max(strip.shape[1] for strip in strips)
    strips = [_widened(strip, len(pets), width) for strip in strips]
    body = np.concatenate(strips)
    picture = np.zeros((_TOP + body.shape[0], width + _BAR, 3))
    picture[_TOP:, :width] = body
    step = (width - _LEFT) // len(pets)
    for number, label in enumerate(labels):
        height, length = text_size(label)
        write_text(picture, label, _TOP - height - 3, _LEFT + number * step + (step - length) // 2)
    size = LARGE if text_size(_TITLE)[1] < picture.shape[1] - 12 else SMALL
    write_text(picture, _TITLE, 3, 6, size, _TITLE_COLOUR)
    _bar(picture, width, high)
    return np.rint(picture).clip(0, 255).astype(np.uint8)


def _slice(across: int, down: int, along: int, level: float) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape (across, down, 1) and 4×4 to template millimetres."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    affine[across, 0] = affine[down, 1] = -_PIXEL
    affine[along, 2] = 1
    affine[[across, down], 3] = (_CENTRE + _HALF)[[across, down]]
    affine[along, 3] = level
    return (round(2 * _HALF[across] / _PIXEL) + 1, round(2 * _HALF[down] / _PIXEL) + 1, 1), affine


def _sideways(name: str, height: int) -> np.ndarray:
    """The row's name, to be read from below."""
    line = np.zeros((_LEFT, height, 3))
    write_text(line, name, 2, (height - text_size(name)[1]) // 2)
    return line.transpose(1, 0, 2)[::-1]


def _widened(strip: np.ndarray, count: int, width: int) -> np.ndarray:
    """Columns of equal width in every row."""
    panels = np.split(strip[:, _LEFT:], count, axis=1)
    spare = (width - _LEFT) // count - panels[0].shape[1]
    padded = [np.pad(panel, ((0, 0), (spare // 2, spare - spare // 2), (0, 0))) for panel in panels]
    return np.concatenate([strip[:, :_LEFT], *padded], axis=1)


def _bar(picture: np.ndarray, column: int, high: float) -> None:
    """A bar of the colours, with its ends and unit."""
    height = picture.shape[0] // 2
    top = (picture.shape[0] - height) // 2
    values = np.linspace(high, 0, height)[:, None].repeat(14, 1)
    picture[top : top + height, column + 12 : column + 26] = heat(values, high)
    for text, row in ((f"{high:.1f}", top - 24), ("0", top + height + 4), ("SUVR", top + height + 26)):
        write_text(picture, text, row, column + 19 - text_size(text)[1] // 2)
