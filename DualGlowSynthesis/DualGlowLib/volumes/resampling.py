"""Voxels from one lattice onto another, by affines and, where asked, a displacement field between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["held", "resample"]

_NO_BLUR = 0.1  # voxels: a Gaussian that is narrower changes nothing
_BLOCK = 16  # rows of a matrix that are applied together, to the part of the axis that they take from
_STRAIGHT = 1e-6  # voxels by which axes may lie askew over the whole target and still be taken as the source's


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

    data = np.asarray(data)
    widths = np.zeros(3)
    if antialias and order > 0:
        widths = np.sqrt(np.maximum(np.sum(step[:3, :3] ** 2, axis=1) - 1.0, 0.0) / (8 * np.log(2)))
    if order < 3 and warp is None:
        data, step = _within_reach(data, step, shape, widths)
        along = _nearest_along_axes if order == 0 else _along_axes
        if (whole := along(data, step, shape, widths, fill)) is not None:
            return whole
    data = np.asarray(data, np.float32)

    # In voxel indices both lattices are plain ITK images, and the whole geometry is one affine transform: so shear,
    # which an ITK image can't have, needs no special case. ITK's axes are the array's, the last first.
    for axis, width in enumerate(widths):
        if width >= _NO_BLUR:
            data = _applied(_blur(data.shape[axis], width), data, axis)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(step[2::-1, 2::-1].ravel().tolist())
    transform.SetTranslation(step[2::-1, 3].tolist())
    if warp is not None:
        transform = _through(warp, np.asarray(affine, np.float64), np.asarray(target_affine, np.float64))
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in reversed(shape)])
    resampler.SetTransform(transform)
    resampler.SetInterpolator(interpolators[order])
    resampler.SetOutputPixelType(sitk.sitkFloat32)
    resampler.SetDefaultPixelValue(0.0 if fill is None else float(fill))
    resampler.SetUseNearestNeighborExtrapolator(fill is None)
    return sitk.GetArrayFromImage(resampler.Execute(sitk.GetImageFromArray(np.ascontiguousarray(data))))


def _through(warp: tuple[np.ndarray, np.ndarray], affine: np.ndarray, target_affine: np.ndarray) -> sitk.Transform:
    """Target indices, the last first, to millimetres, displaced there, to source indices, the last first."""
    import SimpleITK as sitk

    field, place = warp
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.swapaxes(field, 0, 2), np.float64), isVector=True)
    image.SetSpacing(np.diag(place)[:3].tolist())
    image.SetOrigin(place[:3, 3].tolist())
    turn = np.eye(4)[[2, 1, 0, 3]]
    whole = sitk.CompositeTransform(3)
    # The last one added comes first.
    for number, matrix in enumerate((turn @ np.linalg.inv(affine), np.asarray(target_affine) @ turn)):
        linear = sitk.AffineTransform(3)
        linear.SetMatrix(matrix[:3, :3].ravel().tolist())
        linear.SetTranslation(matrix[:3, 3].tolist())
        if number == 1:
            whole.AddTransform(sitk.DisplacementFieldTransform(image))
        whole.AddTransform(linear)
    return whole


def held(
    shape: tuple[int, int, int], affine: np.ndarray, target: tuple[int, int, int], target_affine: np.ndarray
) -> np.ndarray:
    """Bool of the shape ``target``: voxels of that lattice whose middle lies in a volume of ``shape``.

    Args:
        shape, target: of the volume, and of the result.
        affine, target_affine: 4×4, their indices to the same millimetres.
    """
    step, inside = np.linalg.solve(affine, target_affine), np.ones(target, bool)
    along = np.ix_(*(np.arange(n) for n in target))
    for n, row in zip(shape, step, strict=False):
        place = row[0] * along[0] + row[1] * along[1] + row[2] * along[2] + row[3]
        inside &= (place >= -0.5) & (place < n - 0.5)
    return inside


def _within_reach(
    data: np.ndarray, step: np.ndarray, shape: tuple[int, int, int], widths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The part of a volume that the target's voxels take anything from, and the way to its indices."""
    low, high = (end + step[:3, 3] for end in _ends(step[:3, :3], shape))
    reach = np.ceil(3 * widths) + 2
    first = np.clip(np.floor(low - reach), 0, np.array(data.shape) - 1).astype(int)
    last = np.clip(np.ceil(high + reach), first, np.array(data.shape) - 1).astype(int)
    step = step.copy()
    step[:3, 3] -= first
    return data[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))], step


def _ends(matrix: np.ndarray, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest of each coordinate of a lattice's voxels, from its first one."""
    sides = matrix * (np.array(shape) - 1)
    return np.minimum(sides, 0).sum(axis=1), np.maximum(sides, 0).sum(axis=1)


def _places(step: np.ndarray, shape: tuple[int, int, int]) -> list[np.ndarray] | None:
    """The target's source indices along each axis, where its axes are the source's; None elsewhere."""
    matrix = step[:3, :3]
    if np.abs(matrix - np.diag(np.diag(matrix))).max() > _STRAIGHT / max(shape):
        return None
    return [matrix[i, i] * np.arange(shape[i]) + step[i, 3] for i in range(3)]


def _nearest_along_axes(
    data: np.ndarray, step: np.ndarray, shape: tuple[int, int, int], widths: np.ndarray, fill: float | None
) -> np.ndarray | None:
    """The nearest voxels, where the target's axes are the source's; None elsewhere."""
    places = _places(step, shape)
    if places is None:
        return None
    nearest = [np.floor(at + 0.5).astype(int) for at in places]
    taken = data[np.ix_(*(np.clip(at, 0, n - 1) for at, n in zip(nearest, data.shape, strict=True)))]
    taken = taken.astype(np.float32)
    if fill is not None:
        for axis, (at, n) in enumerate(zip(nearest, data.shape, strict=True)):
            np.moveaxis(taken, axis, 0)[(at < 0) | (at >= n)] = fill
    return taken


def _along_axes(
    data: np.ndarray, step: np.ndarray, shape: tuple[int, int, int], widths: np.ndarray, fill: float | None
) -> np.ndarray | None:
    """Blur and linear interpolation as one matrix an axis, where the target's axes are the source's; None elsewhere."""
    places = _places(step, shape)
    if places is None:
        return None
    within = [(at >= -0.5) & (at < n - 0.5) for at, n in zip(places, data.shape, strict=True)]
    # What shrinks most first, and of two alike the one along which a matrix is applied sooner.
    order = sorted(range(3), key=lambda i: (round(shape[i] / data.shape[i], 1), i))

    def taken(at_nearest: bool) -> np.ndarray:
        found = data
        for axis in order:
            n, at = data.shape[axis], np.clip(places[axis], 0, data.shape[axis] - 1)
            at = np.floor(at + 0.5) if at_nearest else at
            low = np.minimum(at.astype(int), n - 1)
            weights, rows = np.zeros((shape[axis], n)), np.arange(shape[axis])
            np.add.at(weights, (rows, low), 1 - (at - low))
            np.add.at(weights, (rows, np.minimum(low + 1, n - 1)), at - low)
            found = _applied(weights @ _blur(n, widths[axis]) if widths[axis] >= _NO_BLUR else weights, found, axis)
        return found

    found = taken(at_nearest=False)
    if not all(one.all() for one in within):
        first, second, third = within
        outside = taken(at_nearest=True) if fill is None else np.float32(fill)  # beyond the edge the nearest voxel's
        found = np.where(first[:, None, None] & second[:, None] & third, found, outside)
    return np.ascontiguousarray(found)


def _blur(count: int, width: float) -> np.ndarray:
    """Matrix of a Gaussian along an axis of so many voxels, the edge ones repeated; ``width``: its sd in voxels."""
    radius = int(np.ceil(3 * width))
    offsets = np.arange(-radius, radius + 1)
    taps = np.exp(-0.5 * (offsets / width) ** 2)
    rows = np.arange(count)[:, None]
    matrix = np.zeros((count, count))
    np.add.at(matrix, (rows, np.clip(rows + offsets, 0, count - 1)), taps / taps.sum())
    return matrix


def _applied(matrix: np.ndarray, data: np.ndarray, axis: int) -> np.ndarray:
    """A matrix, most of which is 0 far from its diagonal, to an axis of a volume; float32."""
    matrix = matrix.astype(np.float32)
    if axis == 2:
        return np.asarray(data, np.float32) @ matrix.T
    found = np.empty((*data.shape[:axis], len(matrix), *data.shape[axis + 1 :]), np.float32)
    for start in range(0, len(matrix), _BLOCK):
        rows = matrix[start : start + _BLOCK]
        taken = np.flatnonzero(rows.any(axis=0))
        first, last = (taken[0], taken[-1] + 1) if len(taken) else (0, 1)
        rows, to = rows[:, first:last], slice(start, start + _BLOCK)
        if axis == 0:
            part = np.asarray(data[first:last], np.float32).reshape(last - first, -1)
            np.matmul(rows, part, out=found[to].reshape(len(rows), -1))
        else:
            found[:, to] = rows @ np.asarray(data[:, first:last], np.float32)
    return found
