"""The exact likelihood of a given PET, its rank and its parts; transport. On laws that are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.model import (
    DualGlow,
    chi_square_percentile,
    encode_covariates,
    mri_likelihood,
    pet_likelihood,
    preset,
)
from DualGlowLib.synthesis.question import Question
from DualGlowLib.synthesis.synthesizer import Synthesizer
from toy_cohort import PET_SCALE, ToyLaw, toy_bundle, train_toy

SHAPES = {2: (8, 16), 3: (8, 8, 16)}


@pytest.fixture(scope="module", params=[("standard", 3), ("standard", 2), ("paper", 2), ("authors", 3)], ids=str)
def model(request: pytest.FixtureRequest) -> DualGlow:
    name, dims = request.param
    torch.manual_seed(0)
    config = preset(name, (16,) * dims)
    flows = {side: replace(getattr(config, side), depths=(2, 1), widths=(8, 8)) for side in ("mri", "pet")}
    link = replace(config.link, widths=(8, 8), context=(4, 4)) if config.link.kind == "unet" else config.link
    model = DualGlow(replace(config, shape=SHAPES[dims], link=link, **flows)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


def pair(model: DualGlow, count: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    pet, mri = torch.rand(2, count, 1, *model.config.shape, dtype=torch.float64)
    return pet, mri, encode_covariates(model.config.covariates, [{"age": 60 + 9 * i} for i in range(count)]).double()


def test_parts_make_up_the_whole(model: DualGlow) -> None:
    """Their sum is the log-likelihood that test_model.py checks against autograd; the maps sum to the levels' terms."""
    pet, mri, codes = pair(model)
    law = model.link.decode(model.encode(mri).features, codes)
    for found, expected in (
        (pet_likelihood(model, pet, law), model.pet_log_prob(pet, law)),
        (mri_likelihood(model, mri), model.mri_log_prob(mri)[0]),
    ):
        torch.testing.assert_close(found.total, expected)
        parts = found.image + sum(level.gaussian + level.log_det for level in found.levels)
        torch.testing.assert_close(parts, expected)
        assert [level.dims for level in found.levels] == [
            math.prod(shape) for shape in model.pet_flow.latent_shapes(model.config.shape)
        ]
        for level in found.levels:
            assert level.energy.shape == level.density.shape == (3, *model.config.shape)
            torch.testing.assert_close(level.energy.flatten(1).sum(1), level.chi_square)
            torch.testing.assert_close(level.density.flatten(1).sum(1), level.gaussian)
        torch.testing.assert_close(found.image_density.flatten(1).sum(1), found.image)
    latents, _ = model.pet_latents(pet, law)
    for z, mean, log_sigma, level in zip(
        latents, law.means, law.log_sigmas, pet_likelihood(model, pet, law).levels, strict=True
    ):
        torch.testing.assert_close(((z - mean) / log_sigma.exp()).square().flatten(1).sum(1), level.chi_square)


def test_nothing_stays_hooked(model: DualGlow) -> None:
    pet, mri, codes = pair(model)
    pet_likelihood(model, pet, model.link.decode(model.encode(mri).features, codes))
    assert not any(module._forward_hooks for module in model.modules())


def test_surprise_lies_where_the_pet_is_odd(model: DualGlow) -> None:
    """Also at a top level in frequency space, whose numbers have no place of their own."""
    pet, mri, codes = pair(model, 1)
    law = model.link.decode(model.encode(mri).features, codes)
    pet = model.sample(model.encode(mri), codes, 0.0) if law.image is not None else pet
    odd = pet.clone()
    odd[(0, 0, *[slice(0, 4)] * model.config.dims)] += 0.8
    change = (pet_likelihood(model, odd, law).energy - pet_likelihood(model, pet, law).energy)[0].abs()
    corner = change[tuple([slice(0, 4)] * model.config.dims)].sum()
    assert corner > 0.5 * change.sum()


def test_chi_square_percentile() -> None:
    for value in (0.1, 3.0, 20.0):
        assert chi_square_percentile(value, 2) == pytest.approx(100 * (1 - math.exp(-value / 2)))
        assert chi_square_percentile(value, 4) == pytest.approx(100 * (1 - math.exp(-value / 2) * (1 + value / 2)))
    dims = 500_000  # near normal there; a grid has so many voxels
    for z, percentile in ((-1.6449, 5), (0, 50), (1.6449, 95)):
        assert chi_square_percentile(dims + z * math.sqrt(2 * dims), dims) == pytest.approx(percentile, abs=0.1)


# ------------------------------------------------------------------------------------------------- a law that is known


@pytest.fixture(scope="module")
def trained() -> tuple[Synthesizer, ToyLaw]:
    model, law = train_toy(2, steps=250, batch=32, rate=1e-2)
    return Synthesizer(toy_bundle(model)), law


def people(law: ToyLaw, count: int, seed: int = 5) -> tuple[torch.Tensor, torch.Tensor, list[dict]]:
    mri, codes = law.cases(count, torch.Generator().manual_seed(seed))
    return mri, codes, [{"age": 70 + 10 * float(code[0]), "sex": "FM"[int(code[3])]} for code in codes]


def test_log_likelihood_is_the_true_one(trained: tuple[Synthesizer, ToyLaw]) -> None:
    """Within 0.02 bits/dim on average over unseen cases; never better than the truth but by chance."""
    synthesizer, law = trained
    model, generator = synthesizer.model, torch.Generator().manual_seed(99)
    mri, codes, _ = people(law, 2000)
    pet, _ = model.add_noise(law.draw(mri, codes, generator), mri, generator)
    with torch.no_grad():
        mine = model.pet_log_prob(pet, model.link.decode(model.encode(mri).features, codes))
    gap = (law.log_prob(pet, mri, codes) - mine) / (math.log(2) * math.prod(law.shape))
    assert gap.mean() < 0.02
    assert gap.mean() > -3 * gap.std() / 2000**0.5


def test_samples_have_the_true_mean_and_spread(trained: tuple[Synthesizer, ToyLaw]) -> None:
    """Within 3 standard errors of 64 samples: 19 of 20 voxels, and every person's mean over the picture."""
    synthesizer, law = trained
    voxels, count = math.prod(law.shape), 64
    sd, sd_of_mean = (PET_SCALE * value for value in (law.sd, math.hypot(law.white / voxels**0.5, law.shared)))
    whole = np.full((1, *law.shape), 1 / voxels, np.float32)
    means, spreads = [], []
    for i, (mri, code, person) in enumerate(zip(*people(law, 8), strict=True)):
        encoding = synthesizer.encode_prepared(mri[0].numpy())
        found = synthesizer.distribution(encoding, Question(person, 1.0, count, i), regions=whole)
        expected = law.mean(mri[None], code[None])[0, 0].numpy() * PET_SCALE
        means.append((found.mean - expected) / (sd / count**0.5))
        spreads.append((found.sd / sd - 1) * (2 * count) ** 0.5)
        assert abs(found.regions.mean() - expected.mean()) < 3 * sd_of_mean / count**0.5
        assert abs(found.regions.std(ddof=1) / sd_of_mean - 1) * (2 * count) ** 0.5 < 3
    assert (np.abs(means) < 3).mean() > 0.95
    assert (np.abs(spreads) < 3).mean() > 0.95


def test_a_pet_is_ranked_among_those_of_its_law(trained: tuple[Synthesizer, ToyLaw]) -> None:
    """Percentiles of PETs that go with their MRI are spread evenly; those of another person's are less likely."""
    synthesizer, law = trained
    generator = torch.Generator().manual_seed(3)
    mri, codes, persons = people(law, 36)
    pets = law.draw(mri, codes, generator) * PET_SCALE
    own, chi, worse, bits = [], [], [], []
    for i, person in enumerate(persons):
        encoding = synthesizer.encode_prepared(mri[i, 0].numpy())
        found = synthesizer.log_likelihood(encoding, pets[i, 0].numpy(), person, samples=9, seed=i)
        own.append(found["percentile"])
        chi.append(found["chi_square_percentile"])
        bits.append(found["bits_per_dim"])
        other = synthesizer.log_likelihood(encoding, pets[i - 1, 0].numpy(), person, seed=i)
        worse.append(other["nats"] < found["nats"])
    # The mean of 36 numbers spread evenly over 0..100 has a standard error of 4.8.
    assert np.mean(own) == pytest.approx(50, abs=3.5 * 4.8)
    assert np.mean(chi) == pytest.approx(50, abs=3.5 * 4.8)
    assert np.std(own) == pytest.approx(28.9, abs=10)
    assert np.mean(worse) > 0.7
    noisy = synthesizer.model.add_noise(pets / PET_SCALE, mri, generator)[0]
    truth = 8 - law.log_prob(noisy, mri, codes).mean().item() / (math.log(2) * math.prod(law.shape))
    assert np.mean(bits) == pytest.approx(truth, abs=0.1)


def test_parts_of_a_log_likelihood(trained: tuple[Synthesizer, ToyLaw]) -> None:
    synthesizer, law = trained
    mri, codes, persons = people(law, 1)
    pet = law.draw(mri, codes, torch.Generator().manual_seed(3))[0, 0].numpy() * PET_SCALE
    encoding = synthesizer.encode_prepared(mri[0, 0].numpy())
    mask = np.zeros(law.shape, bool)
    mask[:4] = True
    halves = [synthesizer.log_likelihood(encoding, pet, persons[0], mask=half) for half in (mask, ~mask)]
    whole = halves[0]
    assert whole["nats"] == halves[1]["nats"]  # the noise comes from the seed
    log_dets = sum(level["log_det"] for level in whole["levels"])
    placed = sum(half["masked"]["gaussian"] + half["masked"]["image"] for half in halves)
    assert placed + log_dets == pytest.approx(whole["nats"], abs=1e-3)
    assert whole["surprise"][mask].mean() == pytest.approx(whole["masked"]["surprise"])
    assert whole["surprise"].sum() == pytest.approx(whole["chi_square"], rel=1e-5)
    assert whole["chi_square"] == pytest.approx(sum(level["chi_square"] for level in whole["levels"]), rel=1e-6)
    assert synthesizer.log_likelihood(encoding, pet, persons[0], noise=False)["nats"] != whole["nats"]
    with torch.no_grad():
        code = encode_covariates(synthesizer.bundle.config.covariates, persons)
        image = torch.from_numpy(pet)[None, None] / PET_SCALE
        direct = synthesizer.model.pet_log_prob(image, synthesizer.model.link.decode(encoding.features, code))
    quiet = synthesizer.log_likelihood(encoding, pet, persons[0], noise=False)
    assert quiet["nats"] == pytest.approx(direct.item(), rel=1e-5)


def test_what_lies_outside_can_be_left_out(trained: tuple[Synthesizer, ToyLaw]) -> None:
    synthesizer, law = trained
    mri, codes, persons = people(law, 1)
    pet = law.draw(mri, codes, torch.Generator().manual_seed(3))[0, 0].numpy() * PET_SCALE
    encoding = synthesizer.encode_prepared(mri[0, 0].numpy())
    inside = np.zeros(law.shape, bool)
    inside[1:6, 2:] = True
    hot = np.where(inside, pet, pet + 5)  # a scalp that takes up far more than any image that the model knows
    options = {"samples": 9, "seed": 4}
    clean, spoilt = (synthesizer.log_likelihood(encoding, one, persons[0], **options) for one in (pet, hot))
    assert spoilt["nats"] < clean["nats"] - 1000
    judged = [
        synthesizer.log_likelihood(encoding, one, persons[0], within=inside, **options)
        for one in (pet, hot, np.where(inside, pet + 5, pet))
    ]
    assert judged[0]["nats"] == judged[1]["nats"]
    assert judged[0]["percentile"] == judged[1]["percentile"]
    assert judged[2]["nats"] < judged[0]["nats"] - 1000
    assert judged[2]["percentile"] < 10
    everywhere = synthesizer.log_likelihood(encoding, pet, persons[0], within=np.ones(law.shape, bool), **options)
    assert everywhere["nats"] == clean["nats"]


def test_log_likelihood_of_the_mri(trained: tuple[Synthesizer, ToyLaw]) -> None:
    synthesizer, law = trained
    mri, _, _ = people(law, 1)
    usual = synthesizer.mri_log_likelihood(mri[0, 0].numpy(), samples=19)
    with torch.no_grad():
        expected = synthesizer.model.mri_log_prob(mri)[0].item()
    assert usual["nats"] == pytest.approx(expected, rel=1e-5)  # this model's training adds no noise to the MRI
    assert 0 < usual["percentile"] < 100
    odd = synthesizer.mri_log_likelihood((0.5 + 4 * (mri[0, 0] - 0.5)).numpy(), samples=19)
    assert odd["percentile"] == pytest.approx(2.5)
    assert odd["bits_per_dim"] > usual["bits_per_dim"] + 1


def test_counterfactual(trained: tuple[Synthesizer, ToyLaw]) -> None:
    """In this law what isn't explained adds to the mean, so the truth is the PET plus the difference of the means."""
    synthesizer, law = trained
    mri, codes, persons = people(law, 30)
    pets = law.draw(mri, codes, torch.Generator().manual_seed(8))
    errors = []
    for i, person in enumerate(persons):
        pet = pets[i, 0].numpy() * PET_SCALE
        encoding = synthesizer.encode_prepared(mri[i, 0].numpy())
        np.testing.assert_allclose(synthesizer.counterfactual(encoding, pet, person, person), pet, atol=1e-4)
        older = {"age": person["age"] + (15 if person["age"] < 70 else -15), "sex": "M"}
        code = encode_covariates(synthesizer.bundle.config.covariates, [older])
        truth = pet + PET_SCALE * (law.mean(mri[i, None], code) - law.mean(mri[i, None], codes[i, None]))[0, 0].numpy()
        errors.append(synthesizer.counterfactual(encoding, pet, person, older) - truth)
    errors = np.stack(errors) / (law.sd * PET_SCALE)
    assert np.sqrt((errors**2).mean()) < 0.25  # a fresh sample of the other law would be √2 away
    assert np.abs(errors.mean(0)).max() < 0.25  # in distribution: the mean at every voxel


def test_counterfactual_of_a_sample_is_the_sample_there(trained: tuple[Synthesizer, ToyLaw]) -> None:
    synthesizer, law = trained
    mri, _, _ = people(law, 1)
    encoding = synthesizer.encode_prepared(mri[0, 0].numpy())
    young, old = {"age": 55, "sex": "F"}, {"age": 85, "sex": "M"}
    first, second = (synthesizer.distribution(encoding, Question(person, 0.7, seed=4)).mean for person in (young, old))
    assert first.min() > 0  # nothing was cut
    np.testing.assert_allclose(synthesizer.counterfactual(encoding, first, young, old), second, atol=1e-4)


def test_what_is_no_pet_on_the_grid(trained: tuple[Synthesizer, ToyLaw]) -> None:
    synthesizer, law = trained
    encoding = synthesizer.encode_prepared(np.full(law.shape, 0.5))
    with pytest.raises(InputError, match="has 8×4 voxels; the model's grid has 8×8"):
        synthesizer.log_likelihood(encoding, np.ones((8, 4)), {})
    with pytest.raises(InputError, match="not finite"):
        synthesizer.counterfactual(encoding, np.full(law.shape, np.nan), {}, {})
    with pytest.raises(InputError, match="outside the range"):
        synthesizer.counterfactual(encoding, np.ones(law.shape), {}, {"age": 20})
    with pytest.raises(InputError, match="mask has the shape"):
        synthesizer.log_likelihood(encoding, np.ones(law.shape), {}, mask=np.ones((4, 4), bool))
