"""Geometry: however the voxels lie in the file, the same grid image; there and back; transforms that others can use."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from DualGlowLib import InputError
from DualGlowLib.atlas.template import load_template
from DualGlowLib.preparation.t1 import Prepared, prepare, to_patient
from DualGlowLib.preparation.transforms import read_transform, write_transform
from DualGlowLib.volumes.grid import GRIDS, Grid
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan

GRID = GRIDS["medium"]
# Holds every voxel of the head, so that the way back can be checked everywhere.
WIDE = Grid("wide", (48, 56, 48), (4.0, 4.0, 4.0))
AXES = list(product(permutations(range(3)), product((1, -1), repeat=3)))


@pytest.fixture(scope="module")
def head() -> tuple[Scan, np.ndarray]:
    """The template at 4 mm, tilted and somewhat smaller, as if it were a patient's brain: (T1, brain mask)."""
    template = load_template()
    world = nib.affines.from_matvec(
        nib.eulerangles.euler2mat(0.15, -0.1, 0.2) @ np.diag([0.95, 0.93, 0.97]), (8, 20, -30)
    )
    affine = template.t1.affine @ np.diag([4, 4, 4, 1])
    shape = tuple(n // 4 for n in template.t1.shape)
    t1 = resample(template.t1.data, template.t1.affine, shape, affine)
    mask = resample(template.mask.data, template.t1.affine, shape, affine) > 0.5
    return Scan(t1 * 7 + 20 * mask, world @ affine), mask


@pytest.fixture(scope="module")
def reference(head: tuple[Scan, np.ndarray]) -> Prepared:
    return prepare(head[0], GRID, head[1])


def _rearranged(scan: Scan, mask: np.ndarray, order: tuple, signs: tuple) -> tuple[Scan, np.ndarray]:
    """The same head with its axes in another order and direction, and a header that says so."""
    move = np.zeros((4, 4))  # voxel indices of the new array to those of the old one
    move[3, 3] = 1
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        move[old, new] = sign
        move[old, 3] += scan.shape[old] - 1 if sign < 0 else 0
    steps = tuple(slice(None, None, sign) for sign in signs)
    return Scan(scan.data.transpose(order)[steps], scan.affine @ move), mask.transpose(order)[steps]


def _mean_difference(found: Prepared, reference: Prepared) -> float:
    return float(np.abs(found.t1 - reference.t1)[reference.mask].mean())


def _check_way_back(prepared: Prepared) -> None:
    """The template's x, y, z, drawn on the grid and brought to the patient, are where the voxels lie."""
    prepared = replace(prepared, grid=WIDE)
    scan = prepared.scan
    index = np.stack(np.meshgrid(*[np.arange(n) for n in scan.shape], indexing="ij"), -1)
    true = nib.affines.apply_affine(prepared.to_template @ scan.affine, index)
    on_grid = nib.affines.apply_affine(
        WIDE.affine, np.stack(np.meshgrid(*[np.arange(n) for n in WIDE.shape], indexing="ij"), -1)
    )
    found = np.stack([to_patient(on_grid[..., axis], prepared, mask=False).data for axis in range(3)], -1)
    voxels = np.linalg.norm(found - true, axis=-1) / scan.spacing.max()
    assert voxels[prepared.patient_mask].max() < 0.5


@pytest.mark.parametrize(("order", "signs"), AXES)
def test_axes_in_any_order_and_direction(head: tuple[Scan, np.ndarray], reference: Prepared, order, signs) -> None:
    """Once the head is registered, the voxels come to the grid and back."""
    again, mask = _rearranged(*head, order, signs)
    target = np.linalg.inv(reference.to_template) @ GRID.affine
    images = [resample(one.data, one.affine, GRID.shape, target) for one in (again, head[0])]
    np.testing.assert_allclose(*images, atol=1e-4 * images[1].max())
    _check_way_back(replace(reference, scan=again, patient_mask=mask))


@pytest.mark.parametrize(("order", "signs"), AXES[3::7])  # every order; every axis both ways; both hands
def test_axes_do_not_change_the_preparation(head: tuple[Scan, np.ndarray], reference: Prepared, order, signs) -> None:
    again, mask = _rearranged(*head, order, signs)
    prepared = prepare(again, GRID, mask)
    np.testing.assert_allclose(prepared.to_template, reference.to_template, atol=1e-3)
    np.testing.assert_allclose(prepared.t1, reference.t1, atol=2e-3)
    assert _mean_difference(prepared, reference) < 1e-3
    _check_way_back(prepared)


def test_the_rearranged_heads_are_different_files(head: tuple[Scan, np.ndarray]) -> None:
    affines = {_rearranged(*head, order, signs)[0].affine.tobytes() for order, signs in AXES}
    assert len(affines) == 48


@pytest.mark.parametrize("kind", ["oblique", "sheared"])
def test_another_lattice_in_the_same_place(head: tuple[Scan, np.ndarray], reference: Prepared, kind: str) -> None:
    """The head sampled on a turned or a sheared lattice: other voxels, the same place in the patient."""
    scan, mask = head
    turn = nib.eulerangles.euler2mat(0.4, -0.3, 0.5) if kind == "oblique" else np.eye(3)
    shear = np.array([[1, 0.2, 0], [0, 1, -0.15], [0.1, 0, 1]]) if kind == "sheared" else np.eye(3)
    shape = (64, 68, 64)
    affine = nib.affines.from_matvec(turn @ shear * 3.5)
    middle = nib.affines.apply_affine(scan.affine, (np.array(scan.shape) - 1) / 2)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    again = Scan(resample(scan.data, scan.affine, shape, affine, order=3), affine)
    prepared = prepare(again, GRID, resample(mask, scan.affine, shape, affine) > 0.5)
    corners = np.array(np.meshgrid([-60, 60], [-95, 60], [-55, 70])).reshape(3, -1).T
    back = nib.affines.apply_affine(np.linalg.inv(reference.to_template), corners)
    apart = np.linalg.norm(nib.affines.apply_affine(prepared.to_template, back) - corners, axis=1)
    assert apart.max() < 2  # half a voxel
    assert _mean_difference(prepared, reference) < 0.05  # a second interpolation at 3.5 mm
    _check_way_back(prepared)


@pytest.mark.parametrize("suffix", [".h5", ".tfm"])
def test_a_transform_that_itk_can_use(reference: Prepared, tmp_path: Path, suffix: str) -> None:
    path = write_transform(reference, tmp_path / f"to_template{suffix}")
    assert [child.name for child in tmp_path.iterdir()] == [path.name]
    np.testing.assert_allclose(read_transform(path), reference.to_template, atol=1e-9)
    # ITK's own resampling with it brings the T1 to where ours does.
    lattice = Scan(np.zeros(GRID.shape, np.float32), GRID.affine).to_sitk()
    theirs = sitk.Resample(reference.scan.to_sitk(), lattice, sitk.ReadTransform(str(path)), sitk.sitkLinear)
    scan = reference.scan
    ours = resample(
        scan.data, scan.affine, GRID.shape, np.linalg.inv(reference.to_template) @ GRID.affine, antialias=False
    )
    np.testing.assert_allclose(Scan.from_sitk(theirs).data, ours, atol=1e-3 * ours.max())


@pytest.mark.parametrize("key", ["Parameters", "FixedParameters"])
@pytest.mark.parametrize("how", ["missing", "misspelt"])
def test_a_transform_without_its_numbers_is_no_identity(tmp_path: Path, key: str, how: str) -> None:
    """ITK reads such a file as the identity, and a PET that it should move would stay where it is."""
    path = write_transform(np.diag([1.1, 1, 1, 1]), tmp_path / "a.tfm")
    text = path.read_text()
    path.write_text(text.replace(f"\n{key}:", f"\n{key.lower()}:" if how == "misspelt" else "\n#"))
    with pytest.raises(InputError, match=f"no line {key}:"):
        read_transform(path)


def test_a_transform_of_another_kind_or_none(tmp_path: Path) -> None:
    euler = sitk.Euler3DTransform((10.0, 5.0, -3.0), 0.1, -0.2, 0.3, (4.0, 5.0, 6.0))
    sitk.WriteTransform(euler, str(tmp_path / "rigid.tfm"))
    found = read_transform(tmp_path / "rigid.tfm")
    point = np.array([11.0, -7.0, 23.0])  # of the patient, RAS
    lps = np.diag([-1, -1, 1])
    np.testing.assert_allclose(
        (found @ [*point, 1])[:3], lps @ euler.GetInverse().TransformPoint((lps @ point).tolist()), atol=1e-9
    )
    sitk.WriteTransform(sitk.CompositeTransform([euler, euler]), str(tmp_path / "both.tfm"))
    np.testing.assert_allclose(read_transform(tmp_path / "both.tfm"), found @ found, atol=1e-9)
    (tmp_path / "text.tfm").write_text("no transform")
    with pytest.raises(InputError, match="not a transform"):
        read_transform(tmp_path / "text.tfm")
    with pytest.raises(InputError, match="does not exist"):
        read_transform(tmp_path / "missing.h5")
    with pytest.raises(InputError, match=r"end the name in \.h5 or \.tfm"):
        write_transform(np.eye(4), tmp_path / "matrix.txt")
    with pytest.raises(InputError, match="does not exist"):
        write_transform(np.eye(4), tmp_path / "nowhere" / "matrix.h5")
    with pytest.raises(ValueError, match="invertible"):
        write_transform(np.zeros((4, 4)), tmp_path / "matrix.h5")
