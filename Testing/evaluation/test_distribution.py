"""Scores, coverage and ranks: closed forms, and what they must be for a law that is known."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from DualGlowLib import InputError
from DualGlowLib.evaluation.regions import agreement, asymmetries, intraclass_correlation
from DualGlowLib.evaluation.report import summary_table
from DualGlowLib.metrics import distribution
from DualGlowLib.metrics.distribution import LEVELS, distribution_metrics, energy_score, rank_fifths, ranks


def normal_crps(z: np.ndarray) -> np.ndarray:
    """Of the standard normal law (Gneiting & Raftery, JASA 102, 2007, equation 21)."""
    from scipy.stats import norm

    return z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi)


@pytest.mark.parametrize("count", [4, 25])
def test_the_crps_is_that_of_the_law_for_any_number_of_samples(count: int) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200_000)
    found = distribution_metrics(rng.normal(size=(count, truth.size)), truth)["crps"]
    assert found == pytest.approx(normal_crps(truth).mean(), abs=0.004)


@pytest.mark.parametrize("count", [3, 20])
def test_intervals_hold_what_they_promise_and_are_as_wide_as_the_law(count: int) -> None:
    rng = np.random.default_rng(1)
    truth, samples = rng.normal(3, 2, 100_000), rng.normal(3, 2, (count, 100_000))
    found = distribution_metrics(samples, truth)
    for level in LEVELS:
        assert found[f"coverage_{100 * level:g}"] == pytest.approx(level, abs=0.005)
    assert found["width_50"] < found["width_80"] < found["width_90"] < found["width_95"]
    if count == 20:
        assert found["width_90"] == pytest.approx(2 * 1.729 * np.sqrt(21 / 20) * 2, rel=0.03)
    narrow = distribution_metrics(3 + (samples - 3) / 2, truth)
    assert narrow["coverage_90"] < 0.8
    assert narrow["crps"] > found["crps"]


def test_scores_by_hand() -> None:
    """E|X − y| − E|X − X'| / 2 over different samples; the energy score of one value is its CRPS."""
    samples, truth = np.array([[0.0], [1.0], [4.0]]), np.array([2.0])
    by_hand = (2 + 1 + 2) / 3 - (1 + 4 + 3) / 3 / 2
    assert distribution_metrics(samples, truth)["crps"] == pytest.approx(by_hand)
    assert energy_score(samples, truth) == pytest.approx(by_hand)
    pairs = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert energy_score(pairs, np.zeros(2)) == pytest.approx(2.5 - 5 / 2)


def test_ranks_are_uniform_only_if_the_law_is_right() -> None:
    rng = np.random.default_rng(2)
    truth, samples = rng.normal(size=100_000), rng.normal(size=(8, 100_000))
    np.testing.assert_allclose(rank_fifths(ranks(samples, truth), 8), 0.2, atol=0.005)
    assert rank_fifths(ranks(samples / 2, truth), 8)[0] > 0.25
    assert rank_fifths(ranks(samples + 1, truth), 8)[0] > 0.4
    assert rank_fifths(np.array([0, 4]), 4) == pytest.approx([0.5, 0, 0, 0, 0.5])
    assert sum(rank_fifths(np.array([1]), 2)) == pytest.approx(1)


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scoringrules", None)
    distribution._library.cache_clear()
    with pytest.raises(InputError, match="pip install scoringrules"):
        distribution_metrics(np.zeros((2, 3)), np.zeros(3))
    distribution._library.cache_clear()


def test_agreement_of_region_means() -> None:
    truth = np.array([[1.0, 2.0, np.nan], [1.2, 2.2, np.nan], [1.4, 2.1, 1.0], [1.1, 2.4, 1.0]])
    predicted = truth + np.array([[0.1, -0.1, 0], [0.1, 0.1, 0], [0.1, -0.1, 0], [0.1, 0.1, 0]])
    shifted, noisy, unknown = agreement(["a", "b", "c"], predicted, truth)
    assert shifted["bias"] == pytest.approx(0.1)
    assert (shifted["low"], shifted["high"]) == (pytest.approx(0.1), pytest.approx(0.1))
    assert shifted["correlation"] == pytest.approx(1)
    assert 0.5 < shifted["icc"] < 1
    assert noisy["bias"] == pytest.approx(0)
    assert noisy["high"] == pytest.approx(1.96 * np.sqrt(0.04 / 3))
    assert (unknown["cases"], unknown["bias"], unknown["icc"]) == (2, 0, None)


def test_the_intraclass_correlation_is_the_published_one() -> None:
    """Shrout & Fleiss (Psychol Bull 86, 1979), table 2, judges 1 and 2: by the mean squares of that table's rows."""
    first, second = np.array([9.0, 6, 8, 7, 10, 6]), np.array([2.0, 1, 4, 1, 5, 2])
    values = np.stack([first, second], 1)
    rows = 2 * values.mean(1).var(ddof=1)
    columns = 6 * values.mean(0).var(ddof=1)
    rest = ((values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()) ** 2).sum() / 5
    assert intraclass_correlation(first, second) == pytest.approx(
        (rows - rest) / (rows + rest + 2 * (columns - rest) / 6)
    )
    assert intraclass_correlation(first, first) == pytest.approx(1)
    assert np.isnan(intraclass_correlation(np.ones(3), np.ones(3)))


def test_asymmetry_of_pairs_alone() -> None:
    names = ["pons", "thalamus_L", "thalamus_R", "insula_L"]
    pairs, index = asymmetries(names, np.array([[1.0, 1.1, 0.9, 2.0]]))
    assert pairs == ["thalamus"]
    assert index == pytest.approx(np.array([[20.0]]))


def test_the_table_for_people(tmp_path: Path) -> None:
    row = {"psnr": 30.0, "ssim": 0.9, "mae": 0.1, "psnr_whole": 40.0}
    result = {
        "data_range_suvr": 3.0, "summary": {"one": row, "two": {**row, "crps": 0.05, "region_energy": 0.2}},
        "sd": {"one": {"psnr": 1.5}}, "cases": [{}] * 4, "left_out": [], "rank_fifths": {},
        "regions": {"one": [{"region": "lateral_frontal_L", "bias": -0.2}, {"region": "pons", "bias": None}]},
    }  # fmt: skip
    text = summary_table(json.loads(json.dumps(result)))
    assert "| one | 30.00 ± 1.50 | 0.9000 | 0.1000 |" in text
    assert "whole volume, mostly air" in text
    assert "| law of region means | energy score |\n|---|---|\n| two | 0.2000 |" in text
    assert "the largest -0.2000 (lateral frontal L)" in text
