"""What ``train --estimate`` says of a run, beside what the run then takes: memory and time, on three settings.

    python Testing/benchmarks/training_estimate.py CASES

CASES: a simulated cohort on the small grid. Prints a Markdown table; the time begins with the first step and ends with
the bundle.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = {
    "standard, small": ["--steps", "40"],
    "standard, small, one case a step, checkpoint": ["--steps", "40", "--batch", "1", "--memory", "checkpoint"],
    "standard, small, four cases a step, invertible": ["--steps", "16", "--batch", "4", "--memory", "invertible"],
}


def events(arguments: list[str]) -> tuple[list[tuple[float, dict]], int]:
    """What ``train`` says, with when it said it (seconds), and the most memory that it had (bytes)."""
    command = [sys.executable, "-m", "DualGlowLib", "train", *arguments, "--device", "cpu", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    heard = [(time.monotonic(), json.loads(line)) for line in process.stdout]
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"train ended with {process.returncode}.")
    return heard, usage.ru_maxrss << 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases")
    cases = parser.parse_args().cases
    print("| setting | memory, MiB: said | was | time, s: said | was |\n|---|---|---|---|---|", flush=True)
    for name, options in SETTINGS.items():
        with tempfile.TemporaryDirectory() as folder:
            arguments = [cases, "--output", str(Path(folder) / "run"), *options]
            said = events([*arguments, "--estimate"])[0][-1][1]
            heard, memory = events(arguments)
        begin = max(when for when, event in heard if event.get("stage") == "reading")
        cells = [said["memory"] / 2**20, memory / 2**20, said["seconds"], heard[-1][0] - begin]
        print(f"| {name} | {' | '.join(f'{value:.0f}' for value in cells)} |", flush=True)


if __name__ == "__main__":
    main()
