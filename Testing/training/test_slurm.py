"""The script of the manual for folds as an array, run as Slurm does: told to stop, requeued, evaluated."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from DualGlowLib.__main__ import main
from DualGlowLib.training.status import read_status
from places import LIBRARY, ROOT
from tiny_training import make_simulated, write_settings

pytestmark = pytest.mark.skipif(os.name != "posix", reason="job scripts are for a POSIX shell")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``prepared`` and ``folds.json``."""
    folder = tmp_path_factory.mktemp("cohort")
    cases = str(make_simulated(folder / "prepared", 4))
    assert main(["validate", cases, "--splits", str(folder / "folds.json"), "--folds", "2"]) == 0
    return folder


@pytest.fixture
def job(cohort: Path, tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """Starts the script in a folder with cases and folds; ``srun`` is the program itself, ``scontrol`` keeps a list."""
    page = (ROOT / "Documentation" / "slurm.md").read_text(encoding="utf-8")
    script = re.search(r"```bash\n(.*?)```", page.partition("## Folds as an array")[2], re.DOTALL)[1]
    (tmp_path / "fold.sh").write_text(script)
    programs = {"srun": 'exec "$@"', "scontrol": 'echo "$@" >> told.txt', "python": f'exec {sys.executable} "$@"'}
    (tmp_path / "bin").mkdir()
    for name, line in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    shutil.copytree(cohort, tmp_path, dirs_exist_ok=True)
    started = []

    def start(steps: int, **more: str) -> subprocess.Popen:
        write_settings(tmp_path / "settings.json", steps=steps)
        variables = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_JOB_ID": "77", "OMP_NUM_THREADS": "1", **more}
        path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(LIBRARY), **variables}
        started.append(subprocess.Popen(["bash", "fold.sh"], cwd=tmp_path, env=environment, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(step: int, run: Path, process: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    while read_status(run).step < step:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_fold_is_stopped_requeued_and_gone_on_with(job, tmp_path: Path) -> None:
    run, told = tmp_path / "runs" / "fold-1", tmp_path / "told.txt"
    first = job(10**6)
    until(1, run, first)
    first.send_signal(signal.SIGUSR1)  # as --signal=B:USR1 does: to the script alone
    assert first.wait(timeout=120) == 0
    assert told.read_text() == "requeue 77\n"
    before = read_status(run)
    assert before.state == "stopped"

    (run / "run.lock").write_text('{"host": "a node that is gone", "pid": 1, "since": "2026-01-01 00:00:00"}\n')
    second = job(10**6, SLURM_RESTART_COUNT="1")
    until(before.step + 1, run, second)
    second.send_signal(signal.SIGUSR1)
    assert second.wait(timeout=120) == 0
    assert read_status(run).step > before.step


def test_a_fold_that_is_done_is_evaluated(job, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert job(1).wait(timeout=200) == 0
    assert not (tmp_path / "told.txt").exists()
    assert main(["folds", str(tmp_path / "runs")]) == 1
    said = capsys.readouterr().out
    assert "fold 0: missing" in said
    assert "1 of 2 folds count" in said


def test_a_fold_that_fails_is_not_requeued(job, tmp_path: Path) -> None:
    (tmp_path / "folds.json").write_text("{}")
    assert job(1).wait(timeout=100) == 2
    assert not (tmp_path / "told.txt").exists()
