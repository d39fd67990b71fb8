"""How far the head moved between the time frames of a PET."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from ..affines import apply_affine
from ..lattices import box_lattice
from ..resampling import resample
from ..scan import LPS, Scan

__all__ = ["largest_motion"]

_VOXEL = 4.0  # millimetres: about what a PET resolves
_WARM = 0.35  # of the brightest: the brain
_ALIKE = 0.1  # squared correlation within the brain; a head of noisy frames has far more, other things less


def largest_motion(frames: Sequence[np.ndarray], affine: np.ndarray) -> tuple[float, int]:
    """The frame that lies farthest from the middle one, by rigid registration of each to it.

    Args:
        frames: volumes of one shape, in any units.
        affine: 4×4 of all, voxels to RAS millimetres.

    Returns:
        Millimetres, mean over the brain's warm voxels, and which frame, from 0; infinite where it shows something else.
    """
    shape, coarse = box_lattice(np.ones(frames[0].shape, bool), affine, 0.0, _VOXEL)
    small = [resample(frame, affine, shape, coarse) for frame in frames]
    middle = len(small) // 2
    warm = small[middle] > _WARM * np.percentile(small[middle], 99.5)
    moved = [0.0 if k == middle else _moved(small[middle], one, coarse, warm) for k, one in enumerate(small)]
    farthest = int(np.argmax(moved))
    return moved[farthest], farthest


def _moved(fixed: np.ndarray, moving: np.ndarray, affine: np.ndarray, warm: np.ndarray) -> float:
    """Mean millimetres between two volumes' warm voxels; correlation, since uptake changes from frame to frame."""
    import SimpleITK as sitk

    points = apply_affine(LPS @ affine, np.argwhere(warm)[::7])
    transform = sitk.Euler3DTransform()
    transform.SetCenter(points.mean(axis=0).tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # more sum the metric in another order each time
    method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetMetricFixedMask(Scan(warm.astype(np.uint8), affine).to_sitk())
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.02, 60, 0.5, 1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, True)
    try:
        method.Execute(*(Scan(volume, affine).to_sitk() for volume in (fixed, moving)))
    except RuntimeError:  # they don't even overlap
        return inf
    if -method.GetMetricValue() < _ALIKE:
        return inf
    there = np.array([transform.TransformPoint(point) for point in points.tolist()])
    return float(np.linalg.norm(there - points, axis=1).mean())
