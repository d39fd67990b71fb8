"""The way to the template, affine and deformed, read by the programs of the field: the same points within 0.01 mm."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.affines import apply_affine, from_matvec
from nibabel.eulerangles import euler2mat

from DualGlowLib.preparation.deformable import Warp
from DualGlowLib.preparation.transforms import read_transform, write_transform

TO_TEMPLATE = from_matvec(1.1 * euler2mat(0.3, -0.2, 0.1) @ np.diag([0.95, 1.05, 1.0]), [4.0, -17.0, 9.0])
# RAS, of the template, and points of the field: between these others interpolate otherwise than ITK.
POINTS = np.array([[2.0, 1, -2], [42, -19, 28], [-33, 26, -12], [12, -59, 43], [-18, 6, 3]])
FLIP = np.array([-1.0, -1, 1])

ANTS = """
import json, sys, ants
path, points = sys.argv[1], json.loads(sys.argv[2])
transform = ants.read_transform(path)
print(json.dumps([list(ants.apply_ants_transform_to_point(transform, point)) for point in points]))
"""
NITRANSFORMS = """
import json, sys
import numpy as np
from nitransforms import linear, manip
path, points = sys.argv[1], np.array(json.loads(sys.argv[2]))
found = manip.load(path, fmt="itk") if path.endswith(".h5") else linear.load(path, fmt="itk")
print(json.dumps(np.asarray(found.map(points)).tolist()))
"""


@dataclass
class Deformed:
    """What ``write_transform`` takes of a prepared scan."""

    to_template: np.ndarray
    warp: Warp | None


def warp() -> Warp:
    """A smooth deformation of some millimetres about the template's middle."""
    shape, affine = (36, 44, 36), from_matvec(np.diag([5.0, 5.0, 5.0]), [-88.0, -124.0, -72.0])
    places = apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    bump = np.exp(-np.square(places / 45).sum(-1))[..., None]
    field = np.ascontiguousarray(bump * np.array([4.0, -3.0, 5.0]), np.float32)
    return Warp(field, -field, affine)


def expected(deformed: bool) -> np.ndarray:
    """Where the points of the template lie in the patient, RAS."""
    points = POINTS
    if deformed:
        bump = np.exp(-np.square(POINTS / 45).sum(-1))[:, None]
        points = POINTS + bump * np.array([4.0, -3.0, 5.0])
    return apply_affine(np.linalg.inv(TO_TEMPLATE), points)


@pytest.fixture(params=["affine.tfm", "affine.h5", "deformed.h5"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, np.ndarray]:
    deformed = request.param == "deformed.h5"
    path = write_transform(Deformed(TO_TEMPLATE, warp() if deformed else None), tmp_path / request.param)
    return path, expected(deformed)


def by_simpleitk(path: Path) -> np.ndarray:
    transform = sitk.ReadTransform(str(path))
    return np.array([transform.TransformPoint((FLIP * point).tolist()) for point in POINTS]) * FLIP


def test_simpleitk(written: tuple[Path, np.ndarray]) -> None:
    path, wanted = written
    np.testing.assert_allclose(by_simpleitk(path), wanted, atol=0.01)
    if "affine" in path.name:
        np.testing.assert_allclose(read_transform(path), TO_TEMPLATE, atol=1e-6)


def test_ants(written: tuple[Path, np.ndarray], ask: Callable) -> None:
    path, wanted = written
    found = np.array(ask(ANTS, path, json.dumps((POINTS * FLIP).tolist()))) * FLIP
    np.testing.assert_allclose(found, wanted, atol=0.01)


def test_nitransforms(written: tuple[Path, np.ndarray], ask: Callable) -> None:
    path, wanted = written
    found = np.array(ask(NITRANSFORMS, path, json.dumps(POINTS.tolist())))
    np.testing.assert_allclose(found, wanted, atol=0.01)
