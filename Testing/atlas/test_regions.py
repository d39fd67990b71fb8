"""The regions lie where their names say."""

import numpy as np
import pytest

from DualGlowLib.atlas import regions
from DualGlowLib.atlas.regions import PARTITION, REGIONS
from DualGlowLib.volumes.grid import GRIDS

GRID = GRIDS["small"]

# Coordinates in MNI space that any atlas gives to these structures.
_PLACES = {
    "posterior_cingulate_precuneus": (4, -60, 40),
    "inferior_parietal_R": (48, -58, 42),
    "inferior_parietal_L": (-48, -58, 42),
    "lateral_temporal_L": (-58, -20, -8),
    "medial_temporal_R": (26, -20, -16),
    "medial_frontal": (-4, 48, 10),
    "lateral_frontal_R": (44, 30, 24),
    "occipital": (-12, -84, 6),
    "sensorimotor_L": (-40, -24, 56),
    "insula_R": (38, 2, 0),
    "thalamus_L": (-10, -20, 8),
    "striatum_R": (26, 4, 2),
    "cerebellum": (24, -64, -36),
    "brain_stem": (0, -30, -36),
}


@pytest.fixture(scope="module")
def share():
    return regions.partition(GRID.shape, GRID.affine)


def test_the_partition_divides_space(share):
    assert share.shape == (len(PARTITION), *GRID.shape)
    assert share.min() >= 0
    np.testing.assert_allclose(share.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize("name", _PLACES)
def test_known_coordinates_fall_into_their_region(name):
    affine = np.eye(4)
    affine[:3, 3] = _PLACES[name]
    share = regions.partition((1, 1, 1), affine)[:, 0, 0, 0]
    assert PARTITION[int(share.argmax())] == name
    assert share.max() > 0.6


def test_left_and_right_mirror_each_other(share):
    mirrored = share[:, ::-1]
    for index, name in enumerate(PARTITION):
        other = {"L": "R", "R": "L"}.get(name[-1]) if name[-2:] in ("_L", "_R") else None
        twin = PARTITION.index(name[:-1] + other) if other else index
        np.testing.assert_allclose(share[twin], mirrored[index], atol=1e-4)


def test_left_is_left(share):
    x = regions.coordinates(GRID.shape, GRID.affine)[..., 0]
    for name in (n for n in PARTITION if n.endswith("_L")):
        weight = share[PARTITION.index(name)]
        assert (weight * x).sum() / weight.sum() < -10


def test_weights_are_means_over_tissue():
    weight = regions.weights(GRID)
    assert weight.shape == (len(REGIONS), *GRID.shape)
    np.testing.assert_allclose(weight.sum((1, 2, 3)), 1, atol=1e-4)
    points = regions.coordinates(GRID.shape, GRID.affine)
    pons = (weight[REGIONS.index("pons")][..., None] * points).sum((0, 1, 2))
    np.testing.assert_allclose(pons, regions.PONS[0], atol=1.5)


def test_pons_has_its_volume_on_any_grid():
    volume = 4 / 3 * np.pi * np.prod(regions.PONS[1])
    for name in ("small", "medium", "high"):
        grid = GRIDS[name]
        assert regions.pons(grid).sum() * np.prod(grid.spacing) == pytest.approx(volume, rel=0.06)


def test_labels_cover_the_brain_only():
    label = regions.labels(GRID)
    assert label.max() == len(PARTITION)
    assert set(np.unique(label)) == set(range(len(PARTITION) + 1))
    assert label[0].max() == 0
