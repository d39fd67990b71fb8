"""A brain cut by the edge of the volume, by missing slices or by a defacing, and what is then known of its regions."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from DualGlowLib.atlas.regions import REGIONS
from DualGlowLib.atlas.template import load_template
from DualGlowLib.preparation.brain import brain_mask
from DualGlowLib.preparation.field_of_view import FieldOfView
from DualGlowLib.preparation.t1 import prepare
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.lattices import coordinates
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan

GRID = GRIDS["small"]


@pytest.fixture(scope="module")
def head() -> tuple[Scan, np.ndarray]:
    """The template's brain at 3 mm in a dark skull and a bright scalp, with noise; and where the brain is."""
    template = load_template()
    affine = template.t1.affine @ np.diag([3, 3, 3, 1])
    affine[:3, 3] -= 24
    shape = tuple(n // 3 + 16 for n in template.t1.shape)
    brain = resample(template.mask.data, template.t1.affine, shape, affine) > 0.5
    outside = FieldOfView(~brain, ~brain & False, np.eye(4), brain, 0.0)
    scalp = ~brain & ~outside.seen(shape, np.eye(4), 9.0) & outside.seen(shape, np.eye(4), 5.0)
    image = resample(template.t1.data, template.t1.affine, shape, affine) * brain + 120.0 * scalp
    return Scan((image + np.random.default_rng(0).normal(3, 1, shape)).astype(np.float32), affine), brain


def _cut(scan: Scan, mask: np.ndarray, axis: int, planes: int) -> tuple[Scan, np.ndarray]:
    """Without the planes from so many on inside the brain's end."""
    end = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))[-1] - planes
    box = tuple(slice(0, end) if n == axis else slice(None) for n in range(3))
    return Scan(np.ascontiguousarray(scan.data[box]), scan.affine), np.ascontiguousarray(mask[box])


def test_a_whole_head_is_not_cut(head: tuple) -> None:
    scan, brain = head
    view = FieldOfView.of(scan, brain)
    assert not view.is_cut
    assert view.cut == 0
    assert not view.may_be_cut(scan, 3.0, float(np.percentile(scan.data[brain], 90)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_edge_of_the_volume_cuts(head: tuple, axis: int) -> None:
    scan, brain = _cut(*head, axis, 5)
    view = FieldOfView.of(scan, brain)
    assert view.is_cut
    assert view.bare.sum() == 0
    ten = brain.copy()
    np.moveaxis(ten, axis, 0)[-3:] = False  # as the networks draw it
    assert not FieldOfView.of(scan, ten).is_cut
    assert FieldOfView.of(scan, ten).may_be_cut(scan, 3.0, float(np.percentile(scan.data[brain], 90)))


@pytest.mark.parametrize("how", ["planes", "defaced"])
def test_what_holds_one_value_only_was_not_measured(head: tuple, how: str) -> None:
    scan, brain = head
    x, y, z = np.moveaxis(coordinates(scan.shape, scan.affine), -1, 0)
    gone = x > 50 if how == "planes" else y - 0.5 * z > 45
    cut = scan.like(np.where(gone, 0, scan.data).astype(np.float32))
    view = FieldOfView.of(cut, brain & ~gone)
    assert view.is_cut
    inside = view.within(cut)
    assert np.mean(inside[~gone & brain]) > 0.99
    assert np.mean(inside[gone & brain]) < 0.05


def test_a_brain_without_its_skull_is_whole(head: tuple) -> None:
    scan, brain = head
    stripped = scan.like(np.where(brain, scan.data, 0).astype(np.float32))
    assert not FieldOfView.of(stripped, brain).is_cut
    assert FieldOfView.of(*_cut(stripped, brain, 2, 5)).is_cut
    box = tuple(slice(a.min(), a.max() + 1) for a in np.nonzero(brain))  # a box that just holds it
    shift = np.eye(4)
    shift[:3, 3] = [side.start for side in box]
    assert not FieldOfView.of(Scan(stripped.data[box], scan.affine @ shift), brain[box]).is_cut


def test_regions_outside_have_no_value_and_the_rest_stays_in_place(head: tuple) -> None:
    scan, brain = head
    whole = prepare(scan, GRID, brain)
    assert whole.verdict.status == "good"
    assert whole.regions_known.all()
    side, inside = _cut(scan, brain, 0, 6)  # 21 mm of the right side
    found = prepare(side, GRID, inside)
    assert found.verdict.status == "doubtful"
    (reason,) = found.verdict.reasons
    assert re.search(r"outside the field of view, up to 2\d mm at its right", reason)
    assert "lateral temporal R: " in reason
    assert "% outside the scan" in reason
    unknown = {name for name, known in zip(REGIONS, found.regions_known, strict=True) if not known}
    assert {"lateral_temporal_R", "inferior_parietal_R"} <= unknown
    assert not any(name.endswith("_L") for name in unknown)
    assert set(found.quality["regions_seen"]) == unknown
    np.testing.assert_allclose(found.quality["scale"], whole.quality["scale"], atol=0.03)


def test_a_deformation_does_not_fill_the_hole(head: tuple) -> None:
    scan, brain = _cut(*head, 0, 6)
    found = prepare(scan, GRID, brain, deformable=True)
    assert found.quality["displacement_max_mm"] < 8
    assert not found.regions_known.all()


@pytest.mark.parametrize(
    ("name", "axis", "planes"), [("t1_real/ixi012_T1.nii.gz", 2, 8), ("elderly/Subj9_T1.nii.gz", 2, 8)]
)
def test_the_networks_draw_a_real_brain_up_to_the_cut(shared: Path, name: str, axis: int, planes: int) -> None:
    """16 mm less: they leave the last centimetre out where they see the edge."""
    scan = read_scan(shared / "data" / name)
    whole = brain_mask(scan).data
    less, brain = _cut(scan, whole, axis, planes)
    found = brain_mask(less).data
    assert 2 * np.sum(found & brain) / (found.sum() + brain.sum()) > 0.975
    assert found[..., -1].sum() > 0.7 * brain[..., -1].sum()


def test_a_real_brain_cut_off_at_the_side(shared: Path) -> None:
    whole = prepare(read_scan(shared / "data/t1_real/ixi012_T1.nii.gz"), GRID)
    cut = prepare(read_scan(shared / "data/reports/t1_brain_cut_off/left16mm_cut.nii.gz"), GRID)
    assert whole.verdict.status == "good"
    assert whole.quality["seen"] == 1
    assert cut.verdict.status == "doubtful"
    assert "mm at its left (lateral temporal L:" in cut.verdict.reasons[0]
    np.testing.assert_allclose(cut.quality["scale"], whole.quality["scale"], atol=0.02)
    unknown = {name for name, known in zip(REGIONS, cut.regions_known, strict=True) if not known}
    assert "lateral_temporal_L" in unknown
    assert not any(name.endswith("_R") for name in unknown)
