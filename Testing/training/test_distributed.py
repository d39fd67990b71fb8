"""Several processes that ``torchrun`` starts: they train as one does, end together, and start again by themselves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch

from DualGlowLib.__main__ import main
from DualGlowLib.training.checkpoints import Checkpoints
from DualGlowLib.training.status import LOCK, read_status
from places import TRAIN
from rank_runs import RUNS, SHARDED, STOPPED, resume, run_all, stop_at
from tiny_training import make_simulated, write_settings
from two_processes import environment, furthest, history, torchrun

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()) or os.name == "nt",
    reason="this torch has no gloo, or this system no signals",
)

CLOSE = 1e-4
SUPPORT = Path(__file__).resolve().parents[1] / "support"


def weights(run: Path) -> dict[str, torch.Tensor]:
    return Checkpoints(run).read()[1]


# ---- toy runs, many in one start of two processes


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of the runs of one process and of two."""
    torch.set_num_threads(1)
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    run_all(one)
    stop_at(two / "from-one", STOPPED)
    paths = os.pathsep.join(sys.path)
    done = subprocess.run(
        torchrun(SUPPORT / "rank_runs.py", two, options=("--max-restarts=1",)),
        env=environment(PYTHONPATH=paths), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return one, two


@pytest.mark.parametrize("name", [*RUNS, *(f"{name}-full" for name in SHARDED)])
def test_two_processes_train_as_one(toys: tuple[Path, Path], name: str) -> None:
    one, two = toys
    of_one, of_two = one / name.removesuffix("-full") / "run", two / name / "run"
    assert furthest(of_one, of_two) < CLOSE
    mine, theirs = weights(of_two), weights(of_one)
    assert mine.keys() == theirs.keys()
    for part, tensor in theirs.items():
        assert mine[part].shape == tensor.shape
        # Adam makes whole steps of gradients that are nothing but rounding: here and there a weight goes another way.
        assert (mine[part].double() - tensor.double()).abs().mean() < CLOSE, part
    assert (of_two / "bundle" / "config.json").is_file()
    assert name.startswith("authors") == (history(of_two)[-1]["skipped"] > 0)


def test_a_run_goes_on_with_another_number_of_processes(toys: tuple[Path, Path]) -> None:
    one, two = toys
    assert len(history(two / "from-two" / "run")) == STOPPED
    resume(two / "from-two")
    for name in ("from-one", "from-two", "from-two-full"):
        assert furthest(one / "plain" / "run", two / name / "run") < CLOSE


def test_when_one_is_killed_all_go_on_to_the_same_bits(toys: tuple[Path, Path]) -> None:
    _, two = toys
    assert (two / "restarted").exists()
    mine, theirs = weights(two / "killed" / "run"), weights(two / "plain" / "run")
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert furthest(two / "killed" / "run", two / "plain" / "run") == 0


def test_what_fails_in_one_process_is_told_to_all(toys: tuple[Path, Path]) -> None:
    said = [(toys[1] / f"refused-{rank}").read_text().splitlines() for rank in (0, 1)]
    assert said[0] == said[1]
    assert said[0][0] == "This case has vanished."
    assert said[0][1] == (
        "2 processes can't share a batch of 1 (6 cases to train on); start fewer, or set batch to as many."
    )


# ---- the program


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments of ``train`` but the output."""
    folder = tmp_path_factory.mktemp("given")
    cases = make_simulated(folder / "cases", 5)
    settings = write_settings(folder / "settings.json", steps=5, learning_rate=2e-3, validate_every=3)
    return [str(cases), "--config", str(settings), "--device", "cpu", "--json"]


def test_the_program_trains_in_two_processes_as_in_one_also_when_one_is_killed(
    given: list[str], tmp_path: Path
) -> None:
    """Without --resume: torchrun starts both again, and the run is its own. The killed one has the lock."""
    torch.set_num_threads(1)
    with redirect_stdout(StringIO()):
        assert main(["train", *given, "--output", str(tmp_path / "one")]) == 0
    run, steps, kinds = tmp_path / "two", [], []
    command = torchrun(TRAIN, *given, "--output", run, options=("--max-restarts=1",))
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        for line in process.stdout:
            event = json.loads(line)
            kinds.append(event["event"])
            if event["event"] == "step":
                steps.append(event["step"])
                if steps == [1, 2, 3]:
                    os.kill(json.loads((run / LOCK).read_text())["pid"], signal.SIGKILL)
        assert process.wait() == 0
    assert steps[-2:] == [4, 5]
    assert kinds.count("done") == 1
    assert furthest(tmp_path / "one", run) < CLOSE
    assert read_status(run).state == "done"


def test_what_a_user_must_mend_is_said_once_and_not_tried_again(given: list[str], tmp_path: Path) -> None:
    command = torchrun(TRAIN, *given, "--output", tmp_path / "run", "--memory", "none", options=("--max-restarts=1",))
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1  # torchrun's own
    said = [line for line in done.stderr.splitlines() if line.startswith("dualglow train:")]
    assert said == ["dualglow train: command line: memory must be one of plain, checkpoint, invertible, not 'none'."]
    assert re.findall(r"exitcode\s*: (-?\d+)", done.stderr.split("Root Cause")[1]) == ["2"]
    assert not (tmp_path / "run").exists()
