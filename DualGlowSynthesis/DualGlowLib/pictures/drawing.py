"""Lines, letters and colours in arrays of pixels, and PNG files."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from ..errors import InputError
from ..files import write_whole
from ..outputs import NAME, PICTURE, Output, check_outputs

__all__ = [
    "LARGE",
    "SMALL",
    "blend",
    "diverging",
    "edge_line",
    "grey",
    "heat",
    "iso_line",
    "picture_output",
    "png_bytes",
    "text_size",
    "write_png",
    "write_text",
]

LARGE, SMALL = 17, 12
"""Sizes of letters, pixels."""

# From black over violet and orange to a pale yellow, ever lighter, so that it can be read without colour vision.
_HEAT = np.array(
    [(0, 0, 0), (40, 11, 84), (101, 21, 110), (159, 42, 99),
     (212, 72, 66), (245, 125, 21), (250, 193, 39), (252, 255, 164)]
)  # fmt: skip

# From a pale blue over black to a pale yellow-red: less and more are told apart without colour vision too, by the pair
# of blue and orange.
_DIVERGING_AT = np.array([-1.0, -0.6, 0.0, 0.6, 1.0])
_DIVERGING = np.array([(170, 225, 255), (30, 110, 230), (0, 0, 0), (225, 70, 20), (255, 215, 150)])


def grey(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values as RGB floats 0..255, ``low`` black and ``high`` white."""
    scaled = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * 255
    return np.repeat(scaled[..., None], 3, axis=-1)


def heat(values: np.ndarray, high: float) -> np.ndarray:
    """Values as RGB floats 0..255 in a heat scale from 0 to ``high``."""
    place = np.clip(values / max(high, 1e-12), 0, 1) * (len(_HEAT) - 1)
    return np.stack([np.interp(place, np.arange(len(_HEAT)), _HEAT[:, channel]) for channel in range(3)], axis=-1)


def diverging(values: np.ndarray, high: float) -> np.ndarray:
    """Values as RGB floats 0..255: ``-high`` blue, 0 black, ``high`` red, with pale ends."""
    place = np.clip(values / max(high, 1e-12), -1, 1)
    return np.stack([np.interp(place, _DIVERGING_AT, _DIVERGING[:, channel]) for channel in range(3)], axis=-1)


def blend(rgb: np.ndarray, alpha: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Lay a colour over RGB floats, in place."""
    rgb += alpha[..., None] * (np.array(colour, float) - rgb)


def iso_line(field: np.ndarray, level: float, width: float = 1.5) -> np.ndarray:
    """How much of each pixel the line field = level covers, 0..1: smooth, ``width`` pixels wide.

    Args:
        field: 2-D, e.g. a mask as floats.
        level: of the line.
        width: pixels.
    """
    field = _smooth(np.asarray(field, float), 2)
    slope = np.hypot(*np.gradient(field))
    return np.clip(width / 2 + 0.5 - np.abs(field - level) / np.maximum(slope, 1e-9), 0, 1) * (slope > 1e-6)


def edge_line(field: np.ndarray, least: float, width: float = 1.5) -> np.ndarray:
    """How much of each pixel the edges of a blurred image cover, 0..1: where it is steepest along its slope.

    Args:
        field: 2-D.
        least: slope, per pixel, below which there is no edge; the line fades in up to twice that.
        width: pixels.
    """
    field = _smooth(np.asarray(field, float), 2)
    down, right = np.gradient(field)
    slope = np.hypot(down, right)
    grown = np.gradient(slope)
    curvature = (down * grown[0] + right * grown[1]) / np.maximum(slope, 1e-9)  # along the slope: 0 on an edge
    steep = np.hypot(*np.gradient(curvature))
    line = np.clip(width / 2 + 0.5 - np.abs(curvature) / np.maximum(steep, 1e-9), 0, 1)
    # A valley of the slope between two edges is steepest nowhere; there the slope grows on both sides.
    ridge = np.gradient(grown[0], axis=0) + np.gradient(grown[1], axis=1) < 0
    return line * ridge * np.clip(slope / least - 1, 0, 1)


def _smooth(field: np.ndarray, times: int) -> np.ndarray:
    """Binomial weights 1 2 1 along both axes, ``times`` over: the steps of voxels vanish from the lines."""
    from scipy.ndimage import correlate1d

    for _ in range(times):
        for axis in (0, 1):
            field = correlate1d(field, [0.25, 0.5, 0.25], axis, mode="nearest")
    return field


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own letters, so that they are the same on every computer; kerning is left out since not all have it."""
    return ImageFont.load_default(size).font_variant(layout_engine=ImageFont.Layout.BASIC)


def text_size(text: str, size: int = LARGE) -> tuple[int, int]:
    """Height and width in pixels of what ``write_text`` writes, from the tops of the tallest letters to the tails."""
    font = _font(size)
    return sum(font.getmetrics()), int(np.ceil(font.getlength(text)))


def write_text(
    rgb: np.ndarray,
    text: str,
    row: int,
    column: int,
    size: int = LARGE,
    colour: tuple[int, int, int] = (255, 255, 255),
) -> None:
    """Write a line into an RGB image of 0..255, in place, with a dark rim; cut at the image's edge."""
    picture = Image.fromarray(np.rint(rgb).clip(0, 255).astype(np.uint8))
    place = ImageDraw.Draw(picture)
    place.text((column, row), text, colour, _font(size), stroke_width=1, stroke_fill=(0, 0, 0))
    rgb[:] = np.asarray(picture)


def picture_output(path: str | Path) -> Output:
    """The file that ``write_png`` writes, for ``outputs.check_outputs``.

    Raises:
        InputError: if the name does not end in .png.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"{path} can't be written: end the name in .png.")
    return Output(path, PICTURE)


def write_png(rgb: np.ndarray, path: str | Path, force: bool = False) -> Path:
    """Write an image as PNG, whole or not at all; its text chunk ``Software`` names this program and its version.

    Args:
        rgb: uint8, rows × columns × 3.
        path: a name that ends in .png.
        force: also replace a file that DualGlow did not write.

    Raises:
        InputError: if the file can't be written there, or may not be replaced (``outputs.check_outputs``).
    """
    path = Path(path)
    check_outputs([picture_output(path)], force=force)
    return write_whole(path, png_bytes(rgb), force)


def png_bytes(rgb: np.ndarray) -> bytes:
    """The content of the file that ``write_png`` writes."""
    from .. import __version__

    about, content = PngInfo(), BytesIO()
    about.add_text("Software", f"{NAME} {__version__}")
    # Half the time of the usual level 6, in files an eighth larger.
    Image.fromarray(np.asarray(rgb, np.uint8)).save(content, "PNG", pnginfo=about, compress_level=3)
    return content.getvalue()
