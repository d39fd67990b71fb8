"""A program started by ``torchrun`` in two processes, and how far its training is from that of one."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

__all__ = ["environment", "furthest", "history", "torchrun"]


def torchrun(*arguments: object, options: tuple[str, ...] = ()) -> list[str]:
    """The command line."""
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", *options]
    return [*run, *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """As a user's: without the paths of the tests, and a thread each."""
    return {**{key: value for key, value in os.environ.items() if key != "PYTHONPATH"}, "OMP_NUM_THREADS": "1", **more}


def furthest(mine: Path, theirs: Path) -> float:
    """The largest difference of anything in two histories but the time; infinite if one has what the other lacks."""
    found = 0.0
    for one, other in zip(history(mine), history(theirs), strict=True):
        if one.keys() != other.keys():
            return float("inf")
        for key in one.keys() - {"seconds"}:
            # None of two that are not finite is larger.
            found = max(found, 0.0 if str(one[key]) == str(other[key]) else abs(one[key] - other[key]))
    return found


def history(run: Path) -> list[dict]:
    """What each step said of itself."""
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
