"""The model's voxel lattice in template space (MNI152), by name or from a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .lattices import lattice_about

__all__ = ["GRIDS", "Grid", "grid_named"]

# Middle of the MNI152 brain's bounding box (x -72..72, y -107..73, z -72..82 mm), in RAS+ millimetres.
_BRAIN_CENTRE = (0.0, -17.0, 5.0)


@dataclass(frozen=True)
class Grid:
    """A shape and an affine in MNI152 space.

    Attributes:
        name: one of ``GRIDS``, or any other word for a grid of one's own.
        shape: voxels along x, y, z; each divides by 2^levels of the model that uses it.
        spacing: voxel size in millimetres along x, y, z.
        centre: the grid's middle in RAS+ millimetres of MNI152 space.
    """

    name: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    centre: tuple[float, float, float] = _BRAIN_CENTRE

    @property
    def affine(self) -> np.ndarray:
        """4×4, voxel indices to RAS+ millimetres; axes run to the right, the front and up."""
        return lattice_about(self.centre, self.shape, self.spacing)

    def holds(self, shape: Sequence[int], affine: np.ndarray) -> bool:
        """Whether a volume of this shape and affine lies on the grid, to a micrometre or so."""
        return tuple(shape) == tuple(self.shape) and np.allclose(affine, self.affine, atol=1e-3)

    def to_dict(self) -> dict:
        return {
            "name": self.name,
            "space": "MNI152",
            "shape": list(self.shape),
            "spacing": list(self.spacing),
            "centre": list(self.centre),
        }

    @classmethod
    def from_dict(cls, values: dict) -> Grid:
        return cls(values["name"], tuple(values["shape"]), tuple(values["spacing"]), tuple(values["centre"]))


GRIDS = {
    grid.name: grid
    for grid in (
        Grid("small", (32, 48, 32), (5.0, 5.0, 5.0)),
        Grid("medium", (48, 64, 48), (3.4, 3.4, 3.4)),
        Grid("paper", (64, 96, 64), (2.4, 1.9, 2.4)),
        Grid("standard", (80, 96, 80), (2.0, 2.0, 2.0)),
        Grid("high", (96, 128, 112), (1.5, 1.5, 1.5)),
    )
}
"""The named grids. The paper prints 64×96×64 at 1.5 mm, which can't hold a brain; ``paper`` keeps its shape and
takes the voxel size that does. ``medium`` has the shape of the authors' released program."""


def grid_named(name: str) -> Grid:
    """One of ``GRIDS``.

    Raises:
        InputError: there is none of this name.
    """
    if name not in GRIDS:
        raise InputError(f"There is no grid {name!r}; there are {', '.join(GRIDS)}.")
    return GRIDS[name]
