"""Where a scan has been measured, whether that cuts the brain, and how it would go on.

A brain is cut by the edge of the volume, by planes or borders that hold one value only (slices that are missing, a
volume padded to another size), or by a defacing that went too deep. The networks have seen brains in heads: where
tissue ends at nothing they leave its last centimetre out, so that a cut looks like a smaller brain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..atlas.template import load_template
from ..volumes.lattices import bounds, lattice_over
from ..volumes.morphology import dilated, grown, reached
from ..volumes.resampling import held, resample
from ..volumes.scan import Scan
from .deformable import to_grid

if TYPE_CHECKING:
    from ..volumes.grid import Grid
    from .deformable import Warp

__all__ = ["FieldOfView"]

_SIZE = 3.0  # millimetres: voxels in which all this is looked at
_AROUND = 27.0  # millimetres of the brain's surroundings
_REACH = 16.0  # millimetres: what the networks leave out before a cut, at most (12 measured)
_LEAST = 10.0  # cm²: a brain in a close-fitting box touches each side with 2 to 6, the brain stem is cut with 5 to 8
_ROUND = 4.0  # cm² for each millimetre that a voxel is thicker than 1 mm, of a ball like a brain
_BARE = 0.4  # share of the brain's surface that lies bare in the air: somebody removed the skull
_TISSUE = 0.35  # of bright tissue: grey matter has 0.6, skull less than 0.15
_GOES_ON = 20.0  # millimetres: how far the image is continued beyond a cut
_SIDES = ("left", "right", "back", "front", "bottom", "top")
_EDGE = 4.0  # millimetres before the edge, where blurred voxels show some of what lies beyond it


@dataclass(frozen=True)
class FieldOfView:
    """What of a brain's surroundings a scan has measured.

    Attributes:
        measured: bool, on a lattice of 3 mm along the axes of the scan's millimetres that covers the brain.
        bare: likewise, what of the volume holds one value only.
        affine: 4×4, its indices to those millimetres.
        brain: bool, on the same lattice, the mask.
        cut: cm² of the brain at the face of the volume where it is widest, or at what is bare if that is more.
    """

    measured: np.ndarray
    bare: np.ndarray
    affine: np.ndarray
    brain: np.ndarray
    cut: float

    @classmethod
    def of(cls, scan: Scan, mask: np.ndarray) -> FieldOfView:
        """From a scan and its brain (bool on its lattice, not empty)."""
        low, high = bounds(mask, scan.affine)
        shape, affine = lattice_over(low - _AROUND, high + _AROUND, _SIZE)
        inside = held(scan.shape, scan.affine, shape, affine)
        brain = resample(mask, scan.affine, shape, affine, order=0) > 0.5
        bare = _constant(resample(scan.data, scan.affine, shape, affine, order=0), inside)
        if _contact(brain, bare) > _BARE * _contact(brain, ~brain):
            bare = np.zeros_like(bare)  # without a skull: where air begins, the brain ends by itself
        measured = inside & ~bare
        return cls(
            measured,
            bare,
            affine,
            brain & measured,
            max(_at_faces(mask, scan.affine), _contact(brain & measured, bare)),
        )

    @property
    def is_cut(self) -> bool:
        """The brain goes on beyond what was measured."""
        return self.cut > _LEAST

    def seen(self, shape: tuple[int, int, int], affine: np.ndarray, edge: float = 0.0) -> np.ndarray:
        """Bool on another lattice of the same millimetres: what was measured, without ``edge`` mm at its edges.

        What lies beyond the brain's surroundings is as its nearest neighbour within them.
        """
        from scipy.ndimage import distance_transform_edt

        inside = self.measured
        if edge and not inside.all():
            inside = distance_transform_edt(inside) * _SIZE > edge
        return resample(inside, self.affine, shape, affine, fill=None, antialias=False) > 0.5

    def on_grid(self, scan: Scan, grid: Grid, to_template: np.ndarray, warp: Warp | None = None) -> np.ndarray:
        """Bool of a grid's shape: what the scan has measured; of a brain that isn't cut, what its volume holds."""
        if not self.is_cut:
            if warp is None:
                return held(scan.shape, scan.affine, grid.shape, np.linalg.inv(to_template) @ grid.affine)
            volume = np.ones(scan.shape, bool)
            return to_grid(volume, scan.affine, grid, to_template, warp, antialias=False) > 0.5
        return to_grid(self.measured, self.affine, grid, to_template, warp, fill=None, antialias=False) > 0.5

    def missing(self, to_template: np.ndarray) -> tuple[float, float, list[str]]:
        """Part of the template's brain that wasn't measured, how far it goes on beyond (mm), and on which sides."""
        from scipy.ndimage import distance_transform_edt

        mask = load_template().mask
        low, high = bounds(mask.data, mask.affine)
        shape, affine = lattice_over(low, high, _SIZE)
        brain = resample(mask.data, mask.affine, shape, affine) > 0.5
        seen = self.seen(shape, np.linalg.inv(to_template) @ affine)
        lost = brain & ~seen
        if not lost.any() or not seen.any():
            return float(lost.sum() / brain.sum()), 0.0, []
        depth = float(distance_transform_edt(~seen)[lost].max()) * _SIZE / np.cbrt(np.linalg.det(to_template[:3, :3]))
        places = 2 * np.argwhere(lost) / (np.array(shape) - 1) - 1
        axis = np.abs(places).argmax(axis=1)
        sides = 2 * axis + (np.take_along_axis(places, axis[:, None], 1)[:, 0] > 0)
        shares = np.bincount(sides, minlength=6) / len(sides)
        named = [_SIDES[side] for side in np.argsort(-shares) if shares[side] > 0.25]
        return float(lost.sum() / brain.sum()), float(depth), named

    def within(self, scan: Scan) -> np.ndarray:
        """Bool on the scan's own lattice: voxels that were measured."""
        if not self.bare.any():
            return np.ones(scan.shape, bool)
        return resample(self.bare, self.affine, scan.shape, scan.affine, order=0) < 0.5

    def clear(self, shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
        """``seen`` as the registration needs it, where no voxel shows anything of what lies beyond."""
        return self.seen(shape, affine, _EDGE)

    def may_be_cut(self, scan: Scan, low: float, high: float) -> bool:
        """Tissue goes on from the mask to the edge, without a skull between them.

        Args:
            scan: the scan.
            low, high: its background and bright tissue.
        """
        image = resample(scan.data, scan.affine, self.measured.shape, self.affine, fill=None)
        image = (image - low) / (high - low)
        edge = self.measured & grown(~self.measured) & (image > _TISSUE)
        edge &= dilated(self.brain, math.ceil(_REACH / _SIZE))
        if _area(edge) <= _LEAST:  # as in most scans, which spares loading scipy
            return False
        from scipy.ndimage import distance_transform_edt, map_coordinates

        distance, nearest = distance_transform_edt(~self.brain, return_indices=True)
        edge &= distance * _SIZE < _REACH
        end, start = np.argwhere(edge).T, nearest[:, edge]
        ways = (start + share * (end - start) for share in (0.0, 0.25, 0.5, 0.75))
        darkest = np.min([map_coordinates(image, way, order=1) for way in ways], axis=0)
        return _area(darkest > _TISSUE) > _LEAST

    def continued(self, scan: Scan, size: float) -> Scan:
        """The scan in voxels of ``size`` mm, continued for 20 mm beyond what was measured by its nearest values."""
        from scipy.ndimage import distance_transform_edt

        low, high = bounds(np.ones(scan.shape, bool), scan.affine)
        shape, affine = lattice_over(low - _GOES_ON, high + _GOES_ON, size)
        image = resample(scan.data, scan.affine, shape, affine, fill=None)
        inside = held(scan.shape, scan.affine, shape, affine)
        empty = inside & (resample(self.bare, self.affine, shape, affine, order=0) > 0.5)
        if empty.any():
            near = distance_transform_edt(empty, return_indices=True)
            image = np.where(near[0] * size < _GOES_ON, image[tuple(near[1])], image)
        return Scan(image, affine, scan.source)


def _constant(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Where solid pieces of one value reach the border of the volume or of the brain's surroundings."""
    border = np.ones(image.shape, bool)
    border[1:-1, 1:-1, 1:-1] = False
    border = inside & (border | grown(~inside))
    values, counts = np.unique(image[border], return_counts=True)
    if not len(values) or counts.max() < 0.02 * border.sum():
        return np.zeros(image.shape, bool)
    same = inside & (image == values[counts.argmax()])
    solid = same
    for _ in range(2):
        solid = inside & ~grown(~solid)
    solid = reached(solid, border)
    for _ in range(3):
        solid = grown(solid)
    return solid & same


def _area(voxels: np.ndarray) -> float:
    """cm² of a surface of so many voxels."""
    return np.count_nonzero(voxels) * _SIZE**2 / 100


def _at_faces(mask: np.ndarray, affine: np.ndarray) -> float:
    """cm² of a mask on that face of its volume where it is widest, less what thick voxels show of a round end."""
    areas = []
    for axis in range(3):
        area = np.linalg.norm(np.cross(*np.delete(affine[:3, :3], axis, axis=1).T))
        thick = abs(np.linalg.det(affine[:3, :3])) / area
        widest = max(np.count_nonzero(mask.take(end, axis)) for end in (0, -1)) * area / 100
        areas.append(widest - _ROUND * max(thick - 1, 0))
    return max(float(max(areas)), 0.0)


def _contact(brain: np.ndarray, other: np.ndarray) -> float:
    """cm² of faces between voxels of the brain and of another region."""
    faces = 0
    for axis in range(3):
        one, two = (np.moveaxis(volume, axis, 0) for volume in (brain, other))
        faces += np.count_nonzero(one[1:] & two[:-1]) + np.count_nonzero(one[:-1] & two[1:])
    return float(faces * _SIZE**2 / 100)
