"""The optional deformable step: what an affine can't do to bring a brain to the template's.

Diffeomorphic demons (Vercauteren et al., "Diffeomorphic demons: efficient non-parametric image registration",
NeuroImage 2009), coarse to fine, on masked, normalised T1 images of equal histograms; the field is smoothed strongly,
since it shall bring lobes, ventricles and the larger sulci into place and leave the shape of the cortex to the patient.

Direction. The field lives in template space and takes a point of the template to the place where the affine puts the
same point of the patient, so that an image is pulled to the grid through it; its inverse leads back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atlas.template import load_template
from ..volumes.lattices import bounds, lattice_over
from ..volumes.resampling import resample
from ..volumes.scan import Scan
from .intensity import normalise_t1

if TYPE_CHECKING:
    import SimpleITK as sitk

    from ..volumes.grid import Grid
    from .field_of_view import FieldOfView

__all__ = ["Warp", "deform", "to_grid"]

_LEVELS = ((6.0, 40, 1.5, 1.0), (4.0, 25, 1.5, 1.0), (3.0, 8, 1.5, 1.0))  # mm, steps, smoothing (field, step; voxels)
_MARGIN = 18.0  # millimetres of lattice around the template's brain
_FADE = 10.0  # millimetres at the lattice's border over which the field falls to 0
_LEAST = 0.1  # Jacobian determinant that must be left everywhere
_RETURN = 0.3  # millimetres: error of there and back that is allowed anywhere
_LESS = 0.75  # of a field that can't be inverted well is tried next
_FINE = 2.0  # millimetres: lattice of the result, so that linear interpolation of field and inverse errs little
_THRESHOLDS = 256, 20  # histogram matching: bins, points


@dataclass(frozen=True)
class Warp:
    """A smooth, invertible displacement in template space.

    Attributes:
        field: float32, (I, J, K, 3), millimetres: a point x of the template is the patient's (by the affine) x + field.
        inverse: likewise, from the patient's (by the affine) to the template's points.
        affine: 4×4, the lattice's indices to template RAS millimetres; a diagonal and a shift. Both are 0 beyond it.
    """

    field: np.ndarray
    inverse: np.ndarray
    affine: np.ndarray

    @property
    def back(self) -> tuple[np.ndarray, np.ndarray]:
        """What ``resample`` takes to bring a volume of the template's space to the patient."""
        return self.inverse, self.affine

    @cached_property
    def jacobian(self) -> np.ndarray:
        """Jacobian determinant of the field at each lattice point, float32."""
        return sum(_determinants(self.field, self.affine[0, 0])) / np.float32(8)

    def stated(self) -> dict:
        """Numbers for ``Prepared.quality``: the least Jacobian anywhere, and millimetres inside the template's brain
        (displacement, and error of there and back)."""
        brain = load_template().mask
        inside = resample(brain.data, brain.affine, self.field.shape[:3], self.affine) > 0.5
        length = np.linalg.norm(self.field, axis=-1)[inside]
        error = np.linalg.norm(_pulled(self.inverse, self.field, self.affine) + self.field, axis=-1)[inside]
        return {
            "min_jacobian": round(_least(self.field, self.affine[0, 0]), 3),
            "displacement_mean_mm": round(float(length.mean()), 2),
            "displacement_max_mm": round(float(length.max()), 2),
            "return_error_mm": round(float(error.max()), 3),
        }


def to_grid(
    data: np.ndarray,
    affine: np.ndarray,
    grid: Grid,
    to_template: np.ndarray,
    warp: Warp | None = None,
    **options: Any,
) -> np.ndarray:
    """Bring a volume to the grid by an affine and, if there is one, a warp, with one interpolation.

    Args:
        data: of the T1 or of an image registered to it.
        affine: 4×4, its indices to RAS millimetres.
        grid: where to.
        to_template: 4×4, those millimetres to the template's.
        warp: the deformable step.
        **options: for ``resample``.
    """
    if warp is None:
        return resample(data, affine, grid.shape, np.linalg.inv(to_template) @ grid.affine, **options)
    return resample(data, to_template @ affine, grid.shape, grid.affine, warp=(warp.field, warp.affine), **options)


def deform(scan: Scan, mask: np.ndarray, to_template: np.ndarray, view: FieldOfView | None = None) -> Warp:
    """Find what is left to move after the affine.

    Args:
        scan: the T1, without shading.
        mask: bool on its lattice, the brain.
        to_template: 4×4, patient RAS millimetres to template RAS millimetres.
        view: of a brain that is cut: beyond the cut nothing is moved to fill it.

    Returns:
        The field, with Jacobian determinants above 0.1 everywhere and a way back that errs by less than 0.3 mm: where
        demons went too far, a part of it. One thread computes it, so that equal input gives equal bits.
    """
    import SimpleITK as sitk

    template, found = load_template(), None
    matcher = sitk.HistogramMatchingImageFilter()
    matcher.SetNumberOfHistogramLevels(_THRESHOLDS[0])
    matcher.SetNumberOfMatchPoints(_THRESHOLDS[1])
    matcher.SetThresholdAtMeanIntensity(True)
    patient = to_template @ scan.affine
    pair = (
        (normalise_t1(template.t1.data, template.mask.data), template.t1.affine),
        (normalise_t1(scan.data, mask), patient),
    )
    for size, steps, smooth, gentle in _LEVELS:
        shape, affine = _lattice(size)
        still, own = (resample(data, place, shape, affine) for data, place in pair)
        if view is not None:  # where nothing was measured both images are alike
            clear = view.clear(shape, np.linalg.inv(to_template) @ affine)
            own, still = np.where(clear, own, 0), np.where(clear, still, 0)
        fixed, moving = _image(still, affine), _image(own, affine)
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfThreads(1)
        demons.SetNumberOfIterations(steps)
        demons.SetSmoothDisplacementField(True)
        demons.SetStandardDeviations(smooth)
        demons.SetSmoothUpdateField(True)
        demons.SetUpdateFieldStandardDeviations(gentle)
        start = _image(np.zeros((*shape, 3)), affine)
        if found is not None:
            start = sitk.Cast(sitk.Resample(found, start, sitk.Transform(), sitk.sitkLinear), sitk.sitkVectorFloat64)
        found = demons.Execute(fixed, matcher.Execute(moving, fixed), start)
    shape, affine = _lattice(_FINE)
    fine = sitk.Resample(found, _image(np.zeros((*shape, 3)), affine), sitk.Transform(), sitk.sitkLinear)
    return _invertible(_array(sitk.SmoothingRecursiveGaussian(fine, _FINE)), affine)


def _invertible(field: np.ndarray, affine: np.ndarray) -> Warp:
    """The field without its border, as much of it as can be inverted."""
    size = float(affine[0, 0])
    for axis, count in enumerate(field.shape[:3]):
        depth = np.minimum(np.arange(count), np.arange(count)[::-1]) * size
        field = field * np.clip(depth / _FADE, 0, 1).reshape([-1 if n == axis else 1 for n in range(4)])
    field = field.astype(np.float32)
    while True:
        if _least(field, size) > _LEAST:
            inverse = _inverse(field, affine)
            if np.linalg.norm(_pulled(inverse, field, affine) + field, axis=-1).max() < _RETURN:
                return Warp(field, inverse, affine)
        field = field * np.float32(_LESS)


def _inverse(field: np.ndarray, affine: np.ndarray, steps: int = 40) -> np.ndarray:
    """The way back v, with v(y) = -u(y + v(y)), by fixed-point iteration, first on every other point."""
    import SimpleITK as sitk

    back = -field
    if affine[0, 0] < 2 * _FINE:
        wide = affine @ np.diag([2.0, 2.0, 2.0, 1.0])
        start = _image(_inverse(field[::2, ::2, ::2], wide, steps), wide)
        back = _array(sitk.Resample(start, _image(field, affine), sitk.Transform(), sitk.sitkLinear))
    for _ in range(steps):
        before, back = back, -_pulled(field, back, affine)
        if np.abs(back - before).max() < 0.02:
            break
    return back.astype(np.float32)


def _pulled(field: np.ndarray, by: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """``field`` at the lattice's points moved by ``by``; 0 beyond the lattice."""
    import SimpleITK as sitk

    image = _image(field, affine)
    transform = sitk.DisplacementFieldTransform(_image(by, affine))
    return _array(sitk.Resample(image, image, transform, sitk.sitkLinear))


def _least(field: np.ndarray, size: float) -> float:
    return min(float(one.min()) for one in _determinants(field, size))


def _determinants(field: np.ndarray, size: float) -> Iterator[np.ndarray]:
    """The Jacobian determinant by each of the eight choices of one-sided differences."""
    padded = np.moveaxis(np.pad(field, [(1, 1)] * 3 + [(0, 0)], mode="edge"), -1, 0) / np.float32(size)
    middle = padded[:, 1:-1, 1:-1, 1:-1]
    slopes = []
    for axis in range(3):
        ahead, behind = (np.roll(padded, step, axis + 1)[:, 1:-1, 1:-1, 1:-1] for step in (-1, 1))
        slopes.append([ahead - middle, middle - behind])
        for slope in slopes[-1]:
            slope[axis] += 1
    for (a, b, c), (d, e, f), (g, h, i) in product(*slopes):
        yield a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def _lattice(size: float) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and affine of voxels of ``size`` mm over the template's brain and its surroundings."""
    brain = load_template().mask
    low, high = bounds(brain.data, brain.affine)
    shape, affine = lattice_over(low - _MARGIN, high + _MARGIN, size)
    affine[:3, 3] = low - _MARGIN  # voxels of every size begin at the same corner
    return shape, affine


def _image(data: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """ITK image of a volume or a field, in template RAS millimetres, which ITK takes for its own."""
    import SimpleITK as sitk

    vector = data.ndim == 4
    data = np.ascontiguousarray(np.swapaxes(data, 0, 2), np.float64 if vector else np.float32)
    image = sitk.GetImageFromArray(data, isVector=vector)
    image.SetSpacing(np.diag(affine)[:3].tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def _array(image: sitk.Image) -> np.ndarray:
    import SimpleITK as sitk

    return np.ascontiguousarray(np.swapaxes(sitk.GetArrayViewFromImage(image), 0, 2))
