"""A scan: voxels and where they lie in the patient. The one place that states geometry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["LPS", "Scan", "without_holes"]

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""4×4 from RAS to LPS millimetres, and back: ITK and DICOM count to the left and the back."""


@dataclass
class Scan:
    """One 3-D volume with its geometry.

    Attributes:
        data: voxel values, float32, indexed ``[i, j, k]`` as NIfTI does (not ``[k, j, i]`` as ITK's arrays).
        affine: 4×4, from voxel indices (i, j, k, 1) to millimetres in RAS+ (x to the right, y to the front, z up),
            as nibabel's ``affine`` and Slicer's IJKToRAS.
        source: where it came from, for messages; empty when made in memory.
        meta: anything the file said that is worth keeping (strings and numbers).
        holes: bool of data's shape, voxels that have no number in the file (NaN, infinite) and hold the background's
            in ``data``; None if there are none.
    """

    data: np.ndarray
    affine: np.ndarray
    source: str = ""
    meta: dict = field(default_factory=dict)
    holes: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.data = np.asarray(self.data)
        self.affine = np.asarray(self.affine, dtype=np.float64)
        if self.data.ndim != 3 or self.affine.shape != (4, 4):
            raise ValueError(f"A scan has 3 axes and a 4×4 affine, not {self.data.shape} and {self.affine.shape}.")

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.data.shape

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size along i, j, k in millimetres."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def axcodes(self) -> str:
        """The nearest anatomical direction of each voxel axis, e.g. ``"RAS"`` (nibabel's convention)."""
        from nibabel.orientations import aff2axcodes

        return "".join(code or "?" for code in aff2axcodes(self.affine))

    def to_dict(self) -> dict:
        """Geometry and what of ``meta`` JSON can hold; no voxels."""
        return {
            "shape": list(self.shape),
            "spacing": [round(float(step), 4) for step in self.spacing],
            "axcodes": self.axcodes,
            **{key: value for key, value in self.meta.items() if isinstance(value, str | int | float | bool)},
        }

    def to_sitk(self) -> sitk.Image:
        """The same voxels in the same place as a SimpleITK image (LPS).

        ITK images have no shear; code that may meet a sheared affine resamples by ``affine`` itself
        (``resampling.resample``).
        """
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(np.ascontiguousarray(self.data.transpose(2, 1, 0)))
        lps = LPS @ self.affine
        spacing = self.spacing
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
        return image

    @classmethod
    def from_sitk(cls, image: sitk.Image, source: str = "", meta: dict | None = None) -> Scan:
        """A scan from a 3-D scalar SimpleITK image (LPS to RAS)."""
        import SimpleITK as sitk

        lps = np.eye(4)
        lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
        lps[:3, 3] = image.GetOrigin()
        return cls(sitk.GetArrayFromImage(image).transpose(2, 1, 0), LPS @ lps, source, dict(meta or {}))

    def part(self, box: tuple[slice, slice, slice]) -> Scan:
        """The voxels of a box, where they are; its slices have a first index."""
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
        holes = None if self.holes is None else self.holes[box]
        return Scan(self.data[box], affine, self.source, dict(self.meta), holes)

    def like(self, data: np.ndarray, **meta: object) -> Scan:
        """Other voxels on this scan's lattice."""
        if data.shape != self.shape:
            raise ValueError(f"Data of shape {data.shape} do not lie on a lattice of shape {self.shape}.")
        return Scan(data, self.affine.copy(), self.source, {**self.meta, **meta}, self.holes)


def without_holes(data: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Voxels with the background's value where they hold no number, and where that is (None: nowhere).

    The background is 0, or the lowest number of an image that goes below it, as one scaled to a mean of 0 does.
    """
    if np.isfinite(data.min()) and np.isfinite(data.max()):  # of a volume without such voxels no more is needed
        return data, None
    finite = np.isfinite(data)
    if not finite.any():
        return data, None
    numbers = data[finite]
    below = np.count_nonzero(numbers < 0) > 0.05 * numbers.size
    return np.where(finite, data, numbers.min() if below else 0).astype(data.dtype, copy=False), ~finite
