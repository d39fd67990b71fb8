"""One picture of many PETs of one brain: a column for each, all in the same colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..preparation.t1 import Prepared
from ..volumes.resampling import resample
from .drawing import LARGE, SMALL, blend, diverging, heat, iso_line, text_size, write_text

__all__ = ["AXIAL", "montage", "slice_lattice"]

_PIXEL, _HALF = 1.0, np.array([80.0, 100.0, 86.0])  # millimetres: half of what is shown along x, y, z
_CENTRE = np.array([0.0, -17.0, 5.0])  # of the template's brain
# The axis that runs across, the one that runs down (both towards lower values), the one looked along, where
# (template millimetres), and what is left in the picture: radiological convention.
_ROWS = ((0, 1, 2, 8.0, "R", "axial"), (0, 2, 1, -45.0, "R", "coronal"), (1, 2, 0, -6.0, "A", "sagittal"))
AXIAL = _ROWS[0][:4]
"""Arguments of ``slice_lattice`` for the slice through the basal ganglia."""
_LEFT, _TOP, _BAR = 24, 52, 60  # pixels
_TITLE = "SYNTHETIC FDG-PET, research use only"
_CHANGE = "change since {first}"
_OUTLINE, _TITLE_COLOUR = (120, 120, 120), (255, 220, 90)


def montage(
    prepared: Prepared,
    pets: Sequence[np.ndarray],
    labels: Sequence[str],
    high: float | None = None,
    changes: bool = False,
) -> np.ndarray:
    """Axial, coronal and sagittal slices (rows) of PETs on the grid (columns), with the brain's outline.

    Slices lie in template space, upright, the patient's right on the picture's left.

    Args:
        prepared: of the T1 that they belong to.
        pets: SUVR on its grid.
        labels: above the columns.
        high: SUVR at the upper end of the colours; None for the 99.5th percentile in the brain of them all.
        changes: below them, the same slices of each PET minus the first, in colours of their own.

    Returns:
        uint8, rows × columns × 3.
    """
    inside = prepared.mask
    if high is None:
        high = float(np.percentile(np.stack([pet[inside] for pet in pets]), 99.5))
    parts = [(_body(prepared, pets, lambda cut: heat(np.clip(cut, 0, None), high)), heat, 0.0, high, "SUVR")]
    if changes:
        differences = [pet - pets[0] for pet in pets]
        most = float(np.percentile(np.abs(np.stack([pet[inside] for pet in differences])), 99.5))
        most = max(np.ceil(20 * most) / 20, 0.05)
        body = _body(prepared, differences, lambda cut: diverging(cut, most))
        parts.append((body, diverging, -most, most, "SUVR"))
    width = parts[0][0].shape[1]
    step = (width - _LEFT) // len(pets)
    pieces = []
    for number, (body, colours, low, top, unit) in enumerate(parts):
        piece = np.zeros((_TOP + body.shape[0], width + _BAR, 3))
        piece[_TOP:, :width] = body
        for place, label in enumerate(labels if not number else ()):
            height, length = text_size(label)
            write_text(piece, label, _TOP - height - 3, _LEFT + place * step + (step - length) // 2)
        text, colour = (_CHANGE.format(first=labels[0]), (255, 255, 255)) if number else (_TITLE, _TITLE_COLOUR)
        size = LARGE if text_size(text)[1] < piece.shape[1] - 12 else SMALL
        write_text(piece, text, _TOP - 24 if number else 3, _LEFT if number else 6, size, colour)
        _bar(piece, width, colours, low, top, unit)
        pieces.append(piece)
    return np.rint(np.concatenate(pieces)).clip(0, 255).astype(np.uint8)


def _body(prepared: Prepared, images: Sequence[np.ndarray], coloured: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Rows of slices, columns of images, in these colours."""
    grid = prepared.grid
    share = prepared.mask.astype(np.float32)
    strips = []
    for across, down, along, level, side, name in _ROWS:
        shape, place = slice_lattice(across, down, along, level)
        outline = iso_line(resample(share, grid.affine, shape, place, order=1)[..., 0].T, 0.5, 1.2)
        panels = []
        for image in images:
            panel = coloured(resample(image, grid.affine, shape, place, order=3)[..., 0].T)
            blend(panel, 0.8 * outline, _OUTLINE)
            panels.append(panel)
        write_text(panels[0], side, (panels[0].shape[0] - text_size(side)[0]) // 2, 4)
        strips.append(np.concatenate([_sideways(name, panels[0].shape[0]), *panels], axis=1))
    width = max(strip.shape[1] for strip in strips)
    return np.concatenate([_widened(strip, len(images), width) for strip in strips])


def slice_lattice(across: int, down: int, along: int, level: float) -> tuple[tuple[int, int, int], np.ndarray]:
    """A slice of template space: shape (across, down, 1), 1 mm a pixel, and 4×4 to template millimetres.

    Args:
        across, down: axes of the picture, 0 to 2; both run towards lower values.
        along: the axis looked along.
        level: where on that, millimetres.
    """
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


def _bar(
    picture: np.ndarray,
    column: int,
    colours: Callable[[np.ndarray, float], np.ndarray],
    low: float,
    high: float,
    unit: str,
) -> None:
    """A bar of the colours, with its ends and unit."""
    height = picture.shape[0] // 2
    top = (picture.shape[0] - height) // 2
    values = np.linspace(high, low, height)[:, None].repeat(14, 1)
    picture[top : top + height, column + 12 : column + 26] = colours(values, high)
    ends = (f"{high:.1f}", "0") if not low else (f"+{high:.2f}", f"{low:.2f}")
    for text, row in ((ends[0], top - 24), (ends[1], top + height + 4), (unit, top + height + 26)):
        write_text(picture, text, row, column + 19 - text_size(text)[1] // 2)
