"""Voxels from one lattice onto another, by affines and, where asked, a displacement field between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["resample"]


def resample(
    data: np.ndarray,
    affine: np.ndarray,
    shape: tuple[int, int, int],
    target_affine: np.ndarray,
    order: int = 1,
    fill: float | None = 0.0,
    antialias: bool = True,
    warp: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Interpolate a volume on another lattice, once.

    Both affines go from voxel indices to the same millimetres; they may flip, permute, rotate and shear. Where target
    voxels are larger than the source's, the source is first blurred by a Gaussian that makes up the difference (full
    width at half maximum √(r²−1) source voxels for voxels r times as large), so that fine detail doesn't alias. The
    blur is along the source's axes, from the target voxel's extent along each.

    Args:
        data: (I, J, K), numbers or bool.
        affine: 4×4, of ``data``.
        shape: of the result.
        target_affine: 4×4, of the result.
        order: 0 nearest, 1 linear, 3 cubic B-spline. Order 0 never blurs.
        fill: value outside the source volume; None to repeat the nearest value at its edge.
        antialias: False to interpolate without the blur.
        warp: displacements in the common millimetres, (I, J, K, 3), and the 4×4 of their lattice (a diagonal and a
            shift): the target's point x takes the value at x + displacement. 0 beyond that lattice.

    Returns:
        float32 of ``shape``.

    Raises:
        ValueError: for another order, or an affine that can't be inverted.
    """
    import SimpleITK as sitk

    interpolators = {0: sitk.sitkNearestNeighbor, 1: sitk.sitkLinear, 3: sitk.sitkBSpline}
    if order not in interpolators:
        raise ValueError(f"order must be 0, 1 or 3, not {order!r}.")
    try:
        step = np.linalg.solve(np.asarray(affine, np.float64), np.asarray(target_affine, np.float64))
    except np.linalg.LinAlgError:
        raise ValueError("The source affine can't be inverted.") from None

    # In voxel indices both lattices are plain ITK images, and the whole geometry is one affine transform: so shear,
    # which an ITK image can't have, needs no special case.
    data = np.asarray(data, np.float32)
    if antialias and order > 0:
        data = _blur(data, np.maximum(np.sum(step[:3, :3] ** 2, axis=1) - 1.0, 0.0) / (8 * np.log(2)))
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(step[:3, :3].ravel().tolist())
    transform.SetTranslation(step[:3, 3].tolist())
    if warp is not None:
        transform = _through(warp, np.asarray(affine, np.float64), np.asarray(target_affine, np.float64))
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in shape])
    resampler.SetTransform(transform)
    resampler.SetInterpolator(interpolators[order])
    resampler.SetOutputPixelType(sitk.sitkFloat32)
    resampler.SetDefaultPixelValue(0.0 if fill is None else float(fill))
    resampler.SetUseNearestNeighborExtrapolator(fill is None)
    result = resampler.Execute(image)
    return np.ascontiguousarray(sitk.GetArrayViewFromImage(result).transpose(2, 1, 0))


def _through(warp: tuple[np.ndarray, np.ndarray], affine: np.ndarray, target_affine: np.ndarray) -> sitk.Transform:
    """Target indices to millimetres, displaced there, to source indices."""
    import SimpleITK as sitk

    field, place = warp
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.swapaxes(field, 0, 2), np.float64), isVector=True)
    image.SetSpacing(np.diag(place)[:3].tolist())
    image.SetOrigin(place[:3, 3].tolist())
    whole = sitk.CompositeTransform(3)
    for number, matrix in enumerate((np.linalg.inv(affine), target_affine)):  # the last one added comes first
        linear = sitk.AffineTransform(3)
        linear.SetMatrix(matrix[:3, :3].ravel().tolist())
        linear.SetTranslation(matrix[:3, 3].tolist())
        if number == 1:
            whole.AddTransform(sitk.DisplacementFieldTransform(image))
        whole.AddTransform(linear)
    return whole


def _blur(data: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Gaussian along each axis, of the given variances in voxels²; the edge voxels are repeated beyond the edge."""
    for axis, width in enumerate(np.sqrt(variance)):
        if width < 0.1:
            continue
        radius = int(np.ceil(3 * width))
        taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / width) ** 2)
        taps = (taps / taps.sum()).astype(np.float32)
        length = data.shape[axis]
        padding = [(0, 0)] * 3
        padding[axis] = (radius, radius)
        padded = np.moveaxis(np.pad(data, padding, mode="edge"), axis, 0)
        blurred = taps[radius] * padded[radius : radius + length]
        for offset in range(1, radius + 1):
            pair = (
                padded[radius - offset : radius - offset + length] + padded[radius + offset : radius + offset + length]
            )
            pair *= taps[radius + offset]
            blurred += pair
        data = np.moveaxis(blurred, 0, axis)
    return data
