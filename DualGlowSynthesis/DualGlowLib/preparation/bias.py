"""The slow shading that receiver coils leave in an MRI, found and divided out.

N4 (Tustison et al., "N4ITK: improved N3 bias correction", IEEE Trans. Med. Imaging 2010): the histogram of the log
image is sharpened by deconvolution (Sled et al., "A nonparametric method for automatic correction of intensity
nonuniformity in MRI data", IEEE Trans. Med. Imaging 1998), and the difference between image and sharpened image,
smoothed by B-splines (Lee et al., "Scattered data interpolation with multilevel B-splines", IEEE Trans. Vis. Comput.
Graph. 1997), is the next piece of the field. Own code, because ITK's takes 7 to 30 s on the same voxels and its bits
depend on the number of threads; on a regular lattice the B-spline fit separates into three small sums.
"""

from __future__ import annotations

import numpy as np

from ..volumes.lattices import lattice_about
from ..volumes.morphology import extent
from ..volumes.resampling import resample
from ..volumes.scan import Scan

__all__ = ["correct_bias", "darkest"]

_SIZE = 4.0  # millimetres: voxels on which the field is found
_MARGIN = 8.0  # millimetres around the brain
_LEVELS = 3  # B-spline spans along each axis: 1, 2, 4 (about 40 mm)
_ITERATIONS = 50  # at most, at each level
_CONVERGED = 1e-3  # coefficient of variation of what an iteration adds to the field
_BINS = 200
_FWHM = 0.15  # of the blur that the field is taken to have done to the log histogram
_WIENER = 0.01
_DARKEST = 0.4  # of the median: what is darker (fluid, its edges) is no measure of the coil


def darkest(scan: Scan) -> float:
    """The value below which the darkest percent of a scan's voxels lie: taken for zero signal."""
    return float(np.percentile(scan.data[:: max(1, scan.shape[0] // 64)], 1))


def correct_bias(scan: Scan, mask: np.ndarray, zero: float | None = None) -> Scan:
    """Divide out the shading of a T1.

    The field is found from the brain at about 4 mm, in voxel indices (so that shear is no special case), continued
    beyond the brain's surroundings by its value at their edge, and has a geometric mean of 1 in the brain.

    Args:
        scan: a T1, or the part of one that holds the brain.
        mask: bool on its lattice, the brain.
        zero: the value of no signal, so that an offset does no harm; None for ``darkest`` of this scan.

    Returns:
        The corrected scan, float32. ``meta["bias_range"]`` is the range of the field's natural logarithm in the brain
        (98 % of it): 0.2 means that one end was a fifth brighter than the other.

    Raises:
        ValueError: if the mask is empty.
    """
    if not mask.any():
        raise ValueError("The brain mask is empty.")
    shape, step = _lattice(mask, scan.spacing)
    zero = darkest(scan) if zero is None else zero
    share = resample(mask, np.eye(4), shape, step)
    coarse = resample(np.where(mask, scan.data - zero, 0), np.eye(4), shape, step) / np.maximum(share, 1e-3)
    inside = share > 0.9
    middle = float(np.median(coarse[inside])) if inside.any() else 0.0
    inside &= coarse > _DARKEST * middle
    if middle <= 0 or np.count_nonzero(inside) < 100:
        return scan.like(np.asarray(scan.data, np.float32), bias_range=0.0)

    field = _field(np.log(np.maximum(coarse, 1e-6 * middle)), inside)
    spread = np.percentile(field[inside], (1, 99))
    full = resample(field, step, scan.shape, np.eye(4), fill=None, antialias=False)
    np.exp(np.negative(full, out=full), out=full)
    data = np.subtract(scan.data, np.float32(zero), dtype=np.float32)
    data *= full
    data += np.float32(zero)
    return scan.like(data, bias_range=round(float(spread[1] - spread[0]), 4))


def _lattice(mask: np.ndarray, spacing: np.ndarray) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and voxel-to-voxel affine of about 4 mm voxels that cover the mask and a margin."""
    spans = np.array([(side.start - 0.5, side.stop - 0.5) for side in extent(mask)])
    spans += (_MARGIN / spacing)[:, None] * np.array([-1, 1])
    factor = np.maximum(_SIZE / spacing, 1)
    shape = np.ceil(np.ptp(spans, axis=1) / factor - 1e-6).astype(int)  # rounding must not add a voxel
    return tuple(int(n) for n in shape), lattice_about(spans.mean(axis=1), shape, factor)


def _field(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Natural logarithm of the field, from that of the image."""
    field = np.zeros(image.shape)
    for level in range(_LEVELS):
        splines = [_spline(n, 2**level) for n in image.shape]
        weight = _product([w**2 for w in splines], inside.astype(float), down=True)
        unit = [np.sum(w**2, axis=0) for w in splines]
        unit = unit[0][:, None, None] * unit[1][:, None] * unit[2]
        for _ in range(_ITERATIONS):
            values = image[inside] - field[inside]
            residual = np.zeros(image.shape)
            residual[inside] = values - _sharpened(values)
            knots = _product([w**3 for w in splines], residual / unit, down=True) / np.maximum(weight, 1e-6)
            added = _product(splines, knots, down=False)
            field += added
            change = np.exp(added[inside])
            if change.std() < _CONVERGED * change.mean():
                break
    return field - field[inside].mean()


def _spline(length: int, spans: int) -> np.ndarray:
    """Cubic B-splines over ``length`` voxels in ``spans`` pieces: (spans + 3, length)."""
    place = (np.arange(length) + 0.5) / length * spans
    t = np.abs(place - (np.arange(spans + 3)[:, None] - 1))
    return np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.maximum(2 - t, 0) ** 3 / 6)


def _product(matrices: list[np.ndarray], volume: np.ndarray, down: bool) -> np.ndarray:
    """Voxels to knots (``down``), or knots to voxels, along each axis; by einsum, whose order of sums is fixed."""
    letters = "ai" if down else "ia"
    for axis, matrix in enumerate(matrices):
        volume = np.moveaxis(np.einsum(f"{letters},i...->a...", matrix, np.moveaxis(volume, axis, 0)), 0, axis)
    return volume


def _sharpened(values: np.ndarray) -> np.ndarray:
    """What each log intensity would be expected to be, had the field not blurred the histogram (Sled et al.)."""
    low, high = values.min(), values.max()
    slope = max((high - low) / (_BINS - 1), 1e-9)
    place = (values - low) / slope
    lower = np.minimum(place.astype(int), _BINS - 2)
    share = place - lower
    size = 1 << (2 * _BINS - 1).bit_length()
    offset = (size - _BINS) // 2
    histogram = np.zeros(size)
    histogram[offset : offset + _BINS] = np.bincount(lower, 1 - share, _BINS) + np.bincount(lower + 1, share, _BINS)
    distance = np.minimum(np.arange(size), size - np.arange(size)) * slope
    kernel = np.exp(-4 * np.log(2) * (distance / _FWHM) ** 2)
    blur = np.fft.rfft(kernel / kernel.sum())
    sharp = np.fft.irfft(np.fft.rfft(histogram) * np.conj(blur) / (np.abs(blur) ** 2 + _WIENER), size)
    sharp = np.maximum(sharp, 0)
    bins = low + (np.arange(size) - offset) * slope
    above = np.fft.irfft(np.fft.rfft(bins * sharp) * blur, size)
    below = np.fft.irfft(np.fft.rfft(sharp) * blur, size)
    expected = np.where(below > 1e-9 * below.max(), above / np.maximum(below, 1e-9 * below.max()), bins)
    return np.interp(values, bins, expected)
