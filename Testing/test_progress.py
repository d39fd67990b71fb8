"""Events that tell of progress: the time left, and each as one line of JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from DualGlowLib import progress
from DualGlowLib.progress import Clock, json_line, seconds_left


def test_time_left_is_in_proportion() -> None:
    assert seconds_left(30.0, 0.25) == pytest.approx(90.0)
    assert seconds_left(30.0, 1.0) == 0.0
    assert seconds_left(30.0, 0.75, first=0.5) == pytest.approx(30.0)


@pytest.mark.parametrize("told", [(0.5, 0.9), (30.0, 0.01), (30.0, 0.0), (30.0, None), (30.0, 0.51, 0.5)])
def test_too_little_tells_nothing(told: tuple) -> None:
    assert seconds_left(*told) is None


def test_clock_begins_anew_with_another_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    """And with what a run that goes on has done already."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    clock, left = Clock(), []
    for seconds, stage, fraction in [
        (0, "reading", 0.0), (10, "reading", 0.5), (10, "reading", 1.0),
        (5, "training", 0.4), (30, "training", 0.7), (10, "training", None), (20, "training", 1.0),
    ]:  # fmt: skip
        now[0] += seconds
        event = clock.event(stage, fraction)
        assert (event["stage"], event["fraction"]) == (stage, fraction)
        left.append(event["seconds_left"])
    assert left == [None, 10.0, 0.0, None, 30.0, None, 0.0]


def test_a_stage_is_measured_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done already, or at another speed, makes no promise of what is slow; a stage may come again."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    clock, left = Clock(), []
    for seconds, stage, fraction in [
        (0, "preparing", 0.0), (1, "preparing", 0.4), (0, "registration", 0.8), (40, "registration", 0.805),
        (60, "registration", 0.85), (0, "sampling", 0.9), (10, "registration", 0.95),
    ]:  # fmt: skip
        now[0] += seconds
        left.append(clock.event(stage, fraction)["seconds_left"])
    assert left == [None, 1.5, None, None, 300.0, None, pytest.approx(36.7, abs=0.1)]


def test_what_json_cannot_hold() -> None:
    values = {"a": np.float32(0.5), "b": np.arange(3), "c": float("nan"), "d": (np.inf, None, True), 5: Path("x")}
    expected = {"a": 0.5, "b": [0, 1, 2], "c": None, "d": [None, None, True], "5": "x"}
    assert json.loads(json_line(values)) == expected
    assert "\n" not in json_line({"text": "a\nb"})
