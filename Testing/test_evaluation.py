"""Metrics: known values, the mask, and the report of a run over simulated cases."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from DualGlowLib.__main__ import main
from DualGlowLib.bundle import DEFAULT_BUNDLE
from DualGlowLib.evaluation import image_metrics
from DualGlowLib.resources import resource
from DualGlowLib.simulate import simulate_cohort


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(0).random((16, 16, 16))


def test_known_values(truth: np.ndarray) -> None:
    mask = np.ones(truth.shape, bool)
    perfect = image_metrics(truth, truth, mask, data_range=2.0)
    assert perfect.psnr == math.inf
    assert (perfect.ssim, perfect.mae) == (1.0, 0.0)
    shifted = image_metrics(truth + 0.02, truth, mask, data_range=2.0)
    assert shifted.psnr == pytest.approx(40.0)
    assert shifted.mae == pytest.approx(0.02)
    assert shifted.correlation == pytest.approx(1.0)
    assert image_metrics(truth + 0.02, truth, mask, data_range=4.0).psnr == pytest.approx(46.02, abs=0.01)


def test_only_the_mask_counts(truth: np.ndarray) -> None:
    mask = np.zeros(truth.shape, bool)
    mask[4:12, 4:12, 4:12] = True
    spoilt = np.where(mask, truth + 0.02, 99.0)
    metrics = image_metrics(spoilt, truth, mask, data_range=2.0)
    assert metrics.psnr == pytest.approx(40.0)
    assert metrics.mae == pytest.approx(0.02)


def test_the_bundled_model_beats_the_mean_pet(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    simulate_cohort(tmp_path / "cohort", 3, "medium", seed=4242)
    report = tmp_path / "report.json"
    arguments = [str(resource("Models", DEFAULT_BUNDLE)), str(tmp_path / "cohort"), "--output", str(report)]
    assert main(["evaluate", *arguments, "--samples", "2", "--device", "cpu"]) == 0
    assert "| mean PET |" in capsys.readouterr().out
    result = json.loads(report.read_text())
    assert len(result["cases"]) == 3
    summary = result["summary"]
    model, mean, best = (summary[name] for name in ("model, T=0", "mean PET", "conditional mean (truth)"))
    assert mean["psnr"] + 3 < model["psnr"] < best["psnr"]
    assert mean["ssim"] < model["ssim"] < best["ssim"]
