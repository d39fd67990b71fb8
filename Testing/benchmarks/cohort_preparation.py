"""How preparing a cohort scales with processes: wall time of one and of several jobs over the same real heads.

    python Testing/benchmarks/cohort_preparation.py HEADS [--cases 8] [--jobs 2] [--grid standard] [--json FILE]

HEADS is a folder of T1s (``*_T1.nii.gz``). Each is prepared without a PET, from reading to pictures, twice: with one
process and with several, into new folders. Prints the wall times, their ratio, the time per case, and whether both
gave the same bytes. Run it on an idle machine with at least as many cores as jobs.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from DualGlowLib.cohorts.cohort import prepare_cohort
from DualGlowLib.volumes.grid import GRIDS


def measure(table: Path, out: Path, grid: str, jobs: int) -> float:
    """Seconds to prepare the cases of a table."""
    begun = time.perf_counter()
    result = prepare_cohort(table, out, GRIDS[grid], jobs=jobs, t1_only=True)
    seconds = time.perf_counter() - begun
    print(f"{jobs} job{'s' * (jobs > 1)}: {seconds:.1f} s, {result.counts()}", flush=True)
    return seconds


def content(out: Path) -> dict[str, bytes]:
    paths = (path for path in out.rglob("*") if path.is_file() and path.parent.name != "logs")
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("heads", type=Path)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--grid", default="standard")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    heads = sorted(arguments.heads.resolve().glob("*_T1.nii.gz"))[: arguments.cases]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        rows = [f"{path.name.removesuffix('_T1.nii.gz')},{path}" for path in heads]
        table = place / "cases.csv"
        table.write_text("\n".join(["case,t1", *rows]) + "\n")
        seconds = {jobs: measure(table, place / str(jobs), arguments.grid, jobs) for jobs in (1, arguments.jobs)}
        same = content(place / "1") == content(place / str(arguments.jobs))
    ratio = seconds[1] / seconds[arguments.jobs]
    print(f"{len(heads)} cases on {os.cpu_count()} cores, grid {arguments.grid}")
    print(f"{seconds[1] / len(heads):.1f} s a case in one process; {arguments.jobs} jobs are {ratio:.2f} × as fast")
    print("the same bytes" if same else "NOT the same bytes")
    if arguments.json:
        arguments.json.write_text(json.dumps({"seconds": seconds, "ratio": ratio, "same": same}, indent=1) + "\n")


if __name__ == "__main__":
    main()
