"""Baselines that ``train --method`` trains: they learn, predict, sample, are saved, loaded and resumed."""

from __future__ import annotations

import copy
import json
import shutil
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.baselines import method as method_module
from DualGlowLib.baselines.method import PET_NOISE
from DualGlowLib.baselines.methods import METHODS
from DualGlowLib.baselines.neural.networks import quickened, unet, with_maps
from DualGlowLib.baselines.neural.residuals import ResidualLaw
from DualGlowLib.baselines.recipe import MethodRecipe
from DualGlowLib.baselines.saved import load_any, load_method, open_method
from DualGlowLib.bundle.bundle import load_bundle
from DualGlowLib.cases.case import Case
from DualGlowLib.model import fit_covariates
from DualGlowLib.preparation.t1 import PreparedT1
from DualGlowLib.synthesis.predictor import DensityPredictor, SamplingPredictor
from DualGlowLib.synthesis.question import Question
from DualGlowLib.training.data import T1_SCALE, Cohort
from DualGlowLib.training.loop import Interrupted, Trainer
from DualGlowLib.training.run import Recipe
from DualGlowLib.training.status import read_status
from DualGlowLib.values import bounded
from DualGlowLib.volumes.grid import GRIDS, Grid
from tiny_training import make_simulated

GRID = Grid("toy", (8, 8, 8), (20.0,) * 3)
PET_SCALE = 2.5
_UNET, _CRITIC = {"widths": [8, 16]}, {"discriminator_width": 8}
SMALL: dict[str, dict] = {
    "unet": {**_UNET, "patterns": 4},
    "flow-matching": {**_UNET, "solver_steps": 4},
    "cgan": {"width": 8, **_CRITIC},
    "ucgan": {**_UNET, **_CRITIC},
    "pix2pix": {**_UNET, **_CRITIC, "discriminator_layers": 1},
    "cvae": {"widths": [8, 8, 16, 16], "latent": 2},
    "iglow": {"depths": [2, 2], "widths": [16, 16], "ascent": 60},
}
"""Settings with which a network learns the toy in seconds."""
STEPS = {"unet": 100, "flow-matching": 120, "cgan": 70, "ucgan": 80, "pix2pix": 120, "cvae": 80, "iglow": 60}
ERROR = {
    "mean": 1.0, "mean-age": 0.85, "linear": 0.85, "unet": 0.55, "flow-matching": 0.45, "cgan": 0.75, "ucgan": 0.7,
    "pix2pix": 0.6, "cvae": 0.5, "iglow": 0.85,
}  # fmt: skip
"""Root mean squared error on cases not trained on, over that of the mean PET."""


def toy(count: int, seed: int) -> Cohort:
    """Smooth T1s of people of different ages; the PET is 0.1 + 0.5 · T1² less up to 0.3 by age, and some noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 3, 3, 3, generator=generator)
    t1 = F.interpolate(coarse, size=GRID.shape, mode="trilinear")
    ages = 50 + 40 * torch.rand(count, generator=generator)
    pet = 0.4 + 0.5 * t1.square() - 0.3 * ((ages - 50) / 40).reshape(-1, 1, 1, 1, 1)
    pet = pet + 0.02 * torch.randn(pet.shape, generator=generator)
    people = [{"age": f"{age:.3f}", "sex": "FM"[i % 2]} for i, age in enumerate(ages)]
    cases = [Case(f"{seed}-{i}", f"{seed}-{i}", Path("t1"), Path("pet"), one) for i, one in enumerate(people)]
    return Cohort(t1.half(), pet.half(), cases, PET_SCALE)


def asked(cohort: Cohort, index: int) -> tuple[PreparedT1, dict, np.ndarray]:
    """What a method is asked for a case, and the true PET."""
    t1 = cohort.t1[index, 0].float().numpy() * T1_SCALE
    truth = cohort.pet[index, 0].float().numpy() * PET_SCALE
    return PreparedT1(GRID, t1, t1 > 0), cohort.cases[index].attributes, truth


def trainer(folder: Path, method: str, steps: int | None = None, **others) -> Trainer:
    """A run on the toy, flips and changes of intensity left out."""
    recipe, train = MethodRecipe(method), toy(24, 0)
    config = recipe.config(None, SMALL.get(method, {}), GRID.shape)
    config = replace(config, covariates=fit_covariates(config.covariates, [case.attributes for case in train.cases]))
    settings = replace(
        recipe.settings(), steps=steps or STEPS.get(method, 1), batch=4, warmup=5, learning_rate=3e-3, ema=0.9,
        augment=False, covariate_dropout=0.0, validate_every=50, checkpoint_every=1000,
    )  # fmt: skip
    return recipe.trainer(folder, config, settings, GRID, train, toy(6, 1), **others)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each method, at its end."""
    found = {}
    for method in METHODS:
        torch.manual_seed(7)  # which must not matter
        found[method] = tmp_path_factory.mktemp("runs") / method
        trainer(found[method], method).run()
    return found


def error(predictor, cohort: Cohort) -> float:
    pairs = [(predictor.predict(*one[:2]), one[2]) for one in (asked(cohort, i) for i in range(len(cohort)))]
    return float(np.sqrt(np.mean([np.square(image - truth).mean() for image, truth in pairs])))


@pytest.mark.parametrize("method", METHODS)
def test_each_learns_the_toy(runs: dict[str, Path], method: str) -> None:
    unseen = toy(6, 2)
    predictor = load_method(runs[method] / "bundle", "cpu")
    assert error(predictor, unseen) <= ERROR[method] * error(load_method(runs["mean"] / "bundle", "cpu"), unseen)


@pytest.mark.parametrize("method", METHODS)
def test_each_is_a_predictor(runs: dict[str, Path], method: str) -> None:
    predictor = load_method(runs[method] / "bundle", "cpu")
    prepared, covariates, truth = asked(toy(1, 2), 0)
    kept = prepared.t1.copy()
    image = predictor.predict(prepared, covariates)
    assert image.dtype == np.float32
    assert image.shape == GRID.shape
    assert (image >= 0).all()
    assert np.array_equal(prepared.t1, kept)
    assert np.isfinite(predictor.predict(prepared, {})).all()  # nothing is known of the person
    assert np.array_equal(predictor.predict(prepared, covariates), image)
    if isinstance(predictor, SamplingPredictor):
        samples = list(predictor.sample(prepared, covariates, 3, 5))
        torch.manual_seed(99)
        assert all(map(np.array_equal, samples, predictor.sample(prepared, covariates, 2, 5)))
        assert not np.array_equal(samples[0], samples[1])
        assert not np.array_equal(samples[0], next(iter(predictor.sample(prepared, covariates, 1, 6))))
    if isinstance(predictor, DensityPredictor):
        likely = predictor.log_prob(prepared, covariates, truth)
        assert likely > predictor.log_prob(prepared, covariates, 1.2 * truth)
    with pytest.raises(InputError, match="another grid"):
        predictor.predict(PreparedT1(Grid("other", (8, 8, 16), (9.0,) * 3), np.ones((8, 8, 16)), kept > 0), covariates)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_was_stopped_and_its_bundle_have_the_same_bits(tmp_path: Path, method: str) -> None:
    trained = trainer(tmp_path / "whole", method, 3).run()
    steps_before = 0 if METHODS[method].is_closed else 1
    with pytest.raises(Interrupted):
        trainer(tmp_path / "run", method, 3, stop=iter([False] * steps_before + [True]).__next__).run()
    torch.manual_seed(3)
    trainer(tmp_path / "run", method, 3).run(resume=True)
    files = [tmp_path / name / "bundle" / "weights.safetensors" for name in ("whole", "run")]
    assert files[0].read_bytes() == files[1].read_bytes()
    loaded = load_any(tmp_path / "whole" / "bundle")
    state, other = trained.model.state_dict(), loaded.model.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in state)
    assert loaded.pet_scale == loaded.model.pet_scale == PET_SCALE
    card = (tmp_path / "run" / "bundle" / "README.md").read_text(encoding="utf-8")
    assert f"Baseline {METHODS[method].label}" in card
    assert f"| method | {method}," in card


KNOWING = [name for name, kind in METHODS.items() if kind.covariates and name not in ("mean", "iglow")]


@pytest.mark.parametrize("method", KNOWING)
def test_age_changes_the_pet_of_each_that_knows_it(runs: dict[str, Path], method: str) -> None:
    """As maps, which a normalisation by instance would take away."""
    predictor = load_method(runs[method] / "bundle", "cpu")
    prepared, _, _ = asked(toy(1, 2), 0)
    young, old = (predictor.predict(prepared, {"age": age, "sex": "F"}).mean() for age in (55, 85))
    assert young - old > 0.2 * 0.3 * (30 / 40) * PET_SCALE  # a fifth of what the law says


def test_intervals_of_the_unet_hold_what_they_promise(runs: dict[str, Path]) -> None:
    """Of the mean of all voxels, which independent residuals would be far too sure of."""
    predictor, unseen = load_method(runs["unet"] / "bundle", "cpu"), toy(40, 3)
    inside = []
    for index in range(len(unseen)):
        prepared, covariates, truth = asked(unseen, index)
        means = [sample.mean() for sample in predictor.sample(prepared, covariates, 40, index)]
        low, high = np.quantile(means, (0.05, 0.95), method="weibull")
        inside.append(low <= truth.mean() <= high)
    assert 0.7 <= np.mean(inside) <= 1.0


def test_the_density_of_the_residuals_is_that_of_their_gaussian() -> None:
    law, generator = ResidualLaw((4, 2, 2), 3), torch.Generator().manual_seed(0)
    residuals = 0.1 * torch.randn(30, 1, 1, 1, generator=generator) + 0.02 * torch.randn(
        30, 4, 2, 2, generator=generator
    )
    law.fit(residuals, residuals[:0])
    patterns = law.patterns.flatten(1).double()
    covariance = patterns.T @ patterns + torch.diag(law.variance.flatten().double())
    drawn = torch.stack(list(law.draw(4000, 1))).flatten(1).double()
    torch.testing.assert_close(torch.cov(drawn.T), covariance, rtol=0.1, atol=2e-4)
    moments = (residuals.flatten(1).double().T @ residuals.flatten(1).double() / 30).diagonal()
    torch.testing.assert_close(covariance.diagonal(), moments + PET_NOISE**2, rtol=1e-4, atol=1e-7)
    noise = PET_NOISE * torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(0))
    full = torch.distributions.MultivariateNormal(torch.zeros(16, dtype=torch.float64), covariance)
    expected = full.log_prob((residuals[0] + noise).flatten().double())
    assert law.log_prob(residuals[0]) == pytest.approx(float(expected), rel=1e-4)


def test_residuals_of_held_out_cases_set_the_size() -> None:
    law, residuals = ResidualLaw((4, 4, 4), 2), 0.01 * torch.randn(12, 4, 4, 4)
    law.fit(residuals, 5 * residuals[:6])
    spread = torch.stack(list(law.draw(200, 0))).square().mean().sqrt()
    assert float(spread) == pytest.approx(0.05, rel=0.1)


# ---- the commands


def test_the_commands_take_a_baseline_as_they_take_the_model(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cohort, run = make_simulated(tmp_path / "cohort", 8), tmp_path / "run"
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"method": "unet", "model": {"widths": [8, 8]}, "training": {"validation": 0.3}}))
    train = ["train", str(cohort), "--method", "unet", "--config", str(settings), "--output", str(run), "--steps", "2"]
    assert main(train) == 0
    bundle, report = str(run / "bundle"), tmp_path / "report.json"
    assert read_status(run).arguments[:1] == [str(cohort)]
    assert "--method" in read_status(run).arguments
    assert main(["evaluate", bundle, str(cohort), "--output", str(report), "--samples", "2"]) == 0
    found = json.loads(report.read_text())
    assert found["method"] == "unet"
    assert {"model", "model, mean of 2", "mean PET"} <= set(found["summary"])
    assert "nll_bits" in found["summary"]["model"]
    capsys.readouterr()
    assert main(["bundle", "inspect", bundle]) == 0
    assert "method  unet" in capsys.readouterr().out
    assert main(["bundle", "verify", bundle]) == 0
    calibrate = [str(cohort), "--level", "0.5", "--samples", "2"]
    assert main(["calibrate", bundle, *calibrate]) == 0
    assert main(["bundle", "verify", bundle]) == 0
    mean = ["train", str(cohort), "--method", "mean", "--output", str(tmp_path / "mean")]
    assert main(mean) == 0
    capsys.readouterr()
    assert main(["calibrate", str(tmp_path / "mean" / "bundle"), *calibrate]) == 2
    assert "draws no samples, so that it has no intervals" in capsys.readouterr().err
    assert main(["evaluate", bundle, str(cohort), "--output", str(report), "--leakage"]) == 2
    assert "--leakage probes the latents of DUAL-GLOW" in capsys.readouterr().err
    publish = ["bundle", "publish", bundle, "--output", str(tmp_path / "offered"), "--licence", "CC-BY-4.0"]
    assert main([*publish, "--evaluation", str(report)]) == 0
    assert "| model, 8 cases not trained on | PSNR dB" in (tmp_path / "offered" / "README.md").read_text("utf-8")
    command = ["train", str(cohort), "--config", str(settings), "--output", str(tmp_path / "other"), "--method"]
    for method, says in (("mean", "is for the method 'unet'"), ("unix", "There is no method 'unix'")):
        assert main([*command, method]) == 2
        assert says in capsys.readouterr().err
    assert main(["train", "--help"]) == 0
    assert ",".join(METHODS).replace(",iglow", "origlow") in "".join(capsys.readouterr().out.split())
    assert main([*command, "unet", "--print-config"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["method"] == "unet"
    assert printed["model"]["widths"] == [8, 8]
    settings.write_text(json.dumps(printed))
    assert main([*command, "unet", "--print-config"]) == 0
    assert json.loads(capsys.readouterr().out) == printed


def test_what_is_refused(tmp_path: Path, runs: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="no method 'unix'; there are mean, mean-age"):
        MethodRecipe("unix")
    with pytest.raises(InputError, match="'paper' is a preset of DUAL-GLOW"):
        MethodRecipe("unet").config("paper", {}, GRID.shape)
    with pytest.raises(InputError, match="'width' is no setting"):
        MethodRecipe("unet").config(None, {"width": 3}, GRID.shape)
    with pytest.raises(InputError, match="does not divide by 16"):
        MethodRecipe("unet").config(None, {"widths": [8] * 5}, GRID.shape)
    with pytest.raises(InputError, match="is a bundle of the baseline cvae, which this can't take"):
        load_bundle(runs["cvae"] / "bundle")
    shutil.copytree(runs["unet"], tmp_path / "other")
    with pytest.raises(InputError, match="another model or grid"):
        trainer(tmp_path / "other", "ucgan").run(resume=True)


def test_without_monai_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    with pytest.raises(InputError, match=r"The method unet needs the Python package MONAI; install it with: pip"):
        MethodRecipe("unet").config(None, {}, GRID.shape)
    assert MethodRecipe("linear").config(None, {}, GRID.shape).method == "linear"


def test_a_session_draws_by_a_baseline(runs: dict[str, Path]) -> None:
    one, none = open_method(runs["flow-matching"] / "bundle", "cpu"), open_method(runs["mean"] / "bundle", "cpu")
    encoding = one.encode_prepared(asked(toy(1, 2), 0)[0].t1)
    found = one.distribution(encoding, Question({"age": 70.0}, 1.0, 4, 3))
    assert found.samples == 4
    later = list(one.images(encoding, Question({"age": 70.0}, 1.0, 2, 3, first=2)))
    direct = list(one.model.sample(encoding, {"age": 70.0}, 4, 3))
    assert np.array_equal(later[1].numpy(), direct[3])
    for asking, match in (
        (Question({"age": 70.0}, 0.5), "takes the temperature 0 or 1, not 0.5"),
        (Question({"age": 70.0}, 1.0, 2, antithetic=True), "no antithetic samples"),
        (Question({"apoe": "e4"}), "doesn't know apoe"),
    ):
        with pytest.raises(InputError, match=match):
            one.check(asking)
    with pytest.raises(InputError, match="0 alone, as it draws no samples, not 1"):
        none.check(Question({}, 1.0, 2))


def test_regression_on_age_needs_an_age(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", "mean-age")
    run.model.config = replace(run.model.config, covariates=())
    with pytest.raises(InputError, match="No case has an age"):
        run.run()


def test_the_baseline_of_the_page_for_developers_goes_through_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = textwrap.dedent(page[page.index("  @dataclass(frozen=True)\n  class Conv") :].partition("  ```")[0])
    assert len(code.splitlines()) <= 30
    namespace = dict(vars(method_module), nn=nn, bounded=bounded, with_maps=with_maps, dataclass=dataclass)
    exec(code, namespace)
    monkeypatch.setitem(METHODS, "convolution", namespace["ConvolutionMethod"])
    trainer(tmp_path / "run", "convolution", 60).run()
    trainer(tmp_path / "mean", "mean").run()
    found, usual = (load_method(tmp_path / name / "bundle", "cpu") for name in ("run", "mean"))
    assert error(found, toy(6, 2)) < 0.9 * error(usual, toy(6, 2))


@pytest.mark.parametrize("method", [name for name, kind in METHODS.items() if not kind.is_closed])
def test_each_network_is_of_the_size_of_the_model(method: str) -> None:
    def weights(recipe: Recipe) -> int:
        with torch.device("meta"):
            model = recipe.model(recipe.config(None, {}, GRIDS["medium"].shape))
        return sum(parameter.numel() for parameter in model.parameters())

    assert 0.5 < weights(MethodRecipe(method)) / weights(Recipe()) < 2


@pytest.mark.parametrize("method", METHODS)
def test_each_can_be_brought_to_a_device(tmp_path: Path, method: str) -> None:
    """On others than the CPU, a run lays the model's images out for convolutions there."""
    made = trainer(tmp_path / "run", method, device="meta")
    assert {tensor.device.type for tensor in made.model.state_dict().values()} == {"meta"}


def test_a_quickened_network_computes_the_same() -> None:
    net = unet("unet", 3, 2, (8, 16))
    nn.init.normal_(net[-1].weight)
    image, faster = torch.randn(1, 2, 8, 8, 8), quickened(copy.deepcopy(net))
    assert any(type(module) is not nn.Conv3d for module in faster.modules() if isinstance(module, nn.Conv3d))
    torch.testing.assert_close(faster(image), net(image), rtol=1e-4, atol=1e-4)
