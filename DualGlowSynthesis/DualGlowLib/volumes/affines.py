"""nibabel's functions for affines, imported when they are called: a fresh Slicer opens both windows without nibabel."""

from __future__ import annotations

import numpy as np

__all__ = ["apply_affine", "from_matvec"]


def apply_affine(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (…, 3) where a 4×4 puts them."""
    from nibabel.affines import apply_affine

    return apply_affine(affine, points)


def from_matvec(matrix: np.ndarray, vector: np.ndarray | None = None) -> np.ndarray:
    """4×4 of a 3×3 and a shift (none by default)."""
    from nibabel.affines import from_matvec

    return from_matvec(matrix, vector)
