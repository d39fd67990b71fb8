"""The optional deformable step: nearer to the template than the affine, invertible, and the same for a PET."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from DualGlowLib import InputError
from DualGlowLib.atlas.template import load_template
from DualGlowLib.preparation.deformable import Warp, deform
from DualGlowLib.preparation.pet import prepare_pet
from DualGlowLib.preparation.t1 import _AROUND, Prepared, prepare, to_patient
from DualGlowLib.preparation.transforms import read_transform, write_transform
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.morphology import extent
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan

GRID = GRIDS["medium"]
_STEP = 2.5  # millimetres: voxels of the made-up head


def _true(points: np.ndarray) -> np.ndarray:
    """How the made-up head is bent, millimetres at template points (..., 3): smooth, up to 7 mm, nothing affine can."""
    x, y, z = np.moveaxis(np.asarray(points, float), -1, 0)
    return np.stack(
        [4 * np.sin(y / 22) * np.cos(z / 25), 4 * np.sin(z / 20 + 1), 4 * np.sin(x / 21) * np.cos(y / 24)], -1
    )


def _points(shape: tuple, affine: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


@pytest.fixture(scope="module")
def bent() -> tuple[Scan, np.ndarray]:
    """The template, bent: the patient's point x shows the template's x + _true(x)."""
    template = load_template()
    affine = template.t1.affine @ np.diag([_STEP, _STEP, _STEP, 1])
    shape = tuple(int(n / _STEP) for n in template.t1.shape)
    place = np.diag([_STEP, _STEP, _STEP, 1.0])
    place[:3, 3] = -110, -140, -110
    warp = (_true(_points((90, 100, 92), place)), place)
    t1, mask = (resample(one.data, one.affine, shape, affine, warp=warp) for one in (template.t1, template.mask))
    return Scan(t1 * 7 + 20 * (mask > 0.5), affine), mask > 0.5


@pytest.fixture(scope="module")
def plain(bent: tuple[Scan, np.ndarray]) -> Prepared:
    return prepare(bent[0], GRID, bent[1], bias=False)


@pytest.fixture(scope="module")
def deformed(bent: tuple[Scan, np.ndarray]) -> Prepared:
    return prepare(bent[0], GRID, bent[1], bias=False, deformable=True)


def _errors(prepared: Prepared) -> np.ndarray:
    """How far, in mm, the grid's points in the brain lie from where the template's same points are in the patient."""
    places = _points(GRID.shape, GRID.affine)
    field = np.zeros_like(places)
    if prepared.warp:
        for axis in range(3):
            field[..., axis] = resample(prepared.warp.field[..., axis], prepared.warp.affine, GRID.shape, GRID.affine)
    back = np.linalg.inv(prepared.to_template)
    patient = (places + field) @ back[:3, :3].T + back[:3, 3]
    brain = load_template().mask
    inside = resample(brain.data, brain.affine, GRID.shape, GRID.affine) > 0.5
    return np.linalg.norm(patient + _true(patient) - places, axis=-1)[inside]


def test_the_bend_is_found(plain: Prepared, deformed: Prepared) -> None:
    before, after = _errors(plain), _errors(deformed)
    assert before.mean() > 2.5
    assert after.mean() < 0.5 * before.mean()
    assert np.percentile(after, 95) < np.percentile(before, 95)
    template = load_template().t1
    wanted = resample(template.data, template.affine, GRID.shape, GRID.affine)
    likeness = [np.corrcoef(one.t1[one.mask], wanted[one.mask])[0, 1] for one in (plain, deformed)]
    assert likeness[1] > likeness[0] + 0.05
    assert deformed.quality["covered"] > 0.99


def test_the_field_is_smooth_and_leads_back(deformed: Prepared) -> None:
    warp, quality = deformed.warp, deformed.quality
    image = sitk.GetImageFromArray(np.swapaxes(warp.field, 0, 2).astype(np.float64), isVector=True)
    image.SetSpacing(np.diag(warp.affine)[:3].tolist())
    theirs = np.swapaxes(sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image)), 0, 2)
    assert theirs.min() > quality["min_jacobian"] - 1e-3 > 0
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(warp.jacobian[inner], theirs[inner], atol=0.05)
    assert quality["return_error_mm"] < 0.3
    assert 2 < quality["displacement_mean_mm"] < quality["displacement_max_mm"] < 12
    for side in (warp.field[[0, -1]], warp.field[:, [0, -1]], warp.field[:, :, [0, -1]]):
        assert not side.any(), "the field ends with a jump"


def test_a_field_that_folds_is_reduced() -> None:
    from DualGlowLib.preparation import deformable

    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    field = np.zeros((40, 40, 40, 3))
    field[..., 0] = 9 * np.sin(np.arange(40) / 2.5)[:, None, None]
    assert deformable._least(field.astype(np.float32), 2.0) < 0
    warp = deformable._invertible(field, affine)
    assert warp.jacobian.min() > 0
    assert 0.5 < np.abs(warp.field).max() < 5


def test_there_and_back(bent: tuple[Scan, np.ndarray], deformed: Prepared) -> None:
    """A blob of the patient comes to the grid as ``prepare_pet`` brings it, and back to its place."""
    scan, mask = bent
    warp = deformed.warp
    for centre in ((25, 40, 28), (44, 50, 38)):
        distance = np.linalg.norm(np.moveaxis(np.indices(scan.shape), 0, -1) - centre, axis=-1) * _STEP
        blob = np.exp(-0.5 * (distance / 7) ** 2).astype(np.float32)
        assert mask[centre]
        there = resample(
            blob, deformed.to_template @ scan.affine, GRID.shape, GRID.affine, warp=(warp.field, warp.affine)
        )
        back = to_patient(there, deformed).data
        astray = to_patient(there, replace(deformed, warp=None)).data
        miss = [np.linalg.norm(_centre(one) - _centre(blob)) * _STEP for one in (back, astray)]
        assert miss[0] < 1 < miss[1]


def _centre(volume: np.ndarray) -> np.ndarray:
    weight = np.where(volume > 0.3 * volume.max(), volume, 0).ravel()
    return np.indices(volume.shape).reshape(3, -1) @ weight / weight.sum()


def test_nothing_changes_unless_asked(bent: tuple[Scan, np.ndarray], plain: Prepared, deformed: Prepared) -> None:
    assert plain.warp is None
    assert "min_jacobian" not in plain.quality
    # What the preparation has always done, step by step.
    from DualGlowLib.preparation.intensity import normalise_t1

    target = np.linalg.inv(plain.to_template) @ GRID.affine
    share = resample(bent[1], bent[0].affine, GRID.shape, target)
    brain = resample(np.where(bent[1], bent[0].data, 0), bent[0].affine, GRID.shape, target)
    expected = normalise_t1(brain / np.maximum(share, 1e-3), share > 0.5)
    np.testing.assert_allclose(plain.t1, expected, rtol=0, atol=2e-6)  # rounding: it cuts the brain's box out first
    np.testing.assert_array_equal(deformed.to_template, plain.to_template)


def test_the_same_input_gives_the_same_bits(bent: tuple[Scan, np.ndarray], deformed: Prepared) -> None:
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(2)
        box = extent(bent[1], _AROUND)
        again = deform(bent[0].part(box), bent[1][box], deformed.to_template)
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    np.testing.assert_array_equal(again.field, deformed.warp.field)
    np.testing.assert_array_equal(again.inverse, deformed.warp.inverse)


def test_the_pet_goes_the_same_way(bent: tuple[Scan, np.ndarray], deformed: Prepared) -> None:
    scan, mask = bent
    t1 = np.where(mask, scan.data, 0) / np.percentile(scan.data[mask], 80)
    pet = Scan((np.where(mask, np.where(t1 > 0.4, 2.2 - 1.5 * t1, 0.3), 0.05) * 5000).astype(np.float32), scan.affine)
    found = prepare_pet(pet, deformed, reference="brain", registered=True)
    astray = prepare_pet(pet, replace(deformed, warp=None), reference="brain", registered=True)
    place = deformed.to_template @ scan.affine
    expected = resample(
        pet.data, place, GRID.shape, GRID.affine, order=3, warp=(deformed.warp.field, deformed.warp.affine)
    )
    inside, top = deformed.mask & (found.suvr > 0), pet.data.max()  # the brain reaches the border of what was measured
    assert inside.sum() > 0.9 * deformed.mask.sum()
    there, elsewhere = ((one.suvr * one.reference_value)[inside] for one in (found, astray))
    np.testing.assert_allclose(there, np.clip(expected, 0, top)[inside], rtol=1e-4, atol=1)
    assert np.abs(elsewhere - there).mean() > 0.02 * top


def test_itk_reads_the_way_to_the_template(bent: tuple[Scan, np.ndarray], deformed: Prepared, tmp_path: Path) -> None:
    path = write_transform(deformed, tmp_path / "way.h5")
    transform, warp = sitk.ReadTransform(str(path)), deformed.warp
    back, flip = np.linalg.inv(deformed.to_template), np.array([-1, -1, 1])
    for index in ((40, 50, 45), (50, 60, 40), (35, 40, 50)):
        point = warp.affine[:3, :3] @ index + warp.affine[:3, 3]
        expected = back[:3, :3] @ (point + warp.field[index]) + back[:3, 3]
        np.testing.assert_allclose(transform.TransformPoint((flip * point).tolist()) * flip, expected, atol=1e-3)
    with pytest.raises(InputError, match="not linear"):
        read_transform(path)
    with pytest.raises(InputError, match=r"end the name in \.h5"):
        write_transform(deformed, tmp_path / "way.tfm")
    assert isinstance(warp, Warp)
