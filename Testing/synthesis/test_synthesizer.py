"""Samples as a distribution: temperatures, common noise, antithetic pairs, what is kept of many of them."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.atlas.regions import REGIONS
from DualGlowLib.bundle.bundle import DEFAULT_BUNDLE, Bundle
from DualGlowLib.model import DualGlow, Encoding, encode_covariates, preset
from DualGlowLib.resources import resource
from DualGlowLib.synthesis.draws import Draws
from DualGlowLib.synthesis.question import Question
from DualGlowLib.synthesis.synthesizer import Synthesizer
from DualGlowLib.volumes.grid import Grid
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.writing import write_scan
from heads import coarse_template

SHAPE = (16, 16, 16)
CN, AD = ({"age": 70, "sex": "F", "diagnosis": diagnosis} for diagnosis in ("CN", "AD"))


def small_model(seed: int = 0) -> DualGlow:
    """The default model at a size for tests, moved off the zeros that most networks start at."""
    torch.manual_seed(seed)
    config = preset("standard", SHAPE)
    small = {"widths": (8, 8), "depths": (1, 2)}
    flows = {"mri": replace(config.mri, **small), "pet": replace(config.pet, **small)}
    config = replace(config, **flows, link=replace(config.link, widths=(8, 8), context=(2, 2)))
    model = DualGlow(config)
    shape = (1, *SHAPE)
    model.link.set_base(torch.full(shape, 0.1), torch.full(shape, 0.05))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    return Synthesizer(Bundle(small_model(), Grid("test", SHAPE, (10.0,) * 3), 1.5, 2.5, "test"))


@pytest.fixture(scope="module")
def encoding(synthesizer: Synthesizer) -> Encoding:
    return synthesizer.encode_prepared(np.random.default_rng(0).random(SHAPE))


def test_streams_are_those_of_seed_and_number(synthesizer: Synthesizer, encoding: Encoding) -> None:
    """Written out once more, so that no later change gives other samples for an old seed."""
    code = encode_covariates(synthesizer.bundle.config.covariates, [CN])
    model = synthesizer.model
    for index in range(3):
        generator = torch.Generator().manual_seed(5 * 1_000_003 + index)
        with torch.no_grad():
            law = model.link.decode(encoding.features, code)
            latents = [
                mean + 0.8 * torch.exp(log_sigma) * torch.randn(1, *shape, generator=generator)
                for shape, mean, log_sigma in zip(
                    model.pet_flow.latent_shapes(SHAPE), law.means, law.log_sigmas, strict=True
                )
            ]
            expected = (model.pet_from_latents(latents, law)[0, 0] * 2.5).clamp_min(0)
        drawn = synthesizer.model.sample(encoding, code, 0.8, torch.Generator().manual_seed(5 * 1_000_003 + index))
        assert np.array_equal((drawn[0, 0] * 2.5).clamp_min(0), expected)
        if index == 0:
            assert np.array_equal(synthesizer.distribution(encoding, Question(CN, 0.8, 1, 5)).mean, expected)


def noise_of(synthesizer: Synthesizer, encoding: Encoding, covariates: dict, temperature, index: int = 0) -> list:
    """The latent noise in a sample, found by encoding it under its own law."""
    model = synthesizer.model
    code = encode_covariates(synthesizer.bundle.config.covariates, [covariates])
    with torch.no_grad():
        law = model.link.decode(encoding.features, code)
        image = model.sample(encoding, code, temperature, torch.Generator().manual_seed(7 * 1_000_003 + index))
        latents, _ = model.pet_latents(image, law)
    return [
        (z - mean) * torch.exp(-log_sigma)
        for z, mean, log_sigma in zip(latents, law.means, law.log_sigmas, strict=True)
    ]


def test_noise_is_common_to_ages_and_temperatures(synthesizer: Synthesizer, encoding: Encoding) -> None:
    plain = noise_of(synthesizer, encoding, CN, 1.0)
    for covariates, temperatures in ((AD, (1.0, 1.0)), (CN, (0.5, 1.0)), (CN, (0.0, 0.7)), ({}, (2.0, 0.0))):
        found = noise_of(synthesizer, encoding, covariates, temperatures)
        for noise, same, factor in zip(plain, found, temperatures, strict=True):
            torch.testing.assert_close(same, factor * noise, rtol=0, atol=2e-4)


def test_a_temperature_for_each_level(synthesizer: Synthesizer, encoding: Encoding) -> None:
    def image(*values) -> np.ndarray:
        return synthesizer.distribution(encoding, Question(CN, *values)).mean

    one = image(0.6)
    assert np.array_equal(image((0.6, 0.6)), one)
    mode = image(0.0, 5)
    assert np.array_equal(image((0.0, 0.0), 3, 4), mode)
    with torch.no_grad():
        code = encode_covariates(synthesizer.bundle.config.covariates, [CN])
        mean = synthesizer.model.link.decode(encoding.features, code).image.mean
    np.testing.assert_allclose(mode, ((mean[0, 0] + 0.5) * 2.5).clamp_min(0), atol=1e-5)
    fine = image((0.6, 0.0))
    assert 0 < np.abs(fine - mode).mean() < np.abs(one - mode).mean()


@pytest.mark.parametrize(
    ("temperature", "samples", "says"),
    [((0.5, 0.8, 1.0), 1, "has 2 levels"), (-0.1, 1, "from 0 to 2"), ((0.5, 3.0), 1, "is 3"),
     (float("nan"), 1, "is nan"), ((), 1, "0 temperatures"), (1.0, 0, "samples is 0; take 1")],
)  # fmt: skip
def test_what_can_not_be_drawn(synthesizer: Synthesizer, encoding: Encoding, temperature, samples, says: str) -> None:
    with pytest.raises(InputError, match=says):
        synthesizer.distribution(encoding, Question(CN, temperature, samples))


def test_running_mean_and_spread_are_those_of_all_samples(synthesizer: Synthesizer, encoding: Encoding) -> None:
    images = []
    code = encode_covariates(synthesizer.bundle.config.covariates, [CN])
    for index in range(6):
        generator = torch.Generator().manual_seed(2 * 1_000_003 + index)
        images.append((synthesizer.model.sample(encoding, code, 1.0, generator)[0, 0] * 2.5).clamp_min(0).numpy())
    images = np.stack(images)
    regions = np.zeros((2, *SHAPE), np.float32)
    regions[0, 3, 4, 5], regions[1, :8] = 1, 1 / (8 * 16 * 16)
    threshold = float(np.median(images))
    found = synthesizer.distribution(encoding, Question(CN, 1.0, 6, 2, threshold), regions=regions)
    np.testing.assert_allclose(found.mean, images.mean(0), atol=1e-5)
    np.testing.assert_allclose(found.sd, images.std(0, ddof=1), atol=1e-5)
    np.testing.assert_allclose(found.error, images.std(0, ddof=1) / 6**0.5, atol=1e-5)
    np.testing.assert_allclose(found.below, (images < threshold).mean(0), atol=1e-6)
    np.testing.assert_allclose(found.regions[:, 0], images[:, 3, 4, 5], atol=1e-6)
    np.testing.assert_allclose(found.regions[:, 1], images[:, :8].mean((1, 2, 3)), atol=1e-5)
    with pytest.raises(ValueError, match="don't lie on"):
        synthesizer.distribution(encoding, Question(CN), regions=regions[:, 1:])


def test_antithetic_pairs(synthesizer: Synthesizer, encoding: Encoding) -> None:
    """The even samples are the usual ones; the mean of pairs has less error, and its own estimate of it is right."""
    first = synthesizer.distribution(encoding, Question(CN, 1.0, 2, 3, antithetic=True))
    single = synthesizer.distribution(encoding, Question(CN, 1.0, 1, 3)).mean
    other = 2 * first.mean - single  # the second of the pair
    code = encode_covariates(synthesizer.bundle.config.covariates, [CN])
    raw = synthesizer.model.sample(encoding, code, 1.0, torch.Generator().manual_seed(3 * 1_000_003), negate=True)
    np.testing.assert_allclose(other, (raw[0, 0] * 2.5).clamp_min(0), atol=1e-5)

    def means(antithetic: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        asked = [Question(CN, 1.0, 6, seed, antithetic=antithetic) for seed in range(16)]
        runs = [synthesizer.distribution(encoding, question) for question in asked]
        return tuple(np.stack([getattr(run, name) for run in runs]) for name in ("mean", "sd", "error"))

    plain, paired = means(False), means(True)
    assert paired[0].std(0).mean() < 0.5 * plain[0].std(0).mean()  # most of a sample is linear in the noise
    assert np.abs(paired[0].mean(0) - plain[0].mean(0)).mean() < 2 * plain[0].std(0).mean() / 16**0.5  # unbiased
    assert (paired[1] ** 2).mean() == pytest.approx((plain[1] ** 2).mean(), rel=0.03)  # one sample's variance
    for kind in (plain, paired):
        assert np.sqrt((kind[2] ** 2).mean()) == pytest.approx(np.sqrt((kind[0].var(0, ddof=1)).mean()), rel=0.1)
    with pytest.raises(InputError, match="pairs"):
        Question(CN, 1.0, 3, antithetic=True)


def test_spread_of_pairs_is_unbiased_whatever_they_share() -> None:
    """x = a·e + b·e²: a sets what cancels in a pair, b what both have."""
    generator = torch.Generator().manual_seed(0)
    for odd, even in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        draws = Draws(antithetic=True)
        for noise in torch.randn(3, 200_000, generator=generator):  # three pairs, many times over
            draws.add(odd * noise + even * noise**2)
            draws.add(-odd * noise + even * noise**2)
        variance = odd**2 + 2 * even**2
        assert (draws.result().sd ** 2).mean() == pytest.approx(variance, rel=0.02)
        assert (draws.result().error ** 2).mean() == pytest.approx(2 * even**2 / 3, rel=0.02, abs=1e-9)


@pytest.mark.parametrize("value", [math.nan, 1e30], ids=["NaN", "overflow"])
def test_nothing_that_is_not_finite_leaves(value: float) -> None:
    """Whatever the model is: weights that are not finite, or finite ones whose products aren't."""
    model = small_model()
    for parameter in (*model.pet_flow.parameters(), *model.mri_flow.parameters()):
        parameter.fill_(value)
    synthesizer = Synthesizer(Bundle(model, Grid("test", SHAPE, (10.0,) * 3), 1.5, 2.5, "test"))
    t1 = pet = np.random.default_rng(0).random(SHAPE)
    encoding = synthesizer.encode_prepared(t1)
    asked = (
        lambda: synthesizer.distribution(encoding, Question(CN)),
        lambda: synthesizer.distribution(encoding, Question(CN, 1.0, 4, 0, 1.0), regions=np.ones((1, *SHAPE)) / 16**3),
        lambda: synthesizer.counterfactual(encoding, pet, CN, AD),
        lambda: synthesizer.log_likelihood(encoding, pet, CN, samples=2),
        lambda: synthesizer.mri_log_likelihood(t1),
    )
    for ask in asked:
        with pytest.raises(InputError, match=r"^The .*(PET|T1) that the model test gives .* not finite"):
            ask()


@pytest.mark.parametrize("scale", [math.nan, math.inf, -3.68])
def test_command_line_writes_no_pet_of_a_broken_model(
    tmp_path: Path, capsys: pytest.CaptureFixture, scale: float
) -> None:
    bundle = shutil.copytree(resource("Models", DEFAULT_BUNDLE), tmp_path / "bundle")
    values = json.loads((bundle / "config.json").read_text())
    values["intensities"]["pet"]["scale"] = scale
    values["sha256"].pop("config.json", None)
    (bundle / "config.json").write_text(json.dumps(values))
    output = tmp_path / "pet.nii.gz"
    t1 = str(resource("Template", "mni152_t1.nii.gz"))
    assert main(["synthesize", t1, "--bundle", str(bundle), "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert "is damaged" in error
    assert error.count("\n") == 1
    assert not output.exists()


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    draws = Draws(antithetic=True, below=0.0)
    held = [
        tensor
        for moments in (draws.images, draws.pairs)
        for tensor in (moments.mean, moments.squares)
    ]  # fmt: skip
    assert held == [None] * 4
    for _ in range(64):
        draws.add(torch.randn(4, 4, 4))
    tensors = [draws.below, draws.images.mean, draws.images.squares, draws.pairs.mean, draws.pairs.squares]
    assert [tensor.shape for tensor in tensors] == [(4, 4, 4)] * 5
    assert draws.waiting is None
    assert draws.rows == []


def test_intervals_hold_a_further_sample() -> None:
    """Central 90 % intervals of 39 samples hold the 40th in 90 % of the cases, whatever the law."""
    values = torch.randn(40, 20_000, generator=torch.Generator().manual_seed(1)).exp()
    draws = Draws(regions=np.eye(20_000, 1, dtype=np.float32).T[:, :1])
    for row in values[:39]:
        draws.add(row[:1])
    draws.rows = list(values[:39])
    low, high = draws.result().interval()
    assert ((low <= values[39].numpy()) & (values[39].numpy() <= high)).mean() == pytest.approx(0.9, abs=0.01)
    draws.rows = draws.rows[:18]
    with pytest.raises(InputError, match="needs 19 samples, not 18"):
        draws.result().interval()


def test_command_line_writes_the_distribution(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """With the model that ships, on the template: temperatures by level, pairs, the share below, region means."""
    for scan, name in zip(coarse_template(3), ("t1", "mask"), strict=True):
        write_scan(scan, tmp_path / f"{name}.nii.gz")
    t1, out = str(tmp_path / "t1.nii.gz"), tmp_path / "out"
    out.mkdir()
    options = ["--temperature", "0.5,0.8,1", "--samples", "4", "--antithetic", "--below", "1.2", "--regions"]
    more = ["--mask", str(tmp_path / "mask.nii.gz"), "--age", "70", "--output", str(out)]
    assert main(["synthesize", t1, *options, *more]) == 0, capsys.readouterr().err
    (folder,) = out.glob("sub-*/pet")
    names = sorted(path.name.partition("desc-")[2] for path in folder.iterdir() if path.suffix != ".json")
    pets = [f"synthetic{what}_pet.nii.gz" for what in ("Below", "Sd", "")]
    assert names == sorted([*pets, "synthetic_regions.tsv"])
    below, _, mean = (read_scan(next(folder.glob(f"*desc-{name}"))).data for name in pets)
    assert below[mean > 1.6].mean() < 0.2 < 0.8 < below[(mean > 0.5) & (mean < 0.9)].mean()
    table = [line.split("\t") for line in next(folder.glob("*.tsv")).read_text().splitlines()]
    assert table[0] == ["region", "mean", "sd", "low90", "high90"]
    means, low, high = (np.array([float(row[i]) for row in table[1:]]) for i in (1, 3, 4))
    assert ((low < means) & (means < high)).all()
    assert [row[0] for row in table[1:]] == list(REGIONS)
    about = json.loads(next(folder.glob("*desc-synthetic_pet.json")).read_text())
    assert (about["Temperature"], about["Samples"], about["Antithetic"]) == ([0.5, 0.8, 1.0], 4, True)


@pytest.mark.parametrize(
    ("options", "says"),
    [(["--temperature", "0.5,1"], "has 3 levels"), (["--temperature", "hot"], "must be a number"),
     (["--samples", "3", "--antithetic"], "even"), (["--below", "-1"], "above 0")],
)  # fmt: skip
def test_command_line_refuses(options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    t1 = str(resource("Template", "mni152_t1.nii.gz"))
    assert main(["synthesize", t1, "--output", str(tmp_path), *options]) == 2
    assert says in capsys.readouterr().err
