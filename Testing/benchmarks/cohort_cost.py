"""What one T1 of a cohort costs in processor seconds and bytes: prepared for training, or to 20 PETs; and 100,000.

    python Testing/benchmarks/cohort_cost.py T1 [T1 …] [--grid medium]

The T1s become a plain cohort, which ``synthesize --cohort`` and ``prepare --t1-only`` work off in one process with one
thread, as ``--jobs`` and ``--scheduler`` do in many. Processor seconds are those of that process and its parent, the
start of both included; other programs beside it lengthen them a little.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

MANY, CORES = 100_000, 16
PETS = ["--temperature", "1", "--samples", "20", "--regions"]


def cost(command: list[str], out: Path, count: int) -> tuple[float, float]:
    """Processor seconds and megabytes of a case."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "DualGlowLib", *command], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return seconds / count, size / count / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("t1", nargs="+", type=Path)
    parser.add_argument("--grid", default="medium")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases = Path(folder) / "cases"
        for number, t1 in enumerate(arguments.t1):
            (cases / f"case{number}").mkdir(parents=True)
            (cases / f"case{number}" / f"t1{''.join(t1.suffixes[-2:])}").symlink_to(t1.resolve())
        rows = {}
        for name, command in {
            "synthesize: mean, sd and regions of 20 samples": ["synthesize", str(cases), "--cohort", *PETS, "--output"],
            "synthesize: temperature 0": ["synthesize", str(cases), "--cohort", "--output"],
            "prepare --t1-only": ["prepare", str(cases), "--t1-only", "--no-pictures", "--grid", arguments.grid],
        }.items():
            out = Path(folder) / f"out{len(rows)}"
            rows[name] = cost([*command, str(out)], out, len(arguments.t1))
    print(
        f"| {len(arguments.t1)} T1s | processor seconds, MB a case | {MANY:,}: core hours, days on {CORES} cores, TB |"
    )
    print("|---|---|---|")
    for name, (seconds, megabytes) in rows.items():
        hours, days = seconds * MANY / 3600, seconds * MANY / 3600 / 24 / CORES
        print(f"| {name} | {seconds:.1f}, {megabytes:.2f} | {hours:.0f}, {days:.1f}, {megabytes * MANY / 1e6:.2f} |")


if __name__ == "__main__":
    main()
