"""The stated law of the simulated PET against draws from it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from DualGlowLib.atlas.regions import REGIONS
from DualGlowLib.simulate.anatomy import template_anatomy
from DualGlowLib.simulate.case import simulate_case
from DualGlowLib.simulate.shape import Covariates, draw_shape
from DualGlowLib.simulate.uptake import FACTORS, severity
from DualGlowLib.volumes import separable as lattice
from DualGlowLib.volumes.grid import GRIDS

GRID = GRIDS["small"]
DRAWS = 250


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """The volumes are small: threads cost more than they bring, on a busy machine very much more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def anatomies():
    return [template_anatomy()]


@pytest.fixture(scope="module")
def ill(anatomies):
    return simulate_case(11, anatomies, GRID, covariates=Covariates(74.0, "F", "AD"))


@pytest.fixture(scope="module")
def draws(ill):
    generator = torch.Generator().manual_seed(5)
    return torch.stack([ill.law.sample(generator) for _ in range(DRAWS)]).double()


def test_a_case_is_its_seed(anatomies):
    one, same, other = (simulate_case(seed, anatomies, GRID) for seed in (3, 3, 4))
    for name in ("t1", "mask", "pet", "mean", "sd"):
        assert torch.equal(getattr(one, name), getattr(same, name))
    assert one.covariates == same.covariates
    assert not torch.equal(one.pet, other.pet)
    assert one.covariates != other.covariates


def test_the_same_person_on_another_grid(anatomies, ill):
    finer = simulate_case(11, anatomies, GRIDS["medium"], covariates=ill.covariates)
    assert finer.atrophy == ill.atrophy
    for coarse, fine in zip(ill.region_rows(), finer.region_rows(), strict=True):
        assert fine["drawn"] == pytest.approx(coarse["drawn"], rel=0.03)
        assert fine["sd"] == pytest.approx(coarse["sd"], rel=0.1)


def test_voxel_mean_and_sd_are_those_of_the_draws(ill, draws):
    brain = ill.mask
    mean, sd = ill.mean.double()[brain], ill.sd.double()[brain]
    z = (draws.mean(0)[brain] - mean) / (sd / DRAWS**0.5)
    assert z.abs().max() < 4.5
    # The factors move many voxels together; 1 is expected of z², with a wide spread, and of the sd ratio.
    ratio = draws.std(0)[brain] / sd
    assert ratio.mean() == pytest.approx(1, abs=0.05)
    assert (ratio - 1).abs().max() < 5 / (2 * DRAWS) ** 0.5


def test_region_mean_and_sd_are_those_of_the_draws(ill, draws):
    drawn = torch.stack([ill.law.region_means(pet.float()) for pet in draws]).double()
    mean, sd, _ = (v.double() for v in ill.law.region_law())
    z = (drawn.mean(0) - mean) / (sd / DRAWS**0.5)
    assert z.abs().max() < 4
    assert ((drawn.std(0) / sd) - 1).abs().max() < 4 / (2 * DRAWS) ** 0.5


def test_regions_covary_as_stated(ill, draws):
    """The covariance between two regions is that of the factors: noise of distant regions is independent."""
    drawn = torch.stack([ill.law.region_means(pet.float()) for pet in draws]).double()
    response = torch.stack([ill.law.region_means(f) for f in ill.law.factors]).double()
    pair = [REGIONS.index("inferior_parietal_L"), REGIONS.index("lateral_frontal_R")]
    expected = (response[:, pair[0]] * response[:, pair[1]]).sum()
    _, sd, _ = ill.law.region_law()
    expected_r = float(expected / (sd[pair[0]] * sd[pair[1]]))
    got = float(torch.corrcoef(drawn[:, pair].T)[0, 1])
    assert np.arctanh(got) == pytest.approx(np.arctanh(expected_r), abs=4 / (DRAWS - 3) ** 0.5)
    assert 0.2 < expected_r < 0.95


def test_cases_scatter_about_their_means_as_stated(anatomies):
    rows = [simulate_case(seed, anatomies, GRID).region_rows() for seed in range(16)]
    z = np.array([[(r["drawn"] - r["mean"]) / r["sd"] for r in case] for case in rows])
    assert np.abs(z.mean(0)).max() < 4 / 16**0.5
    assert np.abs(z.std(0) - 1).max() < 4 / 32**0.5


def test_age_slope_is_the_change_of_the_mean(anatomies, ill):
    aged = replace(ill.covariates, age=94.0)
    older = simulate_case(11, anatomies, GRID, covariates=aged, anatomy_covariates=ill.covariates)
    assert older.covariates == aged
    assert torch.equal(older.t1, ill.t1)
    assert torch.allclose(older.mean, ill.law.mean_at(94.0), atol=1e-5)
    assert torch.allclose(ill.law.mean_at(74.0), ill.mean)
    for now, later in zip(ill.region_rows(), older.region_rows(), strict=True):
        assert later["mean"] - now["mean"] == pytest.approx(2 * now["slope"], abs=2e-5)
        assert later["relative_slope"] == pytest.approx(now["relative_slope"], rel=1e-3, abs=1e-5)
    slope = {row["region"]: row["relative_slope"] for row in ill.region_rows()}
    assert min(slope, key=slope.get) == "medial_frontal"
    assert -0.04 < slope["medial_frontal"] < -0.03
    assert -0.012 < slope["cerebellum"] < -0.003
    assert abs(slope["pons"]) < 0.0005


def test_the_pons_is_one(anatomies):
    rows = simulate_case(2, anatomies, GRIDS["standard"]).region_rows()
    pons = next(row for row in rows if row["region"] == "pons")
    assert pons["mean"] == pytest.approx(1, abs=0.03)
    assert pons["sd"] < 0.03


def test_disease_shows_where_it_should(anatomies):
    healthy, ill = (
        {r["region"]: r for r in simulate_case(8, anatomies, GRID, covariates=Covariates(75.0, "M", d)).region_rows()}
        for d in ("CN", "AD")
    )
    change = {name: ill[name]["mean"] / healthy[name]["mean"] - 1 for name in REGIONS}
    assert -0.35 < change["posterior_cingulate_precuneus"] < -0.1
    assert change["inferior_parietal_L"] < 1.3 * change["lateral_frontal_L"] < 0
    assert abs(change["cerebellum"]) < 0.06
    sd = {name: row["sd"] / row["mean"] for name, row in ill.items()}
    assert 0.07 < sd["posterior_cingulate_precuneus"] < 0.16
    assert len(ill) == len(REGIONS)


def test_severity_is_part_seen_and_part_chance():
    mean, sd = severity("AD", 0.0)
    assert mean == 1
    seen = severity("AD", 1.0)[0] - mean
    assert seen**2 + sd**2 == pytest.approx(0.25**2)
    assert seen**2 / (seen**2 + sd**2) == pytest.approx(0.6)
    assert severity("CN", 2.0) == (0, 0)
    assert FACTORS[-1] == "severity"


def test_images_look_like_prepared_ones(ill):
    assert ill.t1.dtype == ill.pet.dtype == torch.float32
    assert ill.mask.dtype == torch.bool
    assert tuple(ill.t1.shape) == GRID.shape
    assert float(ill.t1[~ill.mask].abs().max()) == 0
    assert 0.8 < float(ill.t1[ill.mask].quantile(0.9)) < 1.5
    volume = float(ill.mask.sum()) * np.prod(GRID.spacing) / 1000
    assert 1500 < volume < 2300
    # PET fades at the edge of the brain instead of stopping there.
    near = torch.nn.functional.max_pool3d(ill.mask[None, None].float(), 3, 1, 1)[0, 0].bool() & ~ill.mask
    assert 0.1 < float(ill.mean[near].mean()) < float(ill.mean[ill.mask].mean())


@pytest.mark.parametrize("seed", range(6))
def test_deformations_do_not_fold(anatomies, seed):
    generator = torch.Generator().manual_seed(seed)
    age, diagnosis = ((40.0, "CN"), (100.0, "AD"))[seed % 2]
    shape = draw_shape(generator, anatomies[0], Covariates(age, "F", diagnosis))
    jacobian = lattice.jacobian_determinant(shape.displacement)
    assert jacobian.min() > 0.02
    assert shape.displacement.norm(dim=-1).max() * 2 > 3  # mm
    total = shape.gm + shape.wm + shape.csf
    assert torch.allclose(total, anatomies[0].mask, atol=1e-4)
    assert min(float(v.min()) for v in (shape.gm, shape.wm, shape.csf)) > -1e-4


def test_old_and_ill_brains_have_more_fluid(anatomies):
    def fluid(age, diagnosis):
        shapes = (
            draw_shape(torch.Generator().manual_seed(s), anatomies[0], Covariates(age, "F", diagnosis))
            for s in range(4)
        )
        return sum(float(s.place(s.csf[None]).sum()) for s in shapes)

    assert fluid(45.0, "CN") < 0.9 * fluid(85.0, "CN") < 0.9 * fluid(85.0, "AD")
