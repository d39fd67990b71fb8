"""Toy runs of several processes, as a program for ``torchrun``; the same runs by one process, to compare with.

    torchrun --nproc_per_node=2 --max-restarts=1 Testing/support/rank_runs.py FOLDER

Leaves the runs of ``RUNS``, sharded ones under their names and ``-full``, the sentences of what was refused,
and ``killed``, of which one process is killed, so that all are started again.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import torch

from DualGlowLib.errors import InputError
from DualGlowLib.training.data import Cohort
from DualGlowLib.training.distributed import Ranks, joined
from DualGlowLib.training.status import Interrupted
from toy_runs import toy_cases, toy_trainer

__all__ = ["RUNS", "SHARDED", "STOPPED", "resume", "run_all", "stop_at"]

STOPPED = 2  # the step at which some are stopped
_USUAL = {"batch": 3, "steps": 4, "learning_rate": 2e-3, "checkpoint_every": 100, "validate_every": 3}
RUNS = {
    # Batches of 3, which two processes can't halve; image-only steps, then joint ones.
    "plain": {},
    "checkpoint": {"memory": "checkpoint"},
    "invertible": {"memory": "invertible"},
    "authors": {"preset_name": "authors", "optimizer": "authors", "batch": 2, "cases": "broken"},
    "paper": {"preset_name": "paper", "optimizer": "adamax"},
    "paper-conditional": {"preset_name": "paper-conditional", "memory": "invertible"},
    # A batch in pieces, and the best weights kept.
    "pieces": {
        "optimizer": "adamw",
        "batch": 4,
        "accumulate": 2,
        "image_share": 0.0,
        "patience": 2,
        "validate_every": 1,
    },
}
SHARDED = ("plain", "checkpoint", "invertible", "authors", "pieces")


def _trainer(folder: Path, ranks: Ranks | None, name: str, **more: object):
    settings = {**_USUAL, **RUNS[name], **more}
    if settings.pop("cases", None):
        settings["cases"] = _broken()
    return toy_trainer(folder, ranks, **settings)


def _broken() -> Cohort:
    """Cases of which one is not finite: the step that meets it is skipped, by all."""
    cases = toy_cases(6)
    cases.pet[1, 0, 3, 3] = torch.nan
    return cases


def run_all(folder: Path, ranks: Ranks | None = None, names: tuple[str, ...] = tuple(RUNS), ending: str = "") -> None:
    for name in names:
        _trainer(folder / (name + ending), ranks, name, sharding=ending[1:] or "none").run()


def stop_at(folder: Path, step: int, ranks: Ranks | None = None, rank: int = 0, **more: object) -> None:
    """A run of the kind ``plain`` of which one process is asked to stop after a step."""
    run = _trainer(folder, ranks, "plain", **more)
    run.stop = lambda: run.ranks.rank == rank and run.step == step
    with suppress(Interrupted):
        run.run()
    assert run.step == step


def resume(folder: Path, ranks: Ranks | None = None, **more: object) -> None:
    """Go on with a run of the kind ``plain``."""
    _trainer(folder, ranks, "plain", **more).run(resume=True)


def _refused(ranks: Ranks, folder: Path) -> None:
    """Leaves what each process hears when the last alone can't do something, and when there are too many of them."""

    def fail() -> None:
        if ranks.rank == ranks.count - 1:
            raise InputError("This case has vanished.")

    words = []
    for work in (lambda: ranks.together(fail), lambda: _trainer(folder / "few", ranks, "plain", batch=1)):
        try:
            work()
        except InputError as error:
            words.append(str(error))
    (folder / f"refused-{ranks.rank}").write_text("\n".join(words))


def _kill(folder: Path, ranks: Ranks) -> None:
    """The run ``plain`` until the last process is killed, a step after a checkpoint."""
    run = _trainer(folder, ranks, "plain", checkpoint_every=2)

    def die() -> bool:
        if run.step == 3 and ranks.rank == ranks.count - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    run.stop = die
    run.run()


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = Path(sys.argv[1])
    with joined() as everyone:
        if everyone.is_restarted:
            resume(given / "killed", everyone)
            everyone.first((given / "restarted").touch)
            raise SystemExit
        _refused(everyone, given)
        run_all(given, everyone)
        resume(given / "from-one", everyone)
        run_all(given, everyone, SHARDED, "-full")
        stop_at(given / "from-two", STOPPED, everyone, rank=1, sharding="full")
        everyone.first(lambda: shutil.copytree(given / "from-two", given / "from-two-full"))
        resume(given / "from-two-full", everyone, sharding="full")
        everyone.remember()
        _kill(given / "killed", everyone)
