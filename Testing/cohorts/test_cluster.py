"""The same work on a Dask cluster: two real workers, killed, lost and stopped, give what processes here give."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import DualGlowLib.cluster
import DualGlowLib.training.run
from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.cluster import hand_out
from DualGlowLib.cohorts.cohort import prepare_cohort
from DualGlowLib.processes import work_off
from DualGlowLib.training.status import read_status
from raw_cohort import GRID, content, job_of_many_kinds, make_cohort, quick_case
from tiny_training import write_settings

distributed = pytest.importorskip("distributed", reason="distributed (Dask) is not installed")

NAMES = [f"sub-{number:02d}" for number in range(4)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    """Two workers, each in a process that a nanny watches and starts anew."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
    ) as started:
        yield started


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("cases"), NAMES)


def workers(cluster: distributed.LocalCluster) -> dict[str, int]:
    """The process of each worker, once both are there."""
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        return client.run(os.getpid)


def children(pid: int) -> list[int]:
    """Processes that a process started and that still run."""
    table = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 3) for line in table.splitlines()]
    return [int(row[0]) for row in rows if int(row[1]) == pid and "Z" not in row[2] and "spawn_main" in row[3]]


def good(outcomes: dict[int, dict]) -> dict[int, dict]:
    """Without what differs from run to run."""
    return {
        index: {key: value for key, value in outcome.items() if key not in ("pid", "traceback")}
        for index, outcome in outcomes.items()
    }


def test_outcomes_are_those_of_processes_here_and_a_job_that_kills_workers_fails_alone(cluster, monkeypatch) -> None:
    monkeypatch.setattr(DualGlowLib.cluster, "_TRIES", 1)
    jobs, heard = ["a", "raise", "b", "die", "exit", "c"], []
    here = dict(work_off(jobs, job_of_many_kinds, 2))
    there = dict(
        hand_out(
            [*jobs, "kill the worker"],
            job_of_many_kinds,
            scheduler=cluster.scheduler_address,
            progress=lambda *said: heard.append(said),
        )
    )
    killer = there.pop(len(jobs))
    assert killer["status"] == "failed"
    assert "the worker died at it 1 times" in killer["reasons"][0]
    assert good(there) == good(here)
    assert "job_of_many_kinds" in there[1]["traceback"]
    assert (0, "half", 0.5) in heard


def test_a_worker_keeps_its_process_for_the_next_job(cluster) -> None:
    """With what that has loaded; and ends it when the run is over."""
    owners = workers(cluster)
    outcomes = dict(hand_out(["a"] * 6, job_of_many_kinds, scheduler=cluster.scheduler_address))
    assert len({outcome["pid"] for outcome in outcomes.values()}) <= 2
    assert soon(lambda: not any(children(pid) for pid in owners.values()))


def test_a_cohort_is_the_same_to_the_last_byte_although_a_worker_is_killed(
    cluster, cases, tmp_path, monkeypatch
) -> None:
    """Also if paths are relative, to a folder that the workers are not in."""
    owners, killed = workers(cluster), []

    def kill(message: str, fraction: float) -> None:
        at_work = [pid for pid in owners.values() if children(pid)]
        if not killed and at_work:
            os.kill(at_work[0], signal.SIGKILL)
            killed.append(at_work[0])

    monkeypatch.chdir(tmp_path)
    near = os.path.relpath(cases)
    prepare_cohort(near, "here", GRID, jobs=2, work=quick_case)
    result = prepare_cohort(near, "there", GRID, work=quick_case, scheduler=cluster.scheduler_address, progress=kill)
    assert killed
    assert result.counts() == {"good": len(NAMES)}
    assert content(tmp_path / "there") == content(tmp_path / "here")


def test_synthetic_pets_are_the_same_to_the_last_byte(cluster, tmp_path) -> None:
    cases, outs = make_cohort(tmp_path / "cases", NAMES[:1]), {name: tmp_path / name for name in ("here", "there")}
    question = ["synthesize", str(cases), "--cohort", "--temperature", "1", "--samples", "2", "--regions"]
    assert main([*question, "--output", str(outs["here"])]) == 0
    assert main([*question, "--output", str(outs["there"]), "--scheduler", cluster.scheduler_address]) == 0
    assert len(list(outs["there"].rglob("*_pet.nii.gz"))) == 2
    assert content(outs["there"]) == content(outs["here"])


def test_training_has_its_cases_prepared_there(cluster, cases, tmp_path, monkeypatch, capfd) -> None:
    """Which nobody but the workers does: the processes that this computer could have started are none."""
    monkeypatch.setattr(DualGlowLib.training.run, "prepare_cohort", partial(prepare_cohort, work=quick_case))
    settings = write_settings(tmp_path / "settings.json", steps=1, sampled_cases=0)
    command = ["train", str(cases), "--grid", GRID.name, "--config", str(settings), "--device", "cpu"]
    address = cluster.scheduler_address
    assert main([*command, "--output", str(tmp_path / "none/run"), "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "doesn't answer" in capfd.readouterr().err
    monkeypatch.setattr(DualGlowLib.cluster, "work_off", None)
    assert main([*command, "--output", str(tmp_path / "there/run"), "--scheduler", address]) == 0
    assert "4 good of 4 cases" in capfd.readouterr().err
    assert ["--scheduler", address] == read_status(tmp_path / "there/run").arguments[-2:]


def test_a_wish_to_stop_leaves_the_workers_to_their_owner(cluster) -> None:
    owners, heard = workers(cluster), []
    outcomes = dict(
        hand_out(
            ["long", "long", "long"],
            job_of_many_kinds,
            scheduler=cluster.scheduler_address,
            stop=lambda: bool(heard),
            progress=lambda *said: heard.append(said),
        )
    )
    assert outcomes == {}
    assert not any(children(pid) for pid in owners.values())
    assert workers(cluster) == owners


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_command_in_good_order(cluster, cases, tmp_path, number) -> None:
    owners, out = workers(cluster), tmp_path / "prepared"
    command = [sys.executable, "-m", "DualGlowLib", "prepare", str(cases), str(out), "--grid", "small", "--json"]
    with subprocess.Popen(
        [*command, "--scheduler", cluster.scheduler_address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if json.loads(line)["event"] == "progress":
                break
        process.send_signal(number)
        rest, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert json.loads(rest.splitlines()[-2])["event"] == "interrupted"
    assert not any(children(pid) for pid in owners.values())
    assert not (out / "logs" / "lock").exists()


def test_other_versions_and_other_folders_are_refused(cluster, tmp_path, monkeypatch) -> None:
    def hand_to(jobs: list[str]) -> list:
        return list(hand_out(jobs, job_of_many_kinds, scheduler=cluster.scheduler_address, witness=tmp_path / "lock"))

    (tmp_path / "lock").write_text("mine")
    with monkeypatch.context() as patch:
        patch.setattr(DualGlowLib.cluster, "_versions", lambda: {"torch": "0.1"})
        with pytest.raises(InputError, match=r"The worker tcp://.* has torch .*, and this computer 0\.1"):
            hand_to(["a"])
    monkeypatch.setattr(DualGlowLib.cluster, "_content", lambda path: b"theirs")
    with pytest.raises(InputError, match=r"doesn't see .*lock as this computer does"):
        hand_to(["a"])


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("tcp://127.0.0.1:9", "doesn't answer"),
        ("node7", "is none"),
        ("node7:x", "is none"),
        ("ftp://node7:1", "is none"),
    ],
)
def test_an_address_without_a_scheduler_is_one_sentence(cases, tmp_path, capfd, address, sentence) -> None:
    assert main(["prepare", str(cases), str(tmp_path / "out"), "--scheduler", address]) == 2
    said = capfd.readouterr().err
    assert len(said.splitlines()) == 1
    assert f"The Dask scheduler {address} {sentence}" in said


def test_without_dask_one_sentence_says_how_to_get_it(cases, tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["prepare", str(cases), str(tmp_path / "out"), "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "pip install distributed" in capfd.readouterr().err


def test_a_scheduler_that_is_lost_is_one_sentence(cluster) -> None:
    """The last test: it ends the cluster."""

    def lose(*_: object) -> None:
        if not lost:
            lost.append(threading.Thread(target=cluster.close))
            lost[0].start()

    lost: list[threading.Thread] = []
    with pytest.raises(InputError, match="was lost"):
        list(hand_out(["long", "long"], job_of_many_kinds, scheduler=cluster.scheduler_address, progress=lose))
    lost[0].join()


def soon(is_so: Callable[[], bool], patience: float = 30.0) -> bool:
    end = time.monotonic() + patience
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
