"""The model: objective, sampling, covariates, presets."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.flow import FlowConfig
from DualGlowLib.model import (
    DEFAULT_COVARIATES,
    PRESETS,
    Covariate,
    DualGlow,
    LinkConfig,
    LinkOutput,
    ModelConfig,
    columns,
    encode_covariates,
    fit_covariates,
    hide_covariates,
    preset,
)

AGE, SEX, DIAGNOSIS = DEFAULT_COVARIATES
SHAPES = {2: (8, 16), 3: (4, 8, 8)}


def tiny(name: str, dims: int) -> ModelConfig:
    """A preset at a size for tests, every kind of layer kept."""
    config = preset(name, (16,) * dims)
    flows = {
        side: replace(getattr(config, side), depths=(2, 2), widths=(8, 8)) for side in ("mri", "pet")
    }  # fmt: skip
    link = config.link
    if link.kind == "unet":
        link = replace(link, widths=(8, 8), context=(4, 4), patterns=3)
    return replace(config, shape=SHAPES[dims], link=link, **flows)


def images(config: ModelConfig, count: int, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    pet = torch.rand(count, 1, *config.shape, generator=generator, dtype=dtype)
    mri = (pet + 0.2 * torch.rand(pet.shape, generator=generator, dtype=dtype)).clamp(0, 1)
    cases = [{"age": 50 + 5 * i, "sex": "FM"[i % 2], "diagnosis": ("CN", "AD")[i % 2]} for i in range(count)]
    return pet, mri, encode_covariates(config.covariates, cases).to(dtype)


@pytest.fixture(scope="module", params=[(name, dims) for name in PRESETS for dims in (2, 3)], ids=str)
def model(request: pytest.FixtureRequest) -> DualGlow:
    """Initialised, and moved off the zeros that most networks start at."""
    torch.manual_seed(0)
    model = DualGlow(tiny(*request.param)).double()
    if model.config.link.kind == "unet":
        shape = (1, *model.config.shape)
        model.link.set_base(torch.full(shape, 0.1), torch.full(shape, 0.3))
    model.initialize(*images(model.config, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return model.eval()


def test_pet_round_trip(model: DualGlow) -> None:
    pet, mri, covariates = images(model.config, 2)
    with torch.no_grad():
        law = model.link.decode(model.encode(mri).features, covariates)
        latents, _ = model.pet_latents(pet, law)
        torch.testing.assert_close(model.pet_from_latents(latents, law), pet, rtol=0, atol=1e-7)


def test_pet_log_prob_against_autograd(model: DualGlow) -> None:
    """log p(x_p | x_m, c) is the Gaussian's of the latents plus log|det| of the whole map, here by autograd."""
    pet, mri, covariates = images(model.config, 1)
    with torch.no_grad():
        law = model.link.decode(model.encode(mri).features, covariates)

    def latents_of(flat: torch.Tensor) -> torch.Tensor:
        return torch.cat([z.flatten() for z in model.pet_latents(flat.reshape(pet.shape), law)[0]])

    jacobian = torch.autograd.functional.jacobian(latents_of, pet.flatten())
    expected = torch.linalg.slogdet(jacobian).logabsdet
    for z, mean, log_sigma in zip(model.pet_latents(pet, law)[0], law.means, law.log_sigmas, strict=True):
        sigma = log_sigma.exp().expand_as(z)
        expected = expected + torch.distributions.Normal(mean.expand_as(z), sigma).log_prob(z).sum()
    torch.testing.assert_close(model.pet_log_prob(pet, law)[0], expected, rtol=1e-5, atol=1e-6)


def image_distribution(law: LinkOutput) -> torch.distributions.Distribution:
    """The link's image law as torch has it, over flattened images."""
    mean, scale = law.image.mean.flatten(1), law.image.log_scale.exp().flatten(1)
    factors = (law.image.patterns.flatten(2) * scale[:, None]).mT
    return torch.distributions.LowRankMultivariateNormal(mean, factors, scale.square())


def test_objective_is_equation_12(model: DualGlow) -> None:
    pet, mri, covariates = images(model.config, 2)
    objective = model(pet, mri, covariates)
    with torch.no_grad():
        law = model.link.decode(model.encode(mri).features, covariates)
        pet_log, mri_log = model.pet_log_prob(pet, law), model.mri_log_prob(mri)[0]
    per_dim = math.log(2) * model.config.voxels
    expected = -(pet_log + model.config.mri_weight * mri_log) / per_dim + 8 * (1 + model.config.mri_weight)
    if law.image is not None:
        image, flat = image_distribution(law), (pet - 0.5).flatten(1)
        error = torch.distributions.Normal(image.mean, 0.3).log_prob(flat).sum(1)  # 0.3: set_base, above
        expected = expected + (8 - image.log_prob(flat) / per_dim)
        expected = expected + model.config.link.image_weight * (8 - error / per_dim)
        known = model(pet, mri, covariates, known_mean=0.9 * pet)  # the mean alone learns from it
        wanted = torch.distributions.Normal(image.mean, 0.3).log_prob(flat - 0.1 * pet.flatten(1)).sum(1)
        gained = model.config.link.image_weight * (error - wanted) / per_dim
        torch.testing.assert_close(known.loss - objective.loss, gained, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(known.pet_bits, objective.pet_bits)
        alone = model(pet, mri, covariates, image_only=True)
        torch.testing.assert_close(alone.pet_bits, 8 - image.log_prob(flat) / per_dim)
        torch.testing.assert_close(alone.mri_bits, objective.mri_bits)
    if model.config.discriminators.weight:
        assert set(objective.discriminators) == {"mri_1", "mri_2", "pet"}
        expected = expected + 0.01 * sum(objective.discriminators.values())
    torch.testing.assert_close(objective.loss, expected)


def test_every_parameter_learns(model: DualGlow) -> None:
    pet, mri, covariates = images(model.config, 2)
    model.zero_grad()
    model(pet, mri, covariates).loss.mean().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not idle


def test_samples_follow_seed_temperature_and_covariates(model: DualGlow) -> None:
    _, mri, covariates = images(model.config, 1)

    def sample(temperature: float, seed: int, code: torch.Tensor = covariates) -> torch.Tensor:
        with torch.no_grad():
            return model.sample(model.encode(mri), code, temperature, torch.Generator().manual_seed(seed))

    assert torch.equal(sample(0.7, 1), sample(0.7, 1))
    assert not torch.equal(sample(0.7, 1), sample(0.7, 2))
    assert torch.equal(sample(0.0, 1), sample(0.0, 2))
    small, large = ((sample(t, 1) - sample(0.0, 1)).abs().mean() for t in (0.05, 0.5))
    assert 0 < small < large
    if model.config.covariates:
        other = covariates.clone()
        other[0, 0] += 1.0  # a standard deviation of age
        assert (sample(0.0, 1, other) - sample(0.0, 1)).abs().max() > 1e-6


def test_temperature_zero_is_the_links_mean_image(model: DualGlow) -> None:
    _, mri, covariates = images(model.config, 2)
    with torch.no_grad():
        encoding = model.encode(mri)
        law = model.link.decode(encoding.features, covariates)
        sample = model.sample(encoding, covariates, 0.0)
    if law.image is None:
        latents, _ = model.pet_latents(sample, law)
        for z, mean in zip(latents, law.means, strict=True):
            torch.testing.assert_close(z, mean.expand_as(z))
    else:
        torch.testing.assert_close(sample, law.image.mean + 0.5)


@pytest.mark.parametrize("dims", [2, 3])
def test_samples_vary_together_as_the_patterns_say(dims: int) -> None:
    """A flow that does nothing yet leaves the image law: its covariance is that of many samples."""
    torch.manual_seed(0)
    config = tiny("standard", dims)
    model = DualGlow(replace(config, pet=replace(config.pet, cosine_top=False))).eval()
    shape = (1, *config.shape)
    model.link.set_base(torch.full(shape, 0.1), torch.full(shape, 0.1))
    with torch.no_grad():
        model.link.loadings.mul_(10)
        model.link.amplitudes.weight.normal_(0, 0.3)
        _, mri, covariates = images(config, 1, torch.float32)
        encoding = model.encode(mri)
        law = model.link.decode(encoding.features, covariates)
        count = 4000
        noise = torch.Generator().manual_seed(1)
        drawn = model.sample(encoding, covariates.expand(count, -1), 1.0, noise).flatten(1) - 0.5
        told = law.image.patterns
        other = model.link.decode(encoding.features, covariates + 0.5).image.patterns
    expected = image_distribution(law).covariance_matrix[0]
    spread = torch.sqrt(expected.diag()[:, None] * expected.diag() + expected.square()) / count**0.5
    assert ((torch.cov(drawn.T) - expected) / spread).square().mean().sqrt() == pytest.approx(1, abs=0.4)
    assert (expected - torch.diag(expected.diag())).abs().max() > 0.3 * expected.diag().max()
    assert not torch.equal(told, other)


def test_the_top_latent_begins_with_the_variances_of_the_data() -> None:
    torch.manual_seed(0)
    config = replace(tiny("standard", 3), shape=(8, 8, 16))
    model = DualGlow(config)
    shape = (1, *config.shape)
    model.link.set_base(torch.zeros(shape), torch.full(shape, 0.1))
    pet, mri, covariates = images(config, 11, torch.float32)
    slow = torch.linspace(-1, 1, 11).reshape(-1, 1, 1, 1, 1)  # every image is higher or lower as a whole
    pet = 0.5 + 0.2 * slow + 0.02 * torch.randn(pet.shape)
    model.initialize(pet, mri, covariates)
    with torch.no_grad():
        law = model.link.decode(model.encode(mri).features, covariates)
        z = model.pet_latents(pet, law)[0][-1]
    log_sigma = law.log_sigmas[-1][0]
    assert log_sigma[0, 0, 0, 0] > log_sigma[1:].max() + 0.3
    assert (z / law.log_sigmas[-1].exp()).square().mean().item() == pytest.approx(1, abs=0.35)


def test_several_samples_of_one_mri(model: DualGlow) -> None:
    """One encoding serves many rows of covariates, each with the result that it has alone."""
    _, mri, covariates = images(model.config, 3)
    with torch.no_grad():
        encoding = model.encode(mri[:1])
        together = model.sample(encoding, covariates, 0.0)
        alone = torch.cat([model.sample(encoding, covariates[i : i + 1], 0.0) for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_noise_is_as_configured() -> None:
    pet = torch.full((1, 1, 32, 32, 32), 0.5)
    for name, low, high in (("authors", 0.0, 1 / 256), ("standard", -0.1, 0.1)):
        config = tiny(name, 3)
        noisy, _ = DualGlow(config).add_noise(pet, pet, torch.Generator().manual_seed(0))
        noise = noisy - pet
        assert low - 1e-6 <= noise.min()
        assert noise.max() <= high + 1e-6
        expected = 1 / 256 / math.sqrt(12) if name == "authors" else config.pet_noise
        assert noise.std().item() == pytest.approx(expected, rel=0.05)


def test_covariates_as_numbers() -> None:
    code = encode_covariates(
        DEFAULT_COVARIATES,
        [
            {"age": "82", "sex": "female", "diagnosis": "Dementia"},
            {"age": "n/a", "sex": "", "diagnosis": None},
            {},
        ],
    )
    assert code.shape == (3, 7)
    assert code[0].tolist() == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    assert not code[1:].any()


@pytest.mark.parametrize(
    ("covariate", "value", "says"),
    [(AGE, "old", "must be a number"), (AGE, 17, "outside the range 40 to 100"), (AGE, math.inf, "outside the range"),
     (SEX, "X", "knows F, M"), (DIAGNOSIS, "flu", "knows CN, MCI, AD")],
)  # fmt: skip
def test_unusable_covariates_are_refused(covariate, value, says: str) -> None:
    with pytest.raises(InputError, match=says):
        covariate.parse(value)


def test_ages_a_little_outside_the_range_are_taken_but_known_to_be() -> None:
    assert AGE.parse(38) == 38
    assert AGE.is_trained(40)
    assert not AGE.is_trained(38)
    assert AGE.is_trained(None)


def test_any_attribute_can_be_a_covariate() -> None:
    """Numeric or categorical, its categories given or found, values as tables spell them."""
    group = Covariate("group", "categorical", values=("W", "normal"))
    wanted = (Covariate("apoe", "categorical"), Covariate("mmse", "numeric"), group)
    cases = [{"apoe": "34", "mmse": "29", "group": "w"}, {"apoe": 33, "mmse": 25}, {"apoe": "n/a", "group": "Normal"}]
    apoe, mmse, group = fit_covariates(wanted, cases)
    assert apoe.values == ("33", "34")
    assert mmse.minimum == 25
    code = encode_covariates([apoe, mmse, group], [{"apoe": 34, "mmse": 27, "group": "w"}, {"group": "NORMAL"}])
    assert code.tolist() == [[0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1]]
    assert columns([apoe, mmse, group]) == [slice(0, 2), slice(2, 4), slice(4, 6)]


def test_hidden_covariates_are_as_if_missing() -> None:
    """Whole attributes go, in the share of the cases that was asked for, each number of them equally often."""
    cases = [{"age": 80, "sex": "F", "diagnosis": "AD"}] * 4000
    codes = encode_covariates(DEFAULT_COVARIATES, cases)
    hidden = hide_covariates(DEFAULT_COVARIATES, codes, 0.8, torch.Generator().manual_seed(0))
    places = columns(DEFAULT_COVARIATES)
    kept = torch.stack([(hidden[:, place] == codes[:, place]).all(1) for place in places], 1)
    gone = torch.stack([(hidden[:, place] == 0).all(1) for place in places], 1)
    assert torch.equal(kept, ~gone)
    shares = torch.bincount(gone.sum(1), minlength=4) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.4, 0.2, 0.2, 0.2]), rtol=0, atol=0.03)
    assert torch.equal(hide_covariates(DEFAULT_COVARIATES, codes, 0.0), codes)


def test_covariates_take_their_numbers_from_the_cohort() -> None:
    cohort = [{"age": 21, "sex": "M"}, {"age": "25", "sex": ""}, {"age": None, "sex": "male"}]
    age, sex = fit_covariates(DEFAULT_COVARIATES, cohort)  # nobody's diagnosis is known
    assert (age.minimum, age.maximum, age.mean, age.sd) == (21, 25, 23, 2)
    assert sex.values == ("M",)
    with pytest.raises(InputError, match="must be a number"):
        fit_covariates(DEFAULT_COVARIATES, [{"age": "young"}])


@pytest.mark.parametrize("name", list(PRESETS))
def test_config_survives_json(name: str) -> None:
    config = preset(name, (48, 64, 48))
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_config_refuses_what_it_does_not_know() -> None:
    values = preset("standard", (48, 64, 48)).to_dict()
    values["link"]["kernal"] = 3
    with pytest.raises(InputError, match="kernal"):
        ModelConfig.from_dict(values)
    with pytest.raises(InputError, match="no preset"):
        preset("glow", (48, 64, 48))
    with pytest.raises(InputError, match="does not divide by 8"):
        preset("standard", (48, 60, 48))


def test_changes_of_a_preset() -> None:
    """As a settings file gives them: in part, by the words of the configuration, checked."""
    config = preset("standard", (48, 64, 48), mri_weight=1, link={"max_log_sigma": 2.0}, mri={"depths": [1, 1, 1]})
    usual = preset("standard", (48, 64, 48))
    assert config == replace(
        usual, mri_weight=1, link=replace(usual.link, max_log_sigma=2.0), mri=replace(usual.mri, depths=(1, 1, 1))
    )
    apoe = {"name": "apoe", "kind": "categorical", "values": ["33", "34", "44"]}
    assert [c.name for c in usual.updated({"covariates": ["sex", apoe]}).covariates] == ["sex", "apoe"]
    # The paper's model as it stands has no covariates; conditioned, it takes the usual ones.
    assert preset("paper", (64, 96, 64), conditioning="release").covariates == DEFAULT_COVARIATES


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"covariates": ["sexx"]}, "age, sex, diagnosis, not 'sexx'"),
     ({"kernel": 3}, "'kernel' is no setting"), ({"link": {"kernal": 3}}, "model, link: 'kernal' is no setting"),
     ({"mri_weight": "high"}, "model: mri_weight must be a number, not 'high'"),
     ({"link": 3}, "link must"), ({"shape": [8, 8, 8]}, "not set here"),
     ({"mri": {"depths": [1]}}, "depth and a width per level"), ({"covariates": ["apoe"]}, "must be"),
     ({"covariates": 3}, "must be"), ({"link": 3, "conditioning": "none"}, "link must"),
     ({"conditioning": "paper"}, "kind unet can do film, residual, none"), ({"conditioning": "magic"}, "'magic'"),
     ({"link": {"kind": "levelwise", "authors": True, "conditioning": "film"}}, "can do release, paper, none"),
     ({"covariates": [], "discriminators": {"weight": 0.01}}, "must be covariates"),
     ({"discriminators": {"schedule": "steep"}}, "one of constant, ramp, not .steep.")],
)  # fmt: skip
def test_changes_that_can_not_be_made(changes: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        preset("standard", (48, 64, 48)).updated(changes)


def test_paper_preset_has_the_papers_size() -> None:
    """64×96×64, 4 levels of 16 couplings of width 512: as counted from the paper's text (one flow 248.2 million)."""
    config = preset("paper", (64, 96, 64))
    assert config.pet == config.mri == FlowConfig(depths=(16,) * 4, widths=(512,) * 4)
    assert config.link == LinkConfig(conditioning="none")
    assert config.covariates == ()
    assert config.mri_weight == 0.001


def test_patterns_need_a_link_that_has_them() -> None:
    with pytest.raises(InputError, match="only a link of kind unet has them"):
        LinkConfig(patterns=2)
