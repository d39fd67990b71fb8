"""Checkpoints: what is damaged is never used, and what is whole gives the run back to the last bit."""

from __future__ import annotations

import json
import math
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.training.checkpoints import OLD, Checkpoints, read_old
from DualGlowLib.training.data import step_indices
from DualGlowLib.training.loop import Interrupted
from toy_runs import STEPS, content, toy_trainer


def stopped(folder: Path, step: int, **settings: object):
    run = toy_trainer(folder, **settings)
    run.stop = lambda: run.step == step
    with pytest.raises(Interrupted):
        run.run()
    return run


def resumed(folder: Path, **settings: object) -> list[str]:
    """Resume to the end; gives the notes."""
    run, notes = toy_trainer(folder, **settings), []
    run.note = notes.append
    run.run(resume=True)
    return notes


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What becomes of a run that nobody disturbs."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    toy_trainer(folder).run()
    return content(folder / "run")


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A run that was stopped after its third step."""
    stopped(tmp_path, 3)
    return tmp_path / "run"


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def equal(mine: dict, theirs: dict) -> bool:
    return mine.keys() == theirs.keys() and all(
        mine[name].dtype == theirs[name].dtype and torch.equal(mine[name], theirs[name]) for name in theirs
    )


def test_two_are_kept(three: Path) -> None:
    names = sorted(path.name for path in three.iterdir())
    files = [f"checkpoint-{step}.{ending}" for step in (2, 3) for ending in ("json", "safetensors")]
    assert names == [*files, "history.csv", "history.jsonl"]


def test_no_flipped_bit_is_used(three: Path) -> None:
    """300 of them: the older serves, or what is read is the same."""
    rng = random.Random(5)
    first = Checkpoints(three).read()
    older = 0
    for number in range(300):
        path = three / f"checkpoint-3.{('json', 'safetensors')[number % 2]}"
        # Every second one of the tensors' in the head of the file, which says what and where they are.
        bit = rng.randrange(8 * (4000 if number % 4 == 3 else path.stat().st_size))
        flip(path, bit)
        values, tensors, problems = Checkpoints(three).read()
        if values["step"] == 3:
            assert not problems
            assert (values["optimizer"], values["usual"]) == (first[0]["optimizer"], first[0]["usual"])
            assert equal(tensors, first[1])
        else:
            assert values["step"] == 2
            assert len(problems) == 1
            older += 1
        flip(path, bit)
    assert older > 290
    assert Checkpoints(three).read()[0]["step"] == 3


@pytest.mark.parametrize("damage", ["flipped", "cut", "tensors gone", "both gone", "not sealed"])
def test_the_older_serves_and_the_run_ends_the_same(three: Path, whole: dict[str, str], damage: str) -> None:
    about, data = three / "checkpoint-3.json", three / "checkpoint-3.safetensors"
    if damage == "flipped":
        flip(data, 8 * data.stat().st_size - 77)
    elif damage == "cut":
        about.write_bytes(about.read_bytes()[:-9])
    elif damage == "not sealed":
        values = json.loads(about.read_text())
        about.write_text(json.dumps({**values, "sha256": {data.name: values["sha256"][data.name]}}))
    else:
        data.unlink()
        if damage == "both gone":
            about.unlink()
    notes = resumed(three.parent)
    assert len(notes) == 1
    assert "goes on from step 2" in notes[0]
    assert damage != "flipped" or "step 3 is damaged" in notes[0]
    assert "\n" not in notes[0]
    assert content(three) == whole


def test_with_both_damaged_the_run_is_refused(three: Path) -> None:
    for step in (2, 3):
        flip(three / f"checkpoint-{step}.safetensors", 1000)
    with pytest.raises(InputError, match=r"can't be resumed: the checkpoint of step 3 is damaged .+; train anew in"):
        resumed(three.parent)
    with pytest.raises(InputError, match="holds a run already"):
        toy_trainer(three.parent).run()


@pytest.mark.parametrize("optimizer", ["adam", "adamax", "authors"])
def test_every_optimiser_goes_on_as_it_would_have(tmp_path: Path, optimizer: str) -> None:
    toy_trainer(tmp_path / "whole", optimizer=optimizer).run()
    run = stopped(tmp_path, 3, optimizer=optimizer)
    again = toy_trainer(tmp_path, optimizer=optimizer)
    again.begin(resume=True)
    mine, theirs = again.optimizer.state_dict(), run.optimizer.state_dict()
    assert mine["param_groups"] == theirs["param_groups"]
    for index, entries in theirs["state"].items():
        for key, value in entries.items():
            found = mine["state"][index][key]
            assert type(found) is type(value)
            assert torch.equal(torch.as_tensor(found), torch.as_tensor(value))
            assert not isinstance(value, torch.Tensor) or found.stride() == value.stride()
    resumed(tmp_path, optimizer=optimizer)
    assert content(tmp_path / "run") == content(tmp_path / "whole" / "run")


# ---- what is not finite


def test_weights_that_are_lost_end_the_run_and_leave_no_model(tmp_path: Path) -> None:
    run = toy_trainer(tmp_path)

    def poison(event: dict) -> None:
        if event["step"] == 3:
            next(run.average.model.parameters()).data.view(-1)[0] = math.nan

    run.report = poison
    with pytest.raises(InputError, match=r"After step 3, the weights of .+ are no longer finite; train anew"):
        run.run()
    assert not (tmp_path / "run" / "bundle").exists()
    assert Checkpoints(tmp_path / "run").steps() == [2, 1]


def test_a_last_batch_without_a_number_does_not_cost_the_model(tmp_path: Path) -> None:
    run = toy_trainer(tmp_path, validate_every=100)
    last = step_indices(STEPS - 1, len(run.train_cases), run.settings.batch, run.settings.seed)
    run.train_cases.pet[last[0]] = math.nan
    bundle = run.run()
    assert bundle.training["skipped_steps"] > 0
    assert "pet_bits" not in bundle.training
    assert "validation_pet_bits" in bundle.training


# ---- the old kind


def save_as_before(run) -> Path:
    """Put the checkpoint that DualGlow wrote until it had checksums in place of this run's."""
    state = {
        "model": run.model.state_dict(),
        "average": run.average.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "step": run.step,
        "skipped": run.skipped,
        "usual": run.usual,
        "lost": run.lost,
        "joint": run.joint,
        "since": run.since,
        "seconds": run.seconds,
        "config": run.config.to_dict(),
        "settings": run.settings.to_dict(),
    }
    for path in run.folder.glob("checkpoint-*"):
        path.unlink()
    torch.save(state, run.folder / OLD)
    return run.folder / OLD


@pytest.mark.parametrize("step", [1, 3])
def test_an_old_checkpoint_is_converted(tmp_path: Path, whole: dict[str, str], step: int) -> None:
    old = save_as_before(stopped(tmp_path, step))
    assert resumed(tmp_path) == []
    assert content(tmp_path / "run") == whole
    assert not old.exists()


def test_a_finished_old_run_gives_the_same_model(tmp_path: Path, whole: dict[str, str]) -> None:
    run = toy_trainer(tmp_path)
    run.run()
    save_as_before(run)
    shutil.rmtree(tmp_path / "run" / "bundle")
    assert resumed(tmp_path) == []
    assert content(tmp_path / "run") == whole


def test_a_damaged_old_checkpoint_is_refused(tmp_path: Path) -> None:
    """Or what is read of it is the same: its parts have checksums, too."""
    run, rng = stopped(tmp_path, 3), random.Random(7)
    old = save_as_before(run)
    values, tensors = read_old(old)
    whole, refused = old.read_bytes(), 0
    for _ in range(60):
        flip(old, rng.randrange(8 * len(whole)))
        with suppress(InputError):
            refused += 1
            found = read_old(old)
            refused -= 1
            assert found[0] == values
            assert equal(found[1], tensors)
        old.write_bytes(whole)
    assert refused > 30
    old.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"checkpoint\.pt is damaged \(.+\); train anew in another folder\.$"):
        resumed(tmp_path)
    next(run.model.parameters()).data.view(-1)[0] = math.inf
    save_as_before(run)
    with pytest.raises(InputError, match="is not finite"):
        resumed(tmp_path)


def test_a_run_says_when_its_last_bits_may_differ(three: Path) -> None:
    """Equal bits are promised for equal threads alone."""
    shutil.copytree(three, three.parent / "same" / "run")
    assert resumed(three.parent / "same") == []
    torch.set_num_threads(2)
    try:
        notes = resumed(three.parent)
    finally:
        torch.set_num_threads(1)
    assert notes == [
        "The run goes on with threads 2 in place of 1: what it comes to is close to what it would have been, not equal "
        "to the last bit."
    ]
