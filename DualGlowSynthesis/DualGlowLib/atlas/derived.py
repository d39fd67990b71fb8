"""What is computed from the template alone, and is the same for every scan: it ships, so as not to be computed anew.

``Testing/support/derive_template.py`` writes the file; ``Testing/atlas/test_derived.py`` computes everything again.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..resources import resource

__all__ = ["FILE", "dense", "derived", "sparse"]

FILE = "derived.npz"


@lru_cache(maxsize=1)
def _arrays() -> dict[str, np.ndarray]:
    with np.load(resource("Template", FILE), allow_pickle=False) as file:
        arrays = dict(file)
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def derived(name: str) -> dict[str, np.ndarray]:
    """The arrays that are called ``name`` and something, by that; none if nothing of the name ships. Read-only."""
    return {key.removeprefix(f"{name}."): array for key, array in _arrays().items() if key.startswith(f"{name}.")}


def sparse(array: np.ndarray) -> dict[str, np.ndarray]:
    """What of an array isn't 0, and where."""
    places = np.flatnonzero(array)
    return {"shape": np.array(array.shape), "places": places.astype(np.int32), "values": array.ravel()[places]}


def dense(shape: np.ndarray, places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The array that ``sparse`` took apart."""
    array = np.zeros(tuple(shape), values.dtype)
    array.ravel()[places] = values
    return array
