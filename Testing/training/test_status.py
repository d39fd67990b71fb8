"""What a run tells of itself in its folder, what it may be asked there, and what it says it will need."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import DualGlowLib.training.loop as loop
from DualGlowLib.__main__ import _parser, main
from DualGlowLib.cli.training import _again
from DualGlowLib.errors import InputError
from DualGlowLib.preparation.settings import Preparation
from DualGlowLib.training import estimate as estimates
from DualGlowLib.training.loading.cache import cohort_bytes
from DualGlowLib.training.pace import Pace
from DualGlowLib.training.run import Plan, prospect
from DualGlowLib.training.settings import TrainingSettings
from DualGlowLib.training.status import ASK, STATUS, StatusWriter, ask, read_status
from DualGlowLib.volumes.grid import GRIDS
from raw_cohort import make_cohort
from tiny_training import make_simulated, write_settings
from toy_runs import STEPS, content, toy_trainer


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_simulated(tmp_path_factory.mktemp("cohort") / "cases", 5)


@contextlib.contextmanager
def running(cases: Path, folder: Path, *more: str, **training: object):
    """``train`` in a process of its own, into ``folder / "run"``; killed at the end of the block."""
    settings = write_settings(folder / "settings.json", **{"steps": 10**6, **training})
    command = [sys.executable, "-m", "DualGlowLib", "train", str(cases), "--output", str(folder / "run")]
    process = subprocess.Popen(
        [*command, "--config", str(settings), "--device", "cpu", *more],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(condition: Callable[[], object], process: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


def lines(folder: Path) -> int:
    return (folder / "run" / "history.jsonl").read_text().count("\n")


# -------------------------------------------------------------------------------------------------------------- status


def test_a_run_is_followed_paused_killed_and_said_to_be_dead(cases: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert read_status(run).state == "none"
    with running(cases, tmp_path) as process:
        until(lambda: read_status(run).step >= 2, process)
        found = read_status(run)
        assert (found.state, found.steps, found.is_running) == ("training", 10**6, True)
        assert (found.holder.pid, found.holder.host, found.holder.alive) == (process.pid, platform.node(), True)
        assert 0 < time.time() - found.updated < 60
        ask(run, "pause")
        until(lambda: read_status(run).state == "paused", process)
        until(lambda: any(run.glob("checkpoint-*.json")), process)
        waits = lines(tmp_path)
        time.sleep(0.5)
        assert lines(tmp_path) == waits
        assert (run / f"checkpoint-{waits}.json").exists()
        ask(run, "")
        until(lambda: lines(tmp_path) > waits, process)
        if sys.platform == "linux":
            process.send_signal(signal.SIGSTOP)
            until(lambda: "is suspended; kill -CONT" in read_status(run).message, process)
            assert read_status(run).is_running
            process.send_signal(signal.SIGCONT)
            until(lambda: not read_status(run).message, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = read_status(run)
        assert found.state == "dead"
        assert f"process {process.pid} on {platform.node()} has died at step" in found.message
        assert "\n" not in found.message
    arguments = found.arguments
    assert main(["train", *arguments, "--steps", str(found.step + 200), "--estimate"]) == 0  # they can be parsed


def test_a_run_that_prepares_its_cases_says_so_waits_and_is_killed(tmp_path: Path) -> None:
    scans, run = make_cohort(tmp_path / "scans", ["sub-1", "sub-2"]), tmp_path / "run"
    with running(scans, tmp_path, "--grid", "small", "--no-bias") as process:
        until(lambda: read_status(run).state == "preparing", process)
        assert read_status(run).holder.pid == process.pid
        ask(run, "pause")
        until(lambda: read_status(run).state == "paused", process)
        ask(run, "")
        until(lambda: read_status(run).state == "preparing", process)
        process.kill()
        process.wait()
    assert read_status(run).state == "dead"
    assert "has died at the preparation of its cases" in read_status(run).message


def test_a_run_that_is_asked_to_stop_saves_and_says_how_to_go_on(cases: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with running(cases, tmp_path) as process:
        until(lambda: read_status(run).step >= 1, process)
        ask(run, "stop")
        assert process.wait(60) == 1
    found = read_status(run)
    assert (found.state, found.holder) == ("stopped", None)
    assert "go on with --resume" in found.message
    assert not (run / ASK).exists()
    assert (run / f"checkpoint-{lines(tmp_path)}.json").exists()


def test_a_run_that_fails_says_why_and_one_that_ends_that_it_is_done(cases: Path, tmp_path: Path, capsys) -> None:
    settings = write_settings(tmp_path / "settings.json")
    command = ["train", str(cases), "--output", str(tmp_path / "run"), "--config", str(settings), "--device", "cpu"]
    assert main(command) == 0
    found = read_status(tmp_path / "run")
    assert (found.state, found.step, found.fraction, found.message) == ("done", 4, 1.0, "")
    (broken := tmp_path / "broken").mkdir()
    for path in cases.iterdir():
        (broken / path.name).symlink_to(path)
    one = next(path for path in broken.glob("sub-*"))
    target = one.resolve()
    one.unlink()
    subprocess.run(["cp", "-r", str(target), str(one)], check=True)
    pet = next(one.rglob("*pet.nii.gz"))
    pet.write_bytes(pet.read_bytes()[:2000])
    assert main(["train", str(broken), *command[2:3], str(tmp_path / "other"), *command[4:]]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    found = read_status(tmp_path / "other")
    assert found.state == "failed"
    assert found.message == said.removeprefix("dualglow train: ")


def test_a_run_on_another_computer_is_not_taken_for_dead(tmp_path: Path) -> None:
    with StatusWriter(tmp_path):
        (tmp_path / "run.lock").write_text(json.dumps({"host": "cluster-7", "pid": 1, "since": "2026-01-01 10:00:00"}))
        found = read_status(tmp_path)
    assert found.state == "elsewhere"
    assert "cluster-7" in found.message


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"state": "done"}', b"\xff"])
def test_what_is_no_status_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / STATUS).write_bytes(content)
    assert read_status(tmp_path).state == "none"
    with StatusWriter(tmp_path):
        pass
    assert (tmp_path / STATUS).read_bytes() == content  # it is not ours to replace


def test_a_status_that_cannot_be_written_ends_no_run(tmp_path: Path) -> None:
    with StatusWriter(tmp_path / "gone") as status:
        status.progress("reading", 0.5, "")


@pytest.mark.parametrize(
    "options",
    [
        [],
        [
            "--preset",
            "paper",
            "--grid",
            "small",
            "--steps",
            "7",
            "--seed",
            "3",
            "--batch",
            "1",
            "--memory",
            "checkpoint",
            "--tensorboard",
        ],
        ["--config", "x.json", "--layout", "bids", "--splits", "s.json", "--fold", "1", "--device", "cpu"],
        [
            "--reference",
            "brain",
            "--resolution",
            "6",
            "--no-bias",
            "--deformable",
            "--jobs",
            "3",
            "--scheduler",
            "tcp://node7:8786",
            "--pet-window",
            "40",
            "60",
        ],
    ],
)
def test_the_arguments_of_a_run_make_the_same_run(options: list[str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = vars(_parser().parse_args(["train", "cases", "--output", "run", *options]))
    preparation = Preparation(
        *(given[name] for name in ("bias", "deformable", "reference", "resolution", "pet_window"))
    )
    names = ("steps", "seed", "batch", "memory", "tensorboard")
    changes = {name: given[name] for name in names if given[name] is not None}
    files = [given[name] for name in ("preset", "config")]
    plan = Plan("cases", "run", *files, changes, *(given[n] for n in ("grid", "layout", "splits", "fold")))
    plan = replace(plan, preparation=preparation, jobs=given["jobs"], scheduler=given["scheduler"])
    again = _again(plan, given["device"])
    found = vars(_parser().parse_args(["train", *again]))
    for name in ("cases", "output", "config", "splits"):
        given[name] = given[name] and str(tmp_path / given[name])
    assert found == given


# --------------------------------------------------------------------------------------------- how long it will take


def test_a_run_says_how_long_it_will_take_and_that_changes_nothing(tmp_path: Path, monkeypatch) -> None:
    torch.set_num_threads(1)
    said: list[str] = []
    plain = toy_trainer(tmp_path / "plain")
    plain.note = said.append
    plain.run()
    assert said == []  # it is too short to speak of
    monkeypatch.setattr(loop, "_SHORT", 0.0)
    (tmp_path / "timed").mkdir()
    for share in (0.0, 0.4):
        timed = toy_trainer(tmp_path / "timed" / str(share), steps=STEPS, image_share=share)
        timed.note = said.append
        timed.run()
        assert timed.pace.joint > 0
        assert timed.seconds_left() == 0
    assert len(said) == 2
    assert all(sentence.startswith("About ") and " s a step" in sentence for sentence in said)
    other = tmp_path / "timed" / "0.4" / "run"
    assert content(other) == content(tmp_path / "plain" / "run")


def test_the_time_of_a_run_is_that_of_its_parts() -> None:
    settings = TrainingSettings(steps=100, validate_every=30, checkpoint_every=50)
    pace = Pace(alone=1.0, joint=2.0, validation=10.0, saving=100.0, setting=7.0)
    assert pace.seconds(settings, 0, 40) == 7 + 40 + 120 + 4 * 10 + 2 * 100
    assert pace.seconds(settings, 60, 40) == 80 + 2 * 10 + 100
    assert pace.seconds(settings, 100, 40) == 0


# ---------------------------------------------------------------------------------------------------- before it begins


def test_an_estimate_leaves_nothing_and_is_told_as_a_line(cases: Path, tmp_path: Path, capsys) -> None:
    settings = write_settings(tmp_path / "settings.json")
    before = sorted(tmp_path.rglob("*"))
    options = ["--config", str(settings), "--device", "cpu", "--estimate", "--json"]
    assert main(["train", str(cases), "--output", str(tmp_path / "run"), *options]) == 0
    assert sorted(tmp_path.rglob("*")) == before
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["event"], found["cases"], found["to_prepare"], found["grid"]) == ("estimate", 5, 0, "small")
    assert found["memory"] > 1 << 26
    assert found["seconds"] > 0
    assert (found["refusal"], found["proposal"]) == ("", None)


def test_what_cannot_fit_is_refused_before_any_memory_is_taken(cases: Path, tmp_path: Path, monkeypatch) -> None:
    """530 million weights in a gigabyte; the sentence says what to do."""
    monkeypatch.setattr(estimates, "computer_memory", lambda: 1 << 30)
    monkeypatch.setattr(estimates, "_trial", lambda *_: pytest.fail("tried"))
    found = estimates.estimate(Plan(cases, tmp_path / "run", "paper"))
    assert found.memory > 10 << 30
    assert "choose another preset, such as standard" in found.refusal
    assert "Time" not in found.to_text()  # no step was taken
    assert "\n" not in found.refusal
    assert not found.proposal


def test_what_would_fit_is_proposed(cases: Path, tmp_path: Path, monkeypatch) -> None:
    """The trial runs out of memory as it is; with less kept for the backward pass it does not."""

    def trial(recipe, ahead, *_):
        if ahead.settings.memory == "plain":
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            )
        return Pace(1.0, 2.0), 1 << 28

    monkeypatch.setattr(estimates, "_trial", trial)
    monkeypatch.setattr(estimates, "computer_memory", lambda: 2 << 30)
    found = estimates.estimate(Plan(cases, tmp_path / "run"))
    assert found.proposal == {"memory": "checkpoint"}
    assert "with --memory checkpoint" in found.refusal


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux heeds the limit")
def test_the_trial_takes_no_more_than_is_free() -> None:
    with estimates._limited(torch.device("cpu"), 64 << 20), pytest.raises(RuntimeError, match="allocate"):
        torch.ones(256 << 20)
    assert len(torch.ones(32 << 20)) == 32 << 20


def test_an_estimate_names_what_is_wrong_with_the_plan(cases: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no preset 'big'"):
        prospect(Plan(cases, tmp_path / "run", "big"))
    with pytest.raises(InputError, match="There is no folder"):
        estimates.estimate(Plan(tmp_path / "none", tmp_path / "run"))


def test_cases_on_disk_count_for_the_disk(cases: Path, tmp_path: Path) -> None:
    """And in memory for the memory."""
    found = {}
    for data in ("memory", "disk"):
        settings = write_settings(tmp_path / f"{data}.json", data=data, workers=1)
        found[data] = estimates.estimate(Plan(cases, tmp_path / "run", settings_file=settings))
    assert found["disk"].disk - found["memory"].disk == cohort_bytes(5, GRIDS["small"])
