"""Baselines that ``train --method`` trains: they learn, predict, sample, are saved, loaded and resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from DualGlowLib import InputError
from DualGlowLib.baselines.methods import METHODS
from DualGlowLib.baselines.recipe import MethodRecipe
from DualGlowLib.baselines.saved import load_any, load_method
from DualGlowLib.cases.case import Case
from DualGlowLib.model import fit_covariates
from DualGlowLib.preparation.t1 import PreparedT1
from DualGlowLib.synthesis.predictor import DensityPredictor, SamplingPredictor
from DualGlowLib.training.data import T1_SCALE, Cohort
from DualGlowLib.training.loop import Interrupted, Trainer
from DualGlowLib.volumes.grid import Grid

GRID = Grid("toy", (8, 8, 8), (20.0,) * 3)
PET_SCALE = 2.5
SMALL: dict[str, dict] = {"unet": {"widths": [8, 16], "patterns": 4}}
"""Settings with which a network learns the toy in seconds."""
STEPS = {"unet": 150}
ERROR = {"mean": 1.0, "mean-age": 0.85, "linear": 0.85, "unet": 0.3}
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
    unseen = toy(12, 2)
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
def test_a_run_that_was_stopped_comes_to_the_same_bits(tmp_path: Path, method: str) -> None:
    trainer(tmp_path / "whole", method, 3).run()
    with pytest.raises(Interrupted):
        trainer(tmp_path / "run", method, 3, stop=iter([False, True, True, True]).__next__).run()
    torch.manual_seed(3)
    trainer(tmp_path / "run", method, 3).run(resume=True)
    files = [tmp_path / name / "bundle" / "weights.safetensors" for name in ("whole", "run")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_what_was_trained_is_what_is_loaded(tmp_path: Path, method: str) -> None:
    trained = trainer(tmp_path / "run", method, 2).run()
    loaded = load_any(tmp_path / "run" / "bundle")
    state, other = trained.model.state_dict(), loaded.model.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in state)
    assert loaded.pet_scale == loaded.model.pet_scale == PET_SCALE
    card = (tmp_path / "run" / "bundle" / "README.md").read_text(encoding="utf-8")
    assert f"Baseline {METHODS[method].label}" in card
    assert f"| method | {method}," in card
