"""From a T1 to the grid: the right place for any orientation, and a refusal of what is no brain."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from DualGlowLib import InputError
from DualGlowLib.atlas.template import load_template
from DualGlowLib.preparation.intensity import normalise_t1
from DualGlowLib.preparation.t1 import prepare, to_patient
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan

GRID = GRIDS["medium"]


@pytest.fixture(scope="module")
def head() -> tuple[Scan, np.ndarray]:
    """The template at 3 mm as if it were a patient's brain: (T1, brain mask)."""
    template = load_template()
    affine = template.t1.affine @ np.diag([3, 3, 3, 1])
    shape = tuple(n // 3 for n in template.t1.shape)
    t1 = resample(template.t1.data, template.t1.affine, shape, affine)
    mask = resample(template.mask.data, template.t1.affine, shape, affine) > 0.5
    return Scan(t1 * 7 + 20 * mask, affine), mask


@pytest.fixture(scope="module")
def reference(head: tuple[Scan, np.ndarray]) -> np.ndarray:
    return prepare(head[0], GRID, head[1]).t1


def _farthest(affine: np.ndarray, expected: np.ndarray) -> float:
    """How far apart two affines put the template's brain, at most, in millimetres."""
    corners = np.array(np.meshgrid([-60, 60], [-95, 60], [-55, 70])).reshape(3, -1)
    back = np.linalg.inv(expected) @ np.vstack([corners, np.ones(8)])
    return float(np.linalg.norm((affine @ back)[:3] - corners, axis=0).max())


# Half a voxel of the made-up head, at the corners of a box around the brain.
NEAR = 1.5


def _moved(scan: Scan, world: np.ndarray) -> Scan:
    return Scan(scan.data, world @ scan.affine)


def test_the_template_is_already_in_place(head: tuple[Scan, np.ndarray]) -> None:
    scan, mask = head
    seen: list[tuple[str, float]] = []
    prepared = prepare(scan, GRID, mask, lambda *step: seen.append(step))
    assert _farthest(prepared.to_template, np.eye(4)) < NEAR
    assert prepared.quality["dice"] > 0.97
    assert prepared.quality["correlation"] > 0.96
    assert prepared.verdict.status == "good", prepared.verdict.reasons
    assert prepared.quality["turned"] < 1
    assert prepared.t1.shape == prepared.mask.shape == GRID.shape
    assert prepared.t1.dtype == np.float32
    assert (prepared.t1[~prepared.mask] == 0).all()
    assert {stage for stage, _ in seen} == {"registration", "resampling"}
    assert seen[-1][1] == 1
    assert np.all(np.diff([fraction for _, fraction in seen]) >= 0)
    assert json.loads(json.dumps(prepared.to_dict()))["grid"]["name"] == "medium"


def test_the_same_input_gives_the_same_bits(head: tuple[Scan, np.ndarray], reference: np.ndarray) -> None:
    np.testing.assert_array_equal(prepare(head[0], GRID, head[1]).t1, reference)


@pytest.mark.parametrize(
    ("angles", "stretch", "shift"),
    [
        ((0.5, 0.2, -0.3), (0.92, 0.95, 0.9), (25, -40, 60)),  # tilted, small head, far from the origin
        ((-1.4, 0.1, 0.1), (1, 1, 1), (5, 5, 5)),  # nose to the ceiling
    ],
)
def test_a_brain_anywhere_is_found(
    head: tuple[Scan, np.ndarray], reference: np.ndarray, angles, stretch, shift
) -> None:
    scan, mask = head
    world = nib.affines.from_matvec(nib.eulerangles.euler2mat(*angles) @ np.diag(stretch), shift)
    prepared = prepare(_moved(scan, world), GRID, mask)
    assert _farthest(prepared.to_template, np.linalg.inv(world)) < NEAR
    assert np.abs(prepared.t1 - reference).mean() < 0.01


def test_shear_in_the_file_is_undone(head: tuple[Scan, np.ndarray], reference: np.ndarray) -> None:
    scan, mask = head
    world = np.eye(4)
    world[0, 1], world[2, 0] = 0.1, -0.08
    prepared = prepare(_moved(scan, world), GRID, mask)
    assert _farthest(prepared.to_template, np.linalg.inv(world)) < NEAR
    assert np.abs(prepared.t1 - reference).mean() < 0.01


def test_intensities_of_another_scanner_change_little(head: tuple[Scan, np.ndarray], reference: np.ndarray) -> None:
    scan, mask = head
    rng = np.random.default_rng(0)
    noisy = np.where(mask, scan.data * 0.13 - 40, -40) + rng.normal(0, 1, scan.shape)
    prepared = prepare(Scan(noisy, scan.affine), GRID, mask)
    assert _farthest(prepared.to_template, np.eye(4)) < NEAR
    assert np.abs(prepared.t1 - reference)[prepared.mask].mean() < 0.03


def test_scalp_does_not_bleed_into_the_brain(head: tuple[Scan, np.ndarray], reference: np.ndarray) -> None:
    scan, mask = head
    around = np.zeros(mask.shape, bool)
    for axis in range(3):
        for step in (-2, -1, 1, 2):
            around |= np.roll(mask, step, axis)
    with_fat = Scan(np.where(around & ~mask, scan.data.max() * 3, scan.data), scan.affine)
    np.testing.assert_allclose(prepare(with_fat, GRID, mask).t1, reference, atol=1e-5)


def test_there_and_back(head: tuple[Scan, np.ndarray]) -> None:
    """A volume that is known in the patient comes back to the same place in the patient."""
    scan, mask = head
    world = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, -0.2, 0.2), (10, 20, -30))
    moved = _moved(scan, world)
    prepared = prepare(moved, GRIDS["standard"], mask)
    blob = np.zeros(mask.shape, np.float32)
    blob[20:26, 40:48, 30:35] = 1  # in one hemisphere only, so that a mirrored way back is noticed
    there = resample(
        blob, moved.affine, prepared.grid.shape, np.linalg.inv(prepared.to_template) @ prepared.grid.affine
    )
    back = to_patient(there, prepared)
    assert back.shape == moved.shape
    assert back.affine.tobytes() == moved.affine.tobytes()
    centre = [np.argwhere(v > 0.5).mean(axis=0) for v in (blob, back.data)]
    np.testing.assert_allclose(centre[1], centre[0], atol=0.15)
    assert np.corrcoef(back.data.ravel(), blob.ravel())[0, 1] > 0.9


def test_normalise_t1() -> None:
    rng = np.random.default_rng(0)
    tissue = rng.choice(3, (40, 40, 40), p=[0.2, 0.45, 0.35])
    t1 = np.array([100.0, 320, 450])[tissue] + rng.normal(0, 12, tissue.shape)
    mask = np.zeros(tissue.shape, bool)
    mask[3:-3, 3:-3, 3:-3] = True
    found = normalise_t1(t1, mask)
    assert found.dtype == np.float32
    assert (found[~mask] == 0).all()
    means = [found[mask & (tissue == k)].mean() for k in range(3)]
    np.testing.assert_allclose(means, [0.08, 0.66, 1.0], atol=0.05)
    np.testing.assert_allclose(normalise_t1(3 * t1 - 1000, mask), found, atol=1e-4)
    spiked = t1.copy()
    spiked[5:8, 5:8, 5:8] = 1e5  # a vessel or an artefact
    assert np.abs(normalise_t1(spiked, mask) - found)[9:].max() < 0.02
    assert normalise_t1(spiked, mask).max() == 1.5
    with pytest.raises(ValueError, match="empty"):
        normalise_t1(t1, np.zeros_like(mask))
    with pytest.raises(ValueError, match="no contrast"):
        normalise_t1(np.ones_like(t1), mask)
    with pytest.raises(ValueError, match="shape"):
        normalise_t1(t1, mask[1:])


def test_what_is_no_brain_is_refused(head: tuple[Scan, np.ndarray]) -> None:
    scan, mask = head
    rng = np.random.default_rng(0)
    noise = Scan(rng.normal(100, 20, scan.shape), scan.affine, "noise.nii")
    ball = np.linalg.norm(np.indices(scan.shape).T - np.array(scan.shape) / 2, axis=-1).T < 21
    with pytest.raises(InputError, match=r"noise.nii doesn't look like a T1 of a brain"):
        prepare(noise, GRID, ball)
    with pytest.raises(InputError, match="doesn't look like a T1"):
        prepare(Scan(np.where(mask, 3000 - scan.data, 0), scan.affine), GRID, mask)  # inverted contrast
    with pytest.raises(InputError, match="mask is empty"):
        prepare(scan, GRID, np.zeros(scan.shape, bool))
    with pytest.raises(ValueError, match="shape"):
        prepare(scan, GRID, mask[1:])


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.sum(a & b) / (a.sum() + b.sum())


@pytest.mark.parametrize("name", ["elderly/Subj10", "t1_real/ixi012"])
def test_a_real_head(shared: Path, name: str) -> None:
    """The mask and the place agree with region labels that others made on this head."""
    labels = {"elderly/Subj10": "elderly/Subj10_DLMUSE.nii.gz", "t1_real/ixi012": "seg_real/ixi012_T1_DLMUSE.nii.gz"}
    scan = read_scan(shared / "data" / f"{name}_T1.nii.gz")
    labelled = read_scan(shared / "data" / labels[name])
    prepared = prepare(scan, GRID)
    assert _dice(prepared.patient_mask, labelled.data > 0) > 0.93
    assert prepared.quality["dice"] > 0.9
    assert prepared.quality["covered"] > 0.97
    template = load_template()
    brain = resample(template.mask.data, template.t1.affine, scan.shape, prepared.to_template @ scan.affine) > 0.5
    assert _dice(brain, labelled.data > 0) > 0.9
    # Left and right hippocampus, MUSE labels 47 (right) and 48 (left), lie on their sides of the template.
    for label, side in ((47, 1), (48, -1)):
        middle = np.argwhere(labelled.data == label).mean(axis=0)
        x, y, z = (prepared.to_template @ scan.affine @ [*middle, 1])[:3]
        np.testing.assert_allclose([x, y, z], [side * 27, -22, -14], atol=6)


def test_a_real_head_upside_down(shared: Path) -> None:
    """As a file without orientation may show it: the mask networks fail at first and are helped."""
    scan = read_scan(shared / "data/elderly/Subj10_T1.nii.gz")
    labels = read_scan(shared / "data/elderly/Subj10_DLMUSE.nii.gz")
    prepared = prepare(_moved(scan, np.diag([1.0, -1, -1, 1])), GRID)
    assert _dice(prepared.patient_mask, labels.data > 0) > 0.93
    assert prepared.quality["turned"] > 140
    assert prepared.quality["dice"] > 0.9
