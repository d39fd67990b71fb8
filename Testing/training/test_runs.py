"""One run a folder, and wherever its process is killed, it goes on to the model that it would have become."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from DualGlowLib import InputError
from DualGlowLib.bundle.bundle import load_bundle
from places import SUPPORT
from toy_runs import STEPS, content, toy_trainer


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("finished")
    toy_trainer(folder).run()
    return folder


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What became of runs that were killed, were held up or had no room, by what happened to them."""
    if not hasattr(os, "fork"):
        pytest.skip("needs processes that are copies of one, and SIGKILL")
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "toy_runs.py"), str(tmp_path_factory.mktemp("told")), "11"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {one["killed"]: one for one in map(json.loads, done.stdout.splitlines())}


def test_killed_anywhere_and_resumed_it_ends_as_if_undisturbed(told: dict[str, dict]) -> None:
    """Right before each kind of thing that a run does to files, and some milliseconds after steps."""
    others = [one for killed, one in told.items() if killed not in ("never", "full disk", "held")]
    for other in others:
        assert other["codes"][-1] == 0, other
        # Before there is a run, --resume says so, and only then.
        begun = other["killed"] not in ("mkdir run", "open run.lock", "rename history.jsonl", "open *.part")
        assert not begun or 2 not in other["codes"], other
        assert other["content"] == told["never"]["content"], other["killed"]
    places = {other["killed"].rstrip("0123456789") for other in others}
    assert {"rename history.jsonl", "rename weights.safetensors", "rename config.json", "remove run.lock"} <= places
    assert any("rename checkpoint-" in place for place in places)
    assert told["at random"]["codes"].count(-9) > 1


def test_a_training_starts_without_the_compiler_of_torch(told: dict[str, dict]) -> None:
    """Loading it takes longer than loading torch."""
    assert told["never"]["loaded"] == []


def test_a_second_process_is_refused_and_the_first_not_disturbed(told: dict[str, dict]) -> None:
    held = told["held"]
    assert len(held["others"]) == 2
    for said in held["others"]:
        assert re.search(r"Another process is training into .+ \(process \d+ on", said)
        assert "\n" not in said
    assert held["codes"] == [0]
    assert held["content"] == told["never"]["content"]


def test_a_full_disk_is_one_sentence_and_costs_a_step(told: dict[str, dict]) -> None:
    full = told["full disk"]
    assert (
        "checkpoint-3.safetensors can't be written: File too large; mend that and go on with --resume."
        in (full["sentence"])
    )
    assert "\n" not in full["sentence"]
    assert full["there"] == [
        *(f"checkpoint-{step}.{ending}" for step in (1, 2) for ending in ("json", "safetensors")),
        "history.csv", "history.jsonl",
    ]  # fmt: skip
    assert full["codes"] == [2, 0]
    assert full["content"] == told["never"]["content"]


def test_two_at_once_in_one_process(tmp_path: Path, finished: Path) -> None:
    """The window may be asked twice."""
    reached, go_on = threading.Event(), threading.Event()
    first = toy_trainer(tmp_path)
    first.report = lambda event: (reached.set(), go_on.wait())
    thread = threading.Thread(target=first.run)
    thread.start()
    reached.wait()
    try:
        with pytest.raises(InputError, match="Another process is training"):
            toy_trainer(tmp_path).run(resume=True)
    finally:
        go_on.set()
        thread.join()
    assert content(tmp_path / "run") == content(finished / "run")


def test_killed_before_the_first_checkpoint_it_is_resumed_from_the_start(tmp_path: Path, finished: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "history.jsonl").write_text('{"step": 1, "loss": 9.0}\n{"step": 2, "lo')
    with pytest.raises(InputError, match="holds a run already; go on with --resume"):
        toy_trainer(tmp_path).run()
    again, notes = toy_trainer(tmp_path), []
    again.note = notes.append
    again.run(resume=True)
    assert notes == [f"{run} has no checkpoint yet; the run begins anew."]
    assert content(run) == content(finished / "run")


def test_torn_lines_of_the_history_are_dropped(tmp_path: Path, finished: Path) -> None:
    run = toy_trainer(tmp_path)
    run.stop = lambda: run.step == 2
    with pytest.raises(Exception, match="Stopped after step 2"):
        run.run()
    with (tmp_path / "run" / "history.jsonl").open("a") as file:
        file.write('{"step": 2, "loss": 7.0}\n{"step": 1}\nnull\n{"step": 3, "loss": 1.0}\n{"step": 4, "lo')
    again = toy_trainer(tmp_path)
    again.run(resume=True)
    assert content(tmp_path / "run") == content(finished / "run")


def test_a_finished_run_that_is_resumed_writes_the_same_files(finished: Path) -> None:
    before = {path: path.read_bytes() for path in (finished / "run").rglob("*") if path.is_file()}
    toy_trainer(finished).run(resume=True)
    assert {path: path.read_bytes() for path in (finished / "run").rglob("*") if path.is_file()} == before
    assert "validation_pet_bits" in load_bundle(finished / "run" / "bundle").training


def test_what_can_not_be_resumed_is_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no run to resume from; start without --resume\.$"):
        toy_trainer(tmp_path).run(resume=True)
    with pytest.raises(InputError, match=r"began with other settings \(batch, seed\); give the same\.$"):
        toy_trainer(finished, seed=5, batch=3).run(resume=True)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can't be written: Not a directory; choose another folder"):
        toy_trainer(tmp_path / "file").run()


def test_a_model_without_its_checkpoints_is_not_trained_over(tmp_path: Path) -> None:
    toy_trainer(tmp_path).run()
    for path in (tmp_path / "run").glob("checkpoint-*"):
        path.unlink()
    for rest in ("history.jsonl", None):
        for resume in (False, True):  # neither sends to the other
            with pytest.raises(InputError, match=r"has a model but no checkpoint .+; give another folder\.$"):
                toy_trainer(tmp_path).run(resume)
        if rest is not None:
            (tmp_path / "run" / rest).unlink()
    assert load_bundle(tmp_path / "run" / "bundle").training["steps"] == STEPS


@pytest.mark.parametrize("kept", [["weights.safetensors"], ["weights.safetensors", "README.md"]])
def test_killed_while_its_model_was_written(tmp_path: Path, finished: Path, kept: list[str]) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "run" / "bundle").iterdir():
        if path.name not in kept:
            path.unlink()
    toy_trainer(tmp_path).run(resume=True)
    assert content(tmp_path / "run") == content(finished / "run")


def test_weights_of_somebody_else_are_not_taken_for_the_beginning_of_a_model(tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    bundle = tmp_path / "run" / "bundle"
    (bundle / "config.json").unlink()
    (bundle / "weights.safetensors").write_bytes(save({"x": torch.zeros(2)}))
    with pytest.raises(InputError, match="no part of a DualGlow model"):
        toy_trainer(tmp_path).run(resume=True)


def test_files_of_another_program_in_the_folder_stay(tmp_path: Path, finished: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    theirs = {run / "history.jsonl": b"mine\n", run / "checkpoint-7.safetensors": save({"x": torch.zeros(2)})}
    for path, data in theirs.items():
        path.write_bytes(data)
        for resume in (False, True):
            with pytest.raises(InputError, match=f"{path.name} is no part of a run"):
                toy_trainer(tmp_path).run(resume)
        assert path.read_bytes() == data
        path.unlink()
    (run / ".download.part").touch()
    (run / ".0123456789ab.part").touch()  # as a process of ours leaves it
    toy_trainer(tmp_path).run()
    assert [path.name for path in run.glob(".*")] == [".download.part"]
    assert content(run) == content(finished / "run")


@pytest.mark.parametrize(
    ("part", "key", "value"), [("link", "context", -1), ("link", "patterns", 1e308), (None, "pet_noise", -1)]
)
def test_a_model_that_can_not_be_is_refused(
    tmp_path: Path, finished: Path, part: str | None, key: str, value: float
) -> None:
    """Such as one in a configuration of the first DualGlow, which had no checksum of its own."""
    bundle = tmp_path / "bundle"
    shutil.copytree(finished / "run" / "bundle", bundle)
    config = json.loads((bundle / "config.json").read_text())
    del config["sha256"]["config.json"]
    place = config["model"][part] if part else config["model"]
    place[key] = [value] if isinstance(place[key], list) else value
    (bundle / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="damaged"):
        load_bundle(bundle)
