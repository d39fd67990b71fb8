"""Image metrics in a mask and of whole volumes, with what Slicer's Python has: there is no scikit-image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["ImageMetrics", "image_metrics", "smoothness", "structural_similarity", "whole_volume_metrics"]

_SIGMA, _RADIUS = 1.5, 5  # voxels: window of the structural similarity, cut at 3.5 sigma


def structural_similarity(
    image: np.ndarray, truth: np.ndarray, data_range: float, is_padded: bool = False
) -> np.ndarray:
    """SSIM of each voxel: Gaussian window of 1.5 voxels, K = 0.01 and 0.03 (Wang et al., IEEE TIP 13, 2004).

    Beyond the border the image is mirrored, as scikit-image does; with ``is_padded`` it is 0.
    """
    from scipy.ndimage import gaussian_filter

    def window(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, _SIGMA, radius=_RADIUS, mode="constant" if is_padded else "reflect")

    image, truth = image.astype(np.float64), truth.astype(np.float64)
    low, high = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    means = window(image), window(truth)
    variances = window(image * image) - means[0] ** 2 + window(truth * truth) - means[1] ** 2
    covariance = window(image * truth) - means[0] * means[1]
    brightness = (2 * means[0] * means[1] + low) / (means[0] ** 2 + means[1] ** 2 + low)
    return brightness * (2 * covariance + high) / (variances + high)


@dataclass(frozen=True)
class ImageMetrics:
    """Of a PET against the truth, inside a mask, in SUVR.

    Attributes:
        psnr: dB, with a fixed data range; infinite for equal images.
        ssim: 3-D, see ``structural_similarity``, averaged over the mask.
        mae: mean absolute error, SUVR.
        rmse: root of the mean squared error, SUVR.
        nmse: squared error over the truth's own square, summed over the mask; NaN for a truth of nothing but 0.
        correlation: Pearson, over voxels; NaN for a flat image.
    """

    psnr: float
    ssim: float
    mae: float
    rmse: float
    nmse: float
    correlation: float


def image_metrics(image: np.ndarray, truth: np.ndarray, mask: np.ndarray, data_range: float) -> ImageMetrics:
    """Metrics of one volume.

    Args:
        image, truth: of one shape.
        mask: bool, where to compare; not empty.
        data_range: SUVR; a constant of the model, not of the image: PSNR and SSIM would not compare otherwise.
    """
    inside = image[mask].astype(np.float64), truth[mask].astype(np.float64)
    difference = inside[0] - inside[1]
    mse, power = float(np.mean(difference**2)), float(np.mean(inside[1] ** 2))
    flat = min(part.std() for part in inside) == 0
    return ImageMetrics(
        psnr=_psnr(mse, data_range),
        ssim=float(structural_similarity(image, truth, data_range)[mask].mean()),
        mae=float(np.abs(difference).mean()),
        rmse=math.sqrt(mse),
        nmse=mse / power if power else math.nan,
        correlation=math.nan if flat else float(np.corrcoef(*inside)[0, 1]),
    )


def whole_volume_metrics(image: np.ndarray, truth: np.ndarray, data_range: float) -> dict[str, float]:
    """What others report: over the whole volume, most of which is air that every method gets right.

    Not to be compared between grids, nor with the metrics in the mask.

    Returns:
        ``psnr_whole`` in dB, ``ssim_whole``, and ``ssim_padded``, with zeros beyond the border as PASTA and SiM2P
        compute it (images divided by the data range, window of 11 voxels).
    """
    mse = float(np.mean((image.astype(np.float64) - truth) ** 2))
    return {
        "psnr_whole": _psnr(mse, data_range),
        "ssim_whole": float(structural_similarity(image, truth, data_range).mean()),
        "ssim_padded": float(structural_similarity(image, truth, data_range, is_padded=True).mean()),
    }


def smoothness(image: np.ndarray, mask: np.ndarray, spacing: Sequence[float]) -> float:
    """Effective resolution: FWHM of the Gaussian whose blur of white noise is as smooth as the image in the mask.

    From the variance of the differences between neighbours over that of the values (Forman et al., Magn Reson Med 33,
    1995), the geometric mean over axes. What is in an image makes it smooth too, so it says how sharp images of the
    same brains are beside each other, not how sharp a scanner is.

    Args:
        image: of any unit.
        mask: bool, where to look.
        spacing: of voxels along each axis, mm.

    Returns:
        Millimetres; NaN for a flat image, or one that is rougher than white noise.
    """
    values = image.astype(np.float64)
    variance = float(values[mask].var())
    widths = []
    for axis, step in enumerate(spacing):
        both = np.logical_and(*(np.take(mask, range(k, mask.shape[axis] - 1 + k), axis) for k in (0, 1)))
        differences = np.diff(values, axis=axis)[both]
        share = 1 - float(np.mean(differences**2)) / (2 * variance) if variance > 0 and differences.size else math.nan
        widths.append(step * math.sqrt(-2 * math.log(2) / math.log(share)) if 0 < share < 1 else math.nan)
    return float(np.exp(np.mean(np.log(widths))))


def _psnr(mse: float, data_range: float) -> float:
    return math.inf if mse == 0 else 10 * math.log10(data_range**2 / mse)
