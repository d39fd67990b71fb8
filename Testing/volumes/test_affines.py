"""Rotations, beside SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from DualGlowLib.volumes.affines import rotation, turned


@pytest.mark.parametrize("length", [0.0, 1e-9, 1e-3, 1.0, np.pi, 7.0])
def test_rotations_are_those_of_scipy(length: float) -> None:
    for direction in np.random.default_rng(0).normal(size=(20, 3)):
        vector = length * direction / np.linalg.norm(direction)
        np.testing.assert_allclose(rotation(vector), Rotation.from_rotvec(vector).as_matrix(), atol=1e-13)


def test_turns_follow_each_other_about_x_y_and_z() -> None:
    for angles in np.random.default_rng(1).uniform(-180, 180, (20, 3)):
        expected = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        np.testing.assert_allclose(turned(*angles), expected, atol=1e-13)
