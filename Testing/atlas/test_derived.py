"""What ships of the template is what would be computed from it."""

from __future__ import annotations

import numpy as np
import pytest

from derive_template import everything
from DualGlowLib.atlas.derived import dense, derived, sparse
from DualGlowLib.atlas.regions import compute_weights, weights
from DualGlowLib.preparation.affine import _template_brain, compute_template_brain
from DualGlowLib.preparation.quality import _tissues, compute_tissues
from DualGlowLib.volumes.grid import GRIDS


def test_nothing_ships_that_is_not_computed() -> None:
    for name, found in everything().items():
        assert derived(name).keys() == found.keys(), f"{name}: run Testing/support/derive_template.py"
    assert not derived("weights")


def test_the_brain() -> None:
    found, expected = _template_brain(), compute_template_brain()
    for name in ("t1", "mask", "affine", "frame"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-5)


def test_the_tissues() -> None:
    (shape, affine, found), (its_shape, its_affine, expected) = _tissues(), compute_tissues()
    assert shape == its_shape
    np.testing.assert_array_equal(affine, its_affine)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == bool
        assert np.count_nonzero(one != other) <= 2  # by rounding
    assert min(map(np.count_nonzero, found)) > 500


def test_the_regions() -> None:
    found = weights(GRIDS["medium"])
    assert not found.flags.writeable
    np.testing.assert_allclose(found, compute_weights(GRIDS["medium"]), atol=1e-6 * found.max())


def test_arrays_come_together_again() -> None:
    array = np.zeros((3, 4, 5), np.float32)
    array[1, 2, 3], array[2, 0, 0] = 7, -1
    np.testing.assert_array_equal(dense(**sparse(array)), array)
    with pytest.raises(ValueError, match="read-only"):
        derived("brain")["affine"][0] = 1
