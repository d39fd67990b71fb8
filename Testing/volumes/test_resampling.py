"""Resampling by affines: the right place, whatever the axes do, and no aliasing."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from DualGlowLib.preparation.t1 import Prepared, to_patient
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.resampling import held, resample
from DualGlowLib.volumes.scan import Scan


def _smooth(points: np.ndarray) -> np.ndarray:
    """A function of millimetres that a 2 mm lattice holds well."""
    x, y, z = np.moveaxis(points, -1, 0)
    return np.sin(x / 9) + np.cos(y / 11) * np.sin(z / 8 + 0.3) + 0.02 * x


def _points(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def _affine(angles: tuple[float, float, float], zooms: tuple[float, float, float], origin=(0, 0, 0)) -> np.ndarray:
    return nib.affines.from_matvec(nib.eulerangles.euler2mat(*angles) @ np.diag(zooms), origin)


SHEARED = np.array([[2, 0.6, 0, -40], [0, 2, 0.3, -38], [0.2, 0, 2, -41], [0, 0, 0, 1]])
PERMUTED = np.array([[0, 0, -2, 40], [2.0, 0, 0, -40], [0, -2, 0, 41], [0, 0, 0, 1]])


@pytest.mark.parametrize("source", [_affine((0, 0, 0), (2, 2, 2), (-40, -40, -40)), SHEARED, PERMUTED])
@pytest.mark.parametrize("order", [1, 3])
def test_values_are_taken_at_the_right_millimetres(source: np.ndarray, order: int) -> None:
    shape, target = (13, 11, 9), _affine((0.4, -0.3, 0.8), (1.5, 1.5, 1.5), (-8, -6, -5))
    data = _smooth(_points((41, 41, 41), source))
    found = resample(data, source, shape, target, order=order)
    assert found.shape == shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, _smooth(_points(shape, target)), atol=0.03 if order == 1 else 2e-3)


def test_same_lattice_changes_nothing() -> None:
    data = np.random.default_rng(0).normal(size=(9, 10, 11)).astype(np.float32)
    for order in (0, 1):
        np.testing.assert_array_equal(resample(data, SHEARED, data.shape, SHEARED, order=order), data)
    np.testing.assert_allclose(resample(data, SHEARED, data.shape, SHEARED, order=3), data, atol=1e-4)


def test_flips_and_swaps_are_exact() -> None:
    data = np.random.default_rng(0).normal(size=(9, 10, 11)).astype(np.float32)
    image = nib.Nifti1Image(data, _affine((0, 0, 0), (2, 1, 3)))
    turned = image.as_reoriented(nib.orientations.axcodes2ornt("PIL"))
    found = resample(turned.get_fdata(), turned.affine, image.shape, image.affine, antialias=False)
    np.testing.assert_allclose(found, data, atol=1e-5)


@pytest.mark.parametrize("fill", [-7.0, None])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("zooms", [(1.3, 0.7, 2.6), (-1.3, 0.7, -2.6)])
def test_along_the_axes_as_a_hair_askew(order: int, fill: float | None, zooms: tuple[float, float, float]) -> None:
    """Where the axes are the same, another way is taken, and of a part of the volume; it leads to the same."""
    data = np.random.default_rng(3).normal(size=(40, 42, 44)).astype(np.float32)
    shape, askew = (11, 12, 13), np.eye(4)
    askew[:3, :3] += 1e-6 * (np.ones((3, 3)) - np.eye(3))
    for start in ((20.317, 17.123, 33.441), (2.313, -3.127, 30.441), (36.717, 38.223, 9.319)):
        target = _affine((0, 0, 0), zooms, start)
        found, other = (resample(data, one, shape, target, order, fill) for one in (np.eye(4), askew))
        np.testing.assert_allclose(found, other, atol=1e-3)
        inside = held(data.shape, np.eye(4), shape, target)
        np.testing.assert_array_equal(inside, resample(np.ones(data.shape), askew, shape, target, order=0) > 0)


@pytest.mark.parametrize("turn", [0.0, 0.2])
def test_what_is_not_reached_makes_no_difference(turn: float) -> None:
    data = np.random.default_rng(5).normal(size=(40, 42, 44)).astype(np.float32)
    target, corner = _affine((0, 0, turn), (1.3, 0.7, 2.6), (0.317, 0.223, 0.141)), np.eye(4)
    corner[:3, 3] = (9, 20, 3)
    whole = resample(data, np.eye(4), (30, 60, 18), target)
    part = resample(data, np.eye(4), (11, 12, 10), target @ corner)
    np.testing.assert_allclose(part, whole[9:20, 20:32, 3:13], atol=2e-5)


def test_a_part_of_a_scan_lies_where_it_lay() -> None:
    data = np.random.default_rng(4).normal(size=(12, 11, 10)).astype(np.float32)
    whole = Scan(data, SHEARED, "a", {"b": 1}, data > 2)
    part = whole.part((slice(3, 9), slice(0, 30), slice(2, 4)))
    np.testing.assert_array_equal(part.data, data[3:9, :, 2:4])
    np.testing.assert_array_equal(part.holes, whole.holes[3:9, :, 2:4])
    np.testing.assert_allclose(part.affine @ [1, 5, 0, 1], whole.affine @ [4, 5, 2, 1])
    assert (part.source, part.meta) == ("a", {"b": 1})


def test_outside_is_filled() -> None:
    found = resample(np.ones((8, 8, 8)), np.eye(4), (8, 8, 8), _affine((0, 0, 0), (1, 1, 1), (4, 0, 0)), fill=-7)
    assert (found[:4] == 1).all()
    assert (found[4:] == -7).all()


def test_detail_finer_than_the_target_is_averaged_away() -> None:
    stripes = np.zeros((64, 64, 64), np.float32)
    stripes[::2] = 2  # 1 mm stripes, mean 1
    target = _affine((0, 0, 0), (4, 4, 4), (8, 8, 8))
    assert np.ptp(resample(stripes, np.eye(4), (12, 12, 12), target, antialias=False)) == 0  # every value is a stripe's
    assert resample(stripes, np.eye(4), (12, 12, 12), target, antialias=False).mean() == 2
    np.testing.assert_allclose(resample(stripes, np.eye(4), (12, 12, 12), target), 1, atol=0.02)


def test_blur_follows_the_axis_that_gets_coarser() -> None:
    data = np.zeros((41, 41, 41), np.float32)
    data[20, 20, 20] = 1
    thick = resample(data, np.eye(4), (41, 41, 9), _affine((0, 0, 0), (1, 1, 5), (0, 0, 0)))
    assert thick[20, 20, 4] > 0
    assert thick[21, 20, 4] == 0
    # Sums are kept: 5 mm voxels hold a fifth of the density.
    assert thick.sum() * 5 == pytest.approx(1, rel=0.1)


def test_bad_arguments() -> None:
    data = np.zeros((8, 8, 8))
    with pytest.raises(ValueError, match="order"):
        resample(data, np.eye(4), (8, 8, 8), np.eye(4), order=2)
    with pytest.raises(ValueError, match="inverted"):
        resample(data, np.diag([1.0, 1, 0, 1]), (8, 8, 8), np.eye(4))


@pytest.fixture
def prepared() -> Prepared:
    """A made-up preparation: an oblique, left-handed, sheared scan and an affine that is none of the simple ones."""
    grid = GRIDS["medium"]
    affine = _affine((0.2, 0.1, -0.3), (-3, 3, 4), (70, -90, -60))
    affine[0, 1] += 0.2
    scan = Scan(np.zeros((48, 60, 38), np.float32), affine.astype(np.float32))
    to_template = _affine((0.1, -0.05, 0.2), (1.05, 0.97, 1.1), (3, -9, 12))
    inside = np.linalg.norm((_points(scan.shape, to_template @ scan.affine) - grid.centre) / (60, 75, 60), axis=-1) < 1
    return Prepared(grid, np.zeros(grid.shape), np.zeros(grid.shape, bool), scan, inside, to_template)


def test_to_patient_puts_values_where_they_belong(prepared: Prepared) -> None:
    grid, scan = prepared.grid, prepared.scan
    found = to_patient(_smooth(_points(grid.shape, grid.affine)) + 5, prepared)
    assert found.shape == scan.shape
    assert found.affine.tobytes() == scan.affine.tobytes()
    true = _smooth(_points(scan.shape, prepared.to_template @ scan.affine)) + 5
    np.testing.assert_allclose(found.data[prepared.patient_mask], true[prepared.patient_mask], atol=0.02)


def test_to_patient_fades_to_nothing_outside_the_brain(prepared: Prepared) -> None:
    found = to_patient(np.ones(prepared.grid.shape), prepared).data
    mask = prepared.patient_mask
    np.testing.assert_allclose(found[mask], 1, atol=1e-5)
    outside = _points(mask.shape, prepared.scan.affine)[~mask]
    inside = _points(mask.shape, prepared.scan.affine)[mask]
    some = np.random.default_rng(0).choice(len(outside), 400, replace=False)
    nearest = np.array([np.linalg.norm(inside - point, axis=1).min() for point in outside[some]])
    values = found[~mask][some]
    assert (values[nearest > 4.5] == 0).all()
    assert (np.diff(values[np.argsort(nearest)][nearest[np.argsort(nearest)] < 4]) <= 0.35).all()
    assert to_patient(np.ones(prepared.grid.shape), prepared, mask=False).data[~mask].max() == 1


def test_to_patient_invents_no_values(prepared: Prepared) -> None:
    volume = np.zeros(prepared.grid.shape, np.float32)
    volume[20:28, 28:36, 20:28] = 2  # a cubic spline would ring here
    found = to_patient(volume, prepared, mask=False).data
    assert found.min() == 0
    assert found.max() == 2
    with pytest.raises(ValueError, match="not on the grid"):
        to_patient(volume[1:], prepared)
