"""The history of a run as a table, and as event files for TensorBoard."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.training.folder import check_run
from DualGlowLib.training.loop import Trainer
from DualGlowLib.training.status import Interrupted
from toy_runs import content, toy_trainer


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def history(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def table(run: Path) -> list[dict]:
    with (run / "history.csv").open(newline="") as file:
        return [{name: json.loads(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def scalars(run: Path) -> dict[str, dict[int, float]]:
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def stopped_after(trainer: Trainer, step: int) -> Trainer:
    trainer.stop = lambda: trainer.step == step
    return trainer


def killed_after(trainer: Trainer, step: int) -> Trainer:
    """Without a checkpoint of that step."""

    def report(event: dict) -> None:
        if event["step"] == step:
            raise KeyboardInterrupt

    trainer.report = report
    return trainer


@pytest.mark.parametrize("ended", [stopped_after, killed_after])
def test_table_and_events_have_what_the_history_has_also_resumed(
    ended: Callable[[Trainer, int], Trainer], tmp_path: Path
) -> None:
    changes = {"tensorboard": True, "checkpoint_every": 2}
    with pytest.raises((Interrupted, KeyboardInterrupt)):
        ended(toy_trainer(tmp_path, **changes), 3).run()
    toy_trainer(tmp_path, **changes).run(resume=True)
    run = tmp_path / "run"
    assert table(run) == history(run)
    found = scalars(run)
    for tag, name in (("training/loss", "loss"), ("validation/pet_bits", "validation_pet_bits")):
        wanted = {event["step"]: event[name] for event in history(run) if name in event}
        assert found[tag] == pytest.approx(wanted, rel=1e-6)


def test_logs_change_nothing_of_a_run(tmp_path: Path) -> None:
    toy_trainer(tmp_path / "with", tensorboard=True).run()
    toy_trainer(tmp_path / "without").run()
    assert content(tmp_path / "with/run") == content(tmp_path / "without/run")
    assert not (tmp_path / "without/run/tensorboard").exists()


def test_without_the_package_it_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    said: list[str] = []
    trainer = toy_trainer(tmp_path, tensorboard=True)
    trainer.note = said.append
    trainer.run()
    assert len(said) == 1
    assert "pip install tensorboard" in said[0]
    assert table(tmp_path / "run") == history(tmp_path / "run")


def test_a_table_that_can_not_be_written_ends_no_run(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "run/history.csv").mkdir(parents=True)
    trainer = toy_trainer(tmp_path)
    trainer.note = said.append
    trainer.run()
    assert len(said) == 1
    assert "history.csv can't be written" in said[0]
    assert len(history(tmp_path / "run")) == 4


def test_a_table_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("date,weight\n")
    with pytest.raises(InputError, match=r"history\.csv is no part of a run"):
        check_run(tmp_path, resume=False)


def test_a_table_without_a_step_is_that_of_a_run(tmp_path: Path) -> None:
    """Killed before the first step, the run goes on."""
    trainer = toy_trainer(tmp_path)
    trainer.stop = lambda: True
    with pytest.raises(Interrupted):
        trainer.run()
    for checkpoint in (tmp_path / "run").glob("checkpoint-*"):
        checkpoint.unlink()
    assert table(tmp_path / "run") == []
    check_run(tmp_path / "run", resume=True)
    toy_trainer(tmp_path).run(resume=True)
    assert table(tmp_path / "run") == history(tmp_path / "run")
