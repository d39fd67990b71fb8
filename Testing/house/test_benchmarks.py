"""The benchmarks of speed, and the study of killed trainings, run; how fast is not asked here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def printed(*line: str | Path) -> str:
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([str(part) for part in line], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="the command is a shell script")
def test_the_check_of_a_gpu_runs_on_any_device() -> None:
    """Its exit code says that the devices agree."""
    text = printed(ROOT / "Testing/gpu/check.sh", "--tiny")
    assert text.count("| yes |") == 12
    assert re.search(r"\| paper \| step, bfloat16 \| [\d.]+ ms \| \d+% of", text)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are copies of one, and SIGKILL")
def test_killed_trainings_end_as_undisturbed_ones() -> None:
    """Its exit code says that model and history are the same."""
    options = ["--runs", "1", "--kills", "3", "--cases", "3", "--steps", "14"]
    text = printed(sys.executable, ROOT / "Testing/benchmarks/kill_study.py", *options)
    assert re.search(r"^\| 1 \| 1 \| 1 \| 1 \| \d \| the same \|$", text, re.M)


def test_speed_against_a_commit() -> None:
    try:
        subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("git reads no commit here, so there is nothing to compare with")
    speed = [sys.executable, ROOT / "Testing/benchmarks/speed.py", "--tiny", "--rounds", "1", "--steps", "1"]
    cases = ["step-medium-b2", "exact-age"]
    text = printed(*speed, *cases, "--against", "HEAD")
    assert re.findall(r"^\| (\S+) \| [\d.]+ \| [\d.]+ \| \*\*[\d.]+\*\*", text, re.M) == cases


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_reading_batches_from_disk(tmp_path: Path) -> None:
    loader = [sys.executable, ROOT / "Testing/benchmarks/loader.py", tmp_path, "--tiny"]
    text = printed(*loader, "--cases", "12", "--batches", "8", "--steps", "2")
    memory = r"\d+ MiB \| \d+ MiB \| \d+ MiB \| \d+ ms"
    assert re.findall(rf"^\| (\d+) \| {memory} \|$", text, re.M) == ["4", "12"]
    assert re.search(r"^\| [\d.]+ s \| [\d.]+ ms \| [\d.]+ % \|$", text, re.M)
