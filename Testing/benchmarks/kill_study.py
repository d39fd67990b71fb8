"""Trainings that are killed (``kill -9``) at random moments and resumed: do they end as one that nobody disturbs?

    PYTHONPATH=Testing/support python Testing/benchmarks/kill_study.py [--runs 3] [--kills 10] [--cases 24] [--steps 60]

Simulates a cohort on the small grid and runs ``train`` on it, with a model of a few channels. Each kill is, in turn,
some milliseconds after the process began; right before it opens, renames or deletes a file of its run, of which a
random one; or between the two renames of a checkpoint, its tensors' and its JSON file's. Prints a Markdown table, one
row a run, and ends with 1 unless model and history are those of the undisturbed run, byte for byte. Needs ``fork``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

from DualGlowLib.__main__ import main as dualglow
from tiny_training import make_simulated, write_settings
from toy_runs import begin, content, end_of, watch

_KINDS = ("at a moment", "before an act on a file", "between the renames of a checkpoint")
_MOST_ACTS = 60
_CHECKPOINT_EVERY = 3


def train(arguments: list[str], run: Path, resume: bool) -> int:
    """The program, heard by nobody; gives its exit code."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        return dualglow(["train", *arguments, "--output", str(run), *(["--resume"] if resume else [])])


def killed(arguments: list[str], run: Path, kind: str, rng: random.Random, seconds: float) -> int:
    """Begin or resume the run, and kill it in this way; gives its exit code: -9, or 0 if it was done before."""
    renames, acts = rng.randint(1, 3), rng.randint(1, _MOST_ACTS)
    resume = (run / "history.jsonl").exists()

    def work() -> None:
        if kind != _KINDS[0]:
            wanted = re.compile(r"rename checkpoint-\d+\.json" if kind == _KINDS[2] else ".*")
            left = [renames if kind == _KINDS[2] else acts]

            def heard(act: str) -> None:
                left[0] -= bool(wanted.fullmatch(act))
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

            watch(run, heard)
        os._exit(train(arguments, run, resume))

    process = begin(work)
    if kind == _KINDS[0]:
        time.sleep(rng.uniform(0, seconds))
        os.kill(process, signal.SIGKILL)
    return end_of(process)


def reached(run: Path) -> tuple[int, int]:
    """The last step of a run's history, and the one that it would go on from."""
    history = run / "history.jsonl"
    lines = history.read_text(encoding="utf-8", errors="replace").splitlines() if history.exists() else []
    steps = [int(found[1]) for line in lines if line.endswith("}") and (found := re.match(r'{"step": (\d+)', line))]
    saved = [int(path.stem.partition("-")[2]) for path in run.glob("checkpoint-*.json")]
    return max(steps, default=0), max(saved, default=0)


def study(arguments: list[str], run: Path, rng: random.Random, kills: int, seconds: float) -> tuple[list[str], int]:
    """Kill a run so many times, and let it end; gives how it was killed, and the most steps that were done again."""
    done, most = [], 0
    while len(done) < kills:
        kind = _KINDS[len(done) % len(_KINDS)]
        if (code := killed(arguments, run, kind, rng, seconds)) != -signal.SIGKILL:
            raise SystemExit(f"The run ended with {code} after {len(done)} kills; give more --steps.")
        done.append(kind)
        last, saved = reached(run)
        most = max(most, last - saved)
    if code := train(arguments, run, (run / "history.jsonl").exists()):
        raise SystemExit(f"The run can't be resumed ({code}) after {len(done)} kills.")
    return done, most


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, usual in (("runs", 3), ("kills", 10), ("cases", 24), ("steps", 60), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        changes = {"steps": given.steps, "checkpoint_every": _CHECKPOINT_EVERY, "validate_every": 10}
        settings = write_settings(folder / "settings.json", **changes)
        arguments = [str(make_simulated(folder / "cases", given.cases)), "--config", str(settings), "--device", "cpu"]
        began = time.monotonic()
        if code := train(arguments, folder / "undisturbed" / "run", False):
            raise SystemExit(f"train ended with {code}.")
        seconds = time.monotonic() - began
        whole, worst = content(folder / "undisturbed" / "run"), 0
        print(f"{given.cases} cases, {given.steps} steps, a checkpoint every {_CHECKPOINT_EVERY}; {seconds:.0f} s\n")
        print(f"| run | {' | '.join(_KINDS)} | most steps done again | model and history |\n|---|---|---|---|---|---|")
        for number in range(given.runs):
            run = folder / str(number) / "run"
            kinds, most = study(arguments, run, random.Random(given.seed + number), given.kills, seconds / 4)
            found = content(run)
            same = found == whole
            worst |= not same
            counts = " | ".join(str(kinds.count(kind)) for kind in _KINDS)
            words = "the same" if same else json.dumps(sorted(name for name in whole if found[name] != whole[name]))
            print(f"| {number + 1} | {counts} | {most} | {words} |", flush=True)
    return worst


if __name__ == "__main__":
    sys.exit(main())
