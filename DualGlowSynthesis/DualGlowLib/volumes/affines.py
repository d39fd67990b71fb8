"""Affines: nibabel's functions, imported when they are called (a fresh Slicer opens both windows without nibabel), and
rotations, for which scipy loads for half a second."""

from __future__ import annotations

import numpy as np

__all__ = ["apply_affine", "from_matvec", "rotation", "turned"]


def apply_affine(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (…, 3) where a 4×4 puts them."""
    from nibabel.affines import apply_affine

    return apply_affine(affine, points)


def from_matvec(matrix: np.ndarray, vector: np.ndarray | None = None) -> np.ndarray:
    """4×4 of a 3×3 and a shift (none by default)."""
    from nibabel.affines import from_matvec

    return from_matvec(matrix, vector)


def rotation(vector: np.ndarray) -> np.ndarray:
    """3×3 of a rotation vector: its direction is the axis, its length the angle in radians (Rodrigues)."""
    angle, cross = np.linalg.norm(vector) / np.pi, np.cross(vector, np.eye(3)).T
    return np.eye(3) + np.sinc(angle) * cross + 0.5 * np.sinc(angle / 2) ** 2 * cross @ cross


def turned(x: float, y: float, z: float = 0.0) -> np.ndarray:
    """3×3 of turns by so many degrees about x, then y, then z."""
    first, second, third = (rotation(axis) for axis in np.diag(np.deg2rad([x, y, z])))
    return third @ second @ first
