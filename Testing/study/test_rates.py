"""Rates of a classifier, and what the paper's Table 2 can mean by its own."""

from __future__ import annotations

import pytest

from DualGlowLib.study.rates import Rates, share_of_positives, sum_of_rates

PUBLISHED = {"ground truth": (0.94, 0.06, 0.00), "synthetic": (0.91, 0.06, 0.03)}
"""Accuracy, false negatives and false positives of the paper's Table 2."""
PATIENTS = (263 + 64 + 114) / 806
"""MCI, LMCI and AD among all subjects, by its Table 3."""


def test_both_definitions() -> None:
    rates = Rates.of([True] * 8 + [False] * 2, [True] * 6 + [False] * 2 + [True] + [False])
    assert (rates.hits, rates.misses, rates.rejections, rates.alarms) == (6, 2, 1, 1)
    assert rates.accuracy == pytest.approx(0.7)
    assert rates.of_all == pytest.approx((0.2, 0.1))
    assert rates.of_group == pytest.approx((0.25, 0.5))
    assert sum_of_rates(rates.accuracy, *rates.of_all) == pytest.approx(1)
    low, high = share_of_positives(rates.accuracy, *rates.of_group, rounding=1e-6)
    assert low <= 0.8 <= high


@pytest.mark.parametrize("row", PUBLISHED)
def test_published_rates_are_shares_of_all_subjects(row: str) -> None:
    """With accuracy they come to 1; as rates of each group no split of subjects like the paper's gives them."""
    assert sum_of_rates(*PUBLISHED[row]) == pytest.approx(1, abs=1e-9)
    possible = share_of_positives(*PUBLISHED[row])
    assert possible is None or not possible[0] <= PATIENTS <= possible[1]


def test_published_rates_of_synthetic_pets_fit_no_split_at_all() -> None:
    assert share_of_positives(*PUBLISHED["synthetic"]) is None
    assert share_of_positives(*PUBLISHED["ground truth"])[0] > 0.8
