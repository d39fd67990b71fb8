"""Lines, letters and colours in numpy, and PNG files: what the pictures need and Slicer's Python has no library for."""

from __future__ import annotations

import secrets
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import write_whole
from ..outputs import NAME, PICTURE, Output, check_outputs

__all__ = ["blend", "edge_line", "grey", "heat", "iso_line", "picture_output", "text_size", "write_png", "write_text"]

# Seven rows of five dots for each character, a row as one digit to the base 32.
_FONT = {
    "0": "EHJLPHE", "1": "4C4444E", "2": "EH1248V", "3": "V2421HE", "4": "26AIV22", "5": "VGU11HE", "6": "68GUHHE",
    "7": "V124888", "8": "EHHEHHE", "9": "EHHF12C", "A": "EHHVHHH", "B": "UHHUHHU", "C": "EHGGGHE", "D": "SIHHHIS",
    "E": "VGGUGGV", "F": "VGGUGGG", "G": "EHGNHHF", "H": "HHHVHHH", "I": "E44444E", "J": "72222IC", "K": "HIKOKIH",
    "L": "GGGGGGV", "M": "HRLLHHH", "N": "HHPLJHH", "O": "EHHHHHE", "P": "UHHUGGG", "Q": "EHHHLID", "R": "UHHUKIH",
    "S": "FGGE11U", "T": "V444444", "U": "HHHHHHE", "V": "HHHHHA4", "W": "HHHLLLA", "X": "HHA4AHH", "Y": "HHHA444",
    "Z": "V1248GV", "-": "000V000", "_": "000000V", ".": "00000CC", ",": "0000C48", ":": "0CC0CC0", "(": "2488842",
    ")": "8422248", "/": "01248G0", "%": "OP248J3", "+": "044V440", "=": "00V0V00", " ": "0000000",
}  # fmt: skip
_UNKNOWN = "VHHHHHV"
_GLYPHS = {
    letter: np.array([[int(row, 32) >> bit & 1 for bit in (4, 3, 2, 1, 0)] for row in rows], bool)
    for letter, rows in {**_FONT, "": _UNKNOWN}.items()
}

# From black over violet and orange to a pale yellow, ever lighter, so that it can be read without colour vision.
_HEAT = np.array(
    [(0, 0, 0), (40, 11, 84), (101, 21, 110), (159, 42, 99),
     (212, 72, 66), (245, 125, 21), (250, 193, 39), (252, 255, 164)]
)  # fmt: skip


def grey(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values as RGB floats 0..255, ``low`` black and ``high`` white."""
    scaled = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * 255
    return np.repeat(scaled[..., None], 3, axis=-1)


def heat(values: np.ndarray, high: float) -> np.ndarray:
    """Values as RGB floats 0..255 in a heat scale from 0 to ``high``."""
    place = np.clip(values / max(high, 1e-12), 0, 1) * (len(_HEAT) - 1)
    return np.stack([np.interp(place, np.arange(len(_HEAT)), _HEAT[:, channel]) for channel in range(3)], axis=-1)


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
    for _ in range(times):
        for axis in (0, 1):
            padded = np.pad(field, [(int(axis == 0),) * 2, (int(axis == 1),) * 2], mode="edge")
            first, last = (np.take(padded, range(s, s + field.shape[axis]), axis) for s in (0, 2))
            field = (first + 2 * field + last) / 4
    return field


def text_size(text: str, size: int = 1) -> tuple[int, int]:
    """Height and width in pixels of what ``write_text`` writes."""
    return 7 * size, (6 * len(text) - 1) * size


def write_text(
    rgb: np.ndarray, text: str, row: int, column: int, size: int = 1, colour: tuple[int, int, int] = (255, 255, 255)
) -> None:
    """Write capitals, digits and a few signs into an RGB image, in place, with a dark rim; cut at the image's edge."""
    height, width = text_size(text, size)
    dots = np.zeros((height + 2, width + 2), bool)
    for number, letter in enumerate(text.upper()):
        glyph = _GLYPHS.get(letter, _GLYPHS[""]).repeat(size, 0).repeat(size, 1)
        dots[1 : 1 + height, 1 + 6 * size * number : 1 + 6 * size * number + 5 * size] = glyph
    rim = sum(np.roll(dots, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) > 0
    row, column = row - 1, column - 1
    view = rgb[max(row, 0) : row + height + 2, max(column, 0) : column + width + 2]
    part = np.s_[max(-row, 0) :, max(-column, 0) :]
    dots, rim = (d[part][: view.shape[0], : view.shape[1]] for d in (dots, rim))
    view[rim] = 0
    view[dots] = colour


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
    """Write an image as PNG, whole or not at all.

    Args:
        rgb: uint8, rows × columns × 3.
        path: a name that ends in .png.
        force: also replace a file that DualGlow did not write.

    Raises:
        InputError: if the file can't be written there, or may not be replaced (``outputs.check_outputs``).
    """
    import SimpleITK as sitk

    path = Path(path)
    check_outputs([picture_output(path)], force=force)
    temporary = path.with_name(f".{secrets.token_hex(6)}.png")
    try:
        sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(rgb, np.uint8), isVector=True), str(temporary))
        content = temporary.read_bytes()
    except (OSError, RuntimeError):
        raise InputError(f"{path} can't be written: check that its folder may be written to and has space.") from None
    finally:
        with suppress(OSError):
            temporary.unlink()
    return write_whole(path, _signed(content), force)


def _signed(png: bytes) -> bytes:
    """With the text that says which program made it, after the header (8 bytes of signature, 25 of IHDR)."""
    text = b"tEXtSoftware\0" + NAME.encode("ascii")
    chunk = (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")
    return png[:33] + chunk + png[33:]
