"""Conditional DUAL-GLOW: what the covariates reach in each mode, discriminators, gradient reversal, leakage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from DualGlowLib import InputError
from DualGlowLib.bundle.bundle import Bundle, load_bundle, save_bundle
from DualGlowLib.cases.case import Case
from DualGlowLib.evaluation.leakage import leakage, leakage_table, probe
from DualGlowLib.model import (
    DEFAULT_COVARIATES,
    Covariate,
    Discriminator,
    DualGlow,
    LinkOutput,
    ModelConfig,
    covariate_loss,
    encode_covariates,
    preset,
    reverse_gradient,
)
from DualGlowLib.model.discriminators import surprise
from DualGlowLib.model.reversal import reversal_factor
from DualGlowLib.training.data import Cohort
from DualGlowLib.training.loop import Interrupted, Trainer
from DualGlowLib.training.settings import TrainingSettings
from DualGlowLib.volumes.grid import Grid

AGE, SEX, DIAGNOSIS = DEFAULT_COVARIATES
APOE = Covariate("apoe", "categorical", values=("33", "34", "44"))
PERSON = {"age": 82, "sex": "F", "diagnosis": "AD"}
GRID = Grid("tiny", (8, 16, 8), (10.0, 10.0, 10.0), (0.0, -17.0, 5.0))


def tiny(name: str, dims: int, **changes: object) -> ModelConfig:
    """A preset with three levels of one step on 8×16×8 or 8×16."""
    flow = {"depths": [1, 1, 1], "widths": [4, 4, 4]}
    config = preset(name, (16,) * dims, mri=flow, pet=flow)
    return replace(config, shape=GRID.shape[:dims]).updated(changes)


def moved(config: ModelConfig) -> DualGlow:
    """A model off the zeros that most networks start at."""
    torch.manual_seed(1)
    model = DualGlow(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def latents(model: DualGlow, cases: int = 2) -> list[torch.Tensor]:
    shapes = model.mri_flow.latent_shapes(model.config.shape)
    return [torch.randn(cases, *shape, dtype=torch.float64) for shape in shapes]


def codes(model: DualGlow, *cases: dict) -> torch.Tensor:
    return encode_covariates(model.config.covariates, cases).double()


def law_output(model: DualGlow, z: list[torch.Tensor], code: torch.Tensor) -> LinkOutput:
    with torch.no_grad():
        return model.link.decode(model.link.encode(z), code)


def law(model: DualGlow, z: list[torch.Tensor], code: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    out = law_output(model, z, code)
    return list(zip(out.means, out.log_sigmas, strict=True))


def same(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# ---- the modes


@pytest.mark.parametrize("dims", [2, 3])
def test_paper_mode_is_equations_16_and_17(dims: int) -> None:
    """The top law follows from the covariates alone, each lower one from the MRI's code of its own level alone."""
    model = moved(tiny("paper-conditional", dims))
    z = latents(model)
    young, old = (codes(model, {**PERSON, "age": age}, PERSON) for age in (60, 90))
    usual, aged = law(model, z, young), law(model, z, old)
    assert same(usual[0], aged[0])
    assert same(usual[1], aged[1])
    assert not torch.allclose(usual[2][0][0], aged[2][0][0])  # mean
    assert not torch.allclose(usual[2][1][0], aged[2][1][0])  # log-sigma
    for level in range(3):
        other = [torch.randn_like(x) if i == level else x for i, x in enumerate(z)]
        changed = [not same(a, b) for a, b in zip(usual, law(model, other, young), strict=True)]
        assert changed == [level == 0, level == 1, False]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("learned_top", [False, True])
def test_release_mode_as_the_authors_compute(dims: int, learned_top: bool) -> None:
    """mean = leaky(… leaky(conv₅(z))) + (cW + b)·e^{3·logs}, and at the top a learned map of the edge; sigma = 1."""
    link = {"layers": 3, "hidden": 6, "learned_top": learned_top}
    model = moved(tiny("authors", dims, link=link))
    z, code = latents(model), codes(model, PERSON, {"age": 55})
    weights = dict(model.link.named_parameters())
    conv = {2: F.conv2d, 3: F.conv3d}[dims]

    def spread(values: torch.Tensor) -> torch.Tensor:
        return values.reshape(len(values), -1, *[1] * dims)

    for level, (mean, log_sigma) in enumerate(law(model, z, code)):
        expected = z[level]
        for layer, pad in ((0, 2), (2, 1), (4, 1)):
            weight = weights[f"nets.{level}.{layer}.weight"]
            assert set(weight.shape[2:]) == {2 * pad + 1}
            expected = F.leaky_relu(conv(expected, weight, padding=pad), 0.2)
        shift, bias, logs = (weights[f"shifts.{level}.{name}"] for name in ("weight", "bias", "log_scale"))
        expected = expected + spread((code @ shift + bias) * torch.exp(3 * logs))
        expected_log_sigma = torch.zeros(1, dtype=torch.float64)
        if learned_top and level == 2:
            edge, bias, logs = (weights[f"learned.{name}"] for name in ("edge_weight", "bias", "log_scale"))
            frame = F.pad(torch.zeros(1, 1, *z[2].shape[2:], dtype=torch.float64), [1] * (2 * dims), value=1.0)
            top = (conv(frame, edge) + spread(bias[None])) * torch.exp(3 * spread(logs[None]))
            half = top.shape[1] // 2
            expected, expected_log_sigma = expected + top[:, :half], top[:, half:]
        torch.testing.assert_close(mean, expected)
        torch.testing.assert_close(log_sigma, expected_log_sigma)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["standard", "paper"])
def test_without_conditioning_covariates_change_nothing(name: str, dims: int) -> None:
    model = moved(tiny(name, dims, covariates=["age"], conditioning="none"))
    mri = torch.rand(1, 1, *model.config.shape, dtype=torch.float64)
    with torch.no_grad():
        pet = model.sample(model.encode(mri), codes(model, {"age": 50}, {"age": 90}), 0.0)
    assert pet.shape == (2, 1, *model.config.shape)
    assert torch.equal(pet[0], pet[1])


@pytest.mark.parametrize("dims", [2, 3])
def test_film_of_the_levelwise_link_scales_and_shifts(dims: int) -> None:
    """The covariates' effect on the mean is an affine function of what the MRI says, the same at every place."""
    model = moved(tiny("paper", dims, conditioning="film"))
    z = latents(model, 1)
    young, old = (law(model, z, codes(model, {**PERSON, "age": age})) for age in (60, 90))
    for (mean, _), (aged, _) in zip(young, old, strict=True):
        x, y = mean[0].flatten(1), aged[0].flatten(1)
        if x.shape[1] < 3:
            continue
        slope = ((x - x.mean(1, keepdim=True)) * y).sum(1) / (x - x.mean(1, keepdim=True)).square().sum(1)
        assert not torch.allclose(slope, torch.ones_like(slope))
        fit = y.mean(1, keepdim=True) + slope[:, None] * (x - x.mean(1, keepdim=True))
        torch.testing.assert_close(y, fit)


@pytest.mark.parametrize("dims", [2, 3])
def test_residual_mode_sees_covariates_less_their_guess(dims: int) -> None:
    """Who has the age that the MRI suggests differs from one of unknown age by the flag alone."""
    model = moved(tiny("standard", dims, conditioning="residual", covariates=["age", "sex"]))
    z = latents(model, 1)
    guess = law_output(model, z, codes(model, {})).guess
    told = torch.cat([guess[:, :1], torch.ones(1, 1), F.softmax(guess[:, 1:], 1)], 1).double()
    flag = torch.tensor([[0.0, 1.0, 0.0, 0.0]]).double()
    expected = surprise(model.config.covariates, guess, told)
    torch.testing.assert_close(expected, flag)
    older = told + torch.tensor([[1.5, 0.0, 0.25, -0.25]]).double()
    residual = surprise(model.config.covariates, guess, older)
    torch.testing.assert_close(residual, flag + torch.tensor([[1.5, 0.0, 0.25, -0.25]]).double())
    assert not surprise(model.config.covariates, guess, torch.zeros(1, 4).double()).any()
    images = [law_output(model, z, code).image[0] for code in (told, older)]
    assert not torch.allclose(*images)

    pet, mri = torch.rand(2, 1, 1, *model.config.shape, dtype=torch.float64)
    known = codes(model, PERSON)
    objective = model(pet, mri, torch.zeros_like(known), known)
    assert objective.discriminators["link"] > 0
    plain = model(pet, mri, torch.zeros_like(known)).loss
    torch.testing.assert_close(objective.loss - plain, 0.01 * objective.discriminators["link"])


def test_old_configurations_give_the_function_they_gave() -> None:
    """Those of earlier bundles have none of the newer fields."""
    for name in ("standard", "authors"):
        values = json.loads(json.dumps(preset(name, (48, 64, 48)).to_dict()))
        del values["discriminators"]
        for newer in ("conditioning", "learned_top", "guess_weight"):
            del values["link"][newer]
        assert ModelConfig.from_dict(values) == preset(name, (48, 64, 48))


# ---- gradient reversal and discriminators


def test_reversal_is_identity_forward_and_minus_factor_backward() -> None:
    z = torch.randn(3, 4, requires_grad=True)
    weight = torch.randn(3, 4)
    out = reverse_gradient(z, 0.3)
    assert torch.equal(out, z)
    (out * weight).sum().backward()
    torch.testing.assert_close(z.grad, -0.3 * weight)
    assert [reversal_factor("constant", p) for p in (0.0, 1.0)] == [1.0, 1.0]
    ramp = [reversal_factor("ramp", p) for p in (0.0, 0.1, 1.0)]
    assert ramp == pytest.approx([0.0, 0.46212, 0.99991], abs=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_only_the_lower_levels_of_the_mri_are_reversed(dims: int) -> None:
    """What reaches each latent is the discriminators' own gradient, times −reversal below the top of the MRI."""
    model = moved(tiny("paper-conditional", dims, discriminators={"reversal": 0.5, "schedule": "ramp"}))
    nets = model.discriminators
    mri = [z.requires_grad_() for z in latents(model)]
    pet = [z.requires_grad_() for z in latents(model)]
    targets = codes(model, PERSON, {"age": 55, "sex": "M"})
    losses = nets(mri, pet, targets, progress=0.1)
    assert list(losses) == ["mri_1", "mri_2", "mri_3", "pet"]
    found = torch.autograd.grad(sum(losses.values()).sum(), [*mri, pet[2]])
    plain = [net(z) for net, z in zip([*nets.mri, nets.pet], [*mri, pet[2]], strict=True)]
    total = sum(covariate_loss(model.config.covariates, y, targets).sum() for y in plain)
    expected = torch.autograd.grad(total, [*mri, pet[2]])
    factor = -0.5 * reversal_factor("ramp", 0.1)
    for gradient, own, sign in zip(found, expected, (factor, factor, 1.0, 1.0), strict=True):
        assert own.abs().max() > 0
        torch.testing.assert_close(gradient, sign * own)


def test_heads_have_the_loss_of_their_kind() -> None:
    covariates = (AGE, APOE)
    targets = encode_covariates(covariates, [{"age": 82, "apoe": "44"}, {"age": 58, "apoe": "33"}])
    outputs = torch.randn(2, 4)
    expected = (outputs[:, 0] - torch.tensor([1.0, -1.0])).square()
    expected = expected + F.cross_entropy(outputs[:, 1:], torch.tensor([2, 0]), reduction="none")
    torch.testing.assert_close(covariate_loss(covariates, outputs, targets), expected)


def test_what_is_missing_costs_and_teaches_nothing() -> None:
    targets = encode_covariates(DEFAULT_COVARIATES, [{}, {"sex": "M"}, PERSON])
    outputs = torch.randn(3, 6, requires_grad=True)
    loss = covariate_loss(DEFAULT_COVARIATES, outputs, targets)
    loss.sum().backward()
    assert loss[0] == 0
    assert not outputs.grad[0].any()
    torch.testing.assert_close(loss[1], F.cross_entropy(outputs[1:2, 1:3], torch.tensor([1])))
    assert not outputs.grad[1, [0, 3, 4, 5]].any()
    assert outputs.grad[2].all()


def test_discriminators_are_as_deep_as_their_level_is_large() -> None:
    for shape, strides in (
        ((4, 32, 48, 32), [2, 2, 2]), ((16, 16, 24, 16), [2, 2]), ((64, 8, 12, 8), [2]), ((512, 4, 6, 4), [1]),
        ((2, 16, 16), [2, 2]),
    ):  # fmt: skip
        net = Discriminator(shape, (AGE, SEX), 8, 16)
        convolutions = [layer for layer in net.net if hasattr(layer, "stride")]
        assert [layer.stride[0] for layer in convolutions] == strides
        assert net(torch.randn(2, *shape)).shape == (2, 3)


def test_discriminators_see_what_the_link_is_not_told() -> None:
    model = moved(tiny("paper-conditional", 2))
    pet, mri = torch.rand(2, 2, 1, *model.config.shape, dtype=torch.float64)
    known = codes(model, PERSON, PERSON)
    told, hidden = model(pet, mri, known), model(pet, mri, torch.zeros_like(known), known)
    assert torch.equal(told.discriminators["mri_1"], hidden.discriminators["mri_1"])
    assert not torch.equal(told.pet_bits, hidden.pet_bits)
    assert not model(pet, mri, torch.zeros_like(known)).discriminators["mri_1"].any()


# ---- training and the bundle


def cohort(count: int, dims: int, seed: int = 0) -> Cohort:
    """Images whose brightness is the age's, and whose noise tells nothing of the sex."""
    generator = torch.Generator().manual_seed(seed)
    ages = 55 + 30 * torch.rand(count, generator=generator)
    t1 = torch.rand(count, 1, *GRID.shape[:dims], generator=generator)
    t1 = t1 * 0.5 + ((ages - 55) / 60).reshape(-1, 1, *[1] * dims)
    sexes = torch.rand(count, generator=generator) < 0.5
    people = [{"age": f"{age:.1f}", "sex": "FM"[int(sex)]} for age, sex in zip(ages, sexes, strict=True)]
    people[0] = {"sex": "F"}
    cases = [Case(f"s{i}", f"s{i}", Path(), Path(), person) for i, person in enumerate(people)]
    return Cohort((t1 / 1.5).half(), t1.flip(2).half() / 2, cases, 2.0)


def trainer(folder: Path, stop_after: int | None = None) -> Trainer:
    config = tiny("paper-conditional", 3, covariates=["age", "sex"], discriminators={"schedule": "ramp", "width": 4})
    settings = TrainingSettings(steps=6, warmup=1, initialize_with=4, checkpoint_every=2, covariate_dropout=0.5)
    cases = cohort(8, 3)
    events: list[dict] = []
    stop = (lambda: len(events) == stop_after) if stop_after else None
    sides = cases.subset(range(6)), cases.subset([6, 7])
    return Trainer(folder, config, settings, GRID, *sides, report=events.append, stop=stop)


def test_training_records_every_discriminator_and_resumes_to_the_bit(tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    bundle = trainer(whole).run()
    with pytest.raises(Interrupted):
        trainer(parted, stop_after=3).run()
    resumed = trainer(parted).run(resume=True)
    assert bundle.config.discriminators.weight == 0.01

    def history(folder: Path) -> list[dict]:
        lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]

    assert history(parted) == history(whole)
    last = history(whole)[-1]
    for name in ("mri_1", "mri_2", "mri_3", "pet"):
        assert last[f"discriminator_{name}"] > 0
        assert last[f"validation_discriminator_{name}"] > 0
    mine, theirs = resumed.model.state_dict(), bundle.model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    other = trainer(parted)
    other.config = other.config.updated({"discriminators": {"reversal": 0.5}})
    with pytest.raises(InputError, match="another model"):
        other.run(resume=True)
    assert "gradient reversal" in (whole / "bundle" / "README.md").read_text()


@pytest.mark.parametrize("dims", [2, 3])
def test_configuration_survives_the_bundle(tmp_path: Path, dims: int) -> None:
    config = tiny("paper-conditional", dims, covariates=["age", APOE.to_dict()], discriminators={"schedule": "ramp"})
    model = DualGlow(config).eval()
    save_bundle(Bundle(model, GRID, 1.5, 3.0, "tiny"), tmp_path, "# tiny\n")
    again = load_bundle(tmp_path)
    assert again.config == config
    assert set(again.model.state_dict()) == set(model.state_dict())


# ---- leakage


def test_probe_finds_a_planted_leak_and_nothing_in_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, 300, generator=generator).double()
    age = torch.randn(120, generator=generator).double()
    numeric = torch.stack([age, torch.ones_like(age)], 1)
    group = F.one_hot(torch.randint(0, 3, (120,), generator=generator), 3).double()
    assert probe([x], numeric, AGE)["p"] > 0.05
    assert probe([x], group, DIAGNOSIS)["p"] > 0.05

    leaky, spread = x.clone(), x.clone()
    leaky[:, :20] += 0.7 * age[:, None]
    found = probe([leaky], numeric, AGE)
    assert found["p"] < 0.01
    assert found["r2"] > 0.5 > found["null_95"]
    assert found["mae"] < 0.7 * found["mae_of_mean"]
    spread[:, :20] += group[:, 1:2]
    found = probe([spread], group, DIAGNOSIS)
    assert found["p"] < 0.01
    assert found["auc"] > 0.65 > found["null_95"]
    assert found["balanced_accuracy"] > found["chance"] + 0.1
    # In two blocks, of which the second is noise, it is found as well.
    assert probe([leaky, torch.randn(120, 50, generator=generator).double()], numeric, AGE)["p"] < 0.01


@pytest.mark.parametrize("dims", [2, 3])
def test_leakage_report_of_a_model(dims: int) -> None:
    model = DualGlow(tiny("paper-conditional", dims, covariates=["age", "sex"])).eval()
    cases = cohort(60, dims)
    cases.cases[1] = replace(cases.cases[1], subject="s2")  # two sessions of one subject count once
    result = leakage(model, cases, permutations=100)
    assert result["cases"] == 59
    assert list(result["levels"]) == ["image", "1", "2", "3", "below top"]
    for found in result["levels"].values():
        assert found["sex"]["p"] > 0.02
    assert result["levels"]["3"]["age"]["r2"] > 0.8
    assert result["levels"]["3"]["age"]["p"] == pytest.approx(1 / 101)
    text = leakage_table(result)
    assert "| 3 | age | R² 0.9" in text
    assert "59 subjects" in text
    with pytest.raises(InputError, match="too few"):
        leakage(model, cases.subset(range(10)))
