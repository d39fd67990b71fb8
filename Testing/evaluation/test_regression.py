"""Regressions as baselines: they find a law that is linear, in each voxel, and draw with its residuals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.baselines.regression import RegressedPET, grey_matter
from DualGlowLib.bundle.files import DEFAULT_BUNDLE
from DualGlowLib.cases.case import Case
from DualGlowLib.preparation.t1 import PreparedT1
from DualGlowLib.resources import resource
from DualGlowLib.simulate.cohort import simulate_cohort
from DualGlowLib.training.data import T1_SCALE, Cohort
from DualGlowLib.volumes.grid import Grid

GRID = Grid("toy", (12, 10, 8), (4.0, 4.0, 4.0), (0.0, 0.0, 0.0))
SLOPE = -0.01  # SUVR a year
NOISE = 0.05


def law(t1: np.ndarray, age: float, sex: str) -> np.ndarray:
    return 1.5 + SLOPE * (age - 70) + (0.2 if sex == "F" else 0.0) + 0.8 * grey_matter(t1)


def cohort(count: int, seed: int) -> Cohort:
    rng = np.random.default_rng(seed)
    t1 = rng.uniform(0.2, 1.2, (count, *GRID.shape)).astype(np.float32)
    ages, sexes = rng.uniform(50, 90, count), rng.choice(["F", "M"], count)
    pet = np.stack([law(*one) for one in zip(t1, ages, sexes, strict=True)]) + rng.normal(0, NOISE, t1.shape)
    cases = [
        Case(f"{i}", f"{i}", Path(), None, {"age": f"{age}", "sex": sex})
        for i, (age, sex) in enumerate(zip(ages, sexes, strict=True))
    ]
    as_images = [torch.from_numpy(np.asarray(x, np.float32))[:, None].half() for x in (t1 / T1_SCALE, pet / 4.0)]
    return Cohort(*as_images, cases, 4.0)


def error(method: RegressedPET, held: Cohort) -> float:
    found = []
    for i, case in enumerate(held.cases):
        prepared = PreparedT1(GRID, held.t1[i, 0].float().numpy() * T1_SCALE, np.ones(GRID.shape, bool))
        found.append(method.predict(prepared, case.attributes) - 4.0 * held.pet[i, 0].float().numpy())
    return float(np.sqrt(np.mean(np.square(found))))


def test_each_finds_what_it_can_know() -> None:
    train, held = cohort(120, 0), cohort(20, 1)
    alone, both = RegressedPET.fit(train), RegressedPET.fit(train, with_tissue=True)
    assert alone.name == "regression on covariates"
    assert both.name == "regression on covariates and grey matter"
    mean = 4.0 * train.pet.float().mean(0)[0].numpy()
    of_mean = float(np.sqrt(np.mean(np.square(4.0 * held.pet[:, 0].float().numpy() - mean))))
    assert error(both, held) < 1.15 * NOISE
    assert error(both, held) < 0.6 * error(alone, held) < 0.6 * of_mean
    prepared = PreparedT1(GRID, held.t1[0, 0].float().numpy() * T1_SCALE, np.ones(GRID.shape, bool))
    young, old = (both.predict(prepared, {"age": age, "sex": "F"}) for age in (60, 80))
    assert np.mean(old - young) == pytest.approx(20 * SLOPE, rel=0.1)
    unknown = both.predict(prepared, {})
    assert np.isfinite(unknown).all()


def test_draws_spread_as_the_cases_do() -> None:
    train = cohort(120, 0)
    both = RegressedPET.fit(train, with_tissue=True)
    prepared = PreparedT1(GRID, train.t1[0, 0].float().numpy() * T1_SCALE, np.ones(GRID.shape, bool))
    drawn = np.array(list(both.sample(prepared, train.cases[0].attributes, 200, 3)))
    assert drawn.std(0).mean() == pytest.approx(NOISE, rel=0.1)
    again = np.array(list(both.sample(prepared, train.cases[0].attributes, 50, 3)))
    np.testing.assert_array_equal(again, drawn[:50])


def test_too_few_cases_or_another_grid() -> None:
    with pytest.raises(InputError, match="5 cases are too few"):
        RegressedPET.fit(cohort(5, 0))
    other = Grid("other", (12, 10, 9), (4.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="another grid than other"):
        RegressedPET.fit(cohort(20, 0)).predict(
            PreparedT1(other, np.zeros(other.shape), np.ones(other.shape, bool)), {}
        )


def test_evaluate_with_baselines(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train = simulate_cohort(tmp_path / "train", 14, "medium", seed=21)
    held, report = simulate_cohort(tmp_path / "held", 2, "medium", seed=22), tmp_path / "report.json"
    bundle = str(resource("Models", DEFAULT_BUNDLE))
    command = ["evaluate", bundle, str(held), "--output", str(report), "--baselines", str(train), "--samples", "3"]
    assert main([*command, "--device", "cpu"]) == 0
    assert "| regression on covariates and grey matter |" in capsys.readouterr().out
    summary = json.loads(report.read_text())["summary"]
    assert summary["model"]["psnr"] > summary["regression on covariates"]["psnr"]
    assert summary["regression on covariates and grey matter, mean of 3"]["crps"] > 0
