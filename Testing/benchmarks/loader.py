"""What it costs to train on cases that are read from disk: memory by their number, and waiting by the step.

    python Testing/benchmarks/loader.py FOLDER [--cases 5000] [--batches 400] [--steps 6]

FOLDER: on the disk that is to be measured; gets the cases' files (a gigabyte; cases beyond the first 400 are further
names of their files) and is left as it is. Cases are noise on the grid ``standard`` (2 mm), two are in a batch, two
processes read. Memory is the proportional set size of the run and those processes together, so that what they share
counts once. Before the steps are timed, the system is told to forget the files. The first step is left out: the
processes start in it. Steps as short as those of a GPU are played by sleeping.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch

from DualGlowLib.cases.case import Case
from DualGlowLib.model import preset
from DualGlowLib.startup import set_up_process
from DualGlowLib.training.loading.cache import CachedCohort, VoxelCache, cohort_bytes
from DualGlowLib.training.loading.feed import Feed
from DualGlowLib.training.loop import Trainer
from DualGlowLib.training.settings import TrainingSettings
from DualGlowLib.volumes.grid import GRIDS

DISTINCT, WARM = 400, 20  # cases with a file of their own; batches before memory is looked at
PEOPLE = {"age": "70", "sex": "F", "diagnosis": "CN"}
SMALL = {"mri": {"widths": [8, 8, 8]}, "pet": {"widths": [8, 8, 8]}, "link": {"widths": [8, 8, 8]}}


def made_up(cache: VoxelCache, count: int, distinct: int) -> CachedCohort:
    """A cohort of that many cases, whose files are there afterwards."""
    generator = torch.Generator().manual_seed(0)
    cases = [Case(f"sub-{i:05d}", f"sub-{i:05d}", Path(f"t1-{i}"), Path(f"pet-{i}"), PEOPLE) for i in range(count)]
    cache.folder.mkdir(parents=True, exist_ok=True)
    for index, case in enumerate(cases):
        path, first = cache._path(case), cache._path(cases[index % distinct])
        if path.exists():
            continue
        if path != first:
            os.link(first, path)
            continue
        t1 = torch.rand(cache.grid.shape, generator=generator)
        cache.write(case, t1.half(), (0.8 * t1 + 0.1 * torch.rand(t1.shape, generator=generator)).half())
    return CachedCohort(cases, cache, 2.0)


def proportional(pid: int) -> int:
    """Bytes of a process, of what it shares its share."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def memory(feed: Feed) -> int:
    return sum(map(proportional, [os.getpid(), *(process.pid for process in feed._batches._workers)]))


def forget(folder: Path) -> None:
    """Let the system forget the files, so that they come from the disk."""
    for path in {path.stat().st_ino: path for path in folder.glob("*.voxels")}.values():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def reading(cohort: CachedCohort, settings: TrainingSettings, batches: int) -> tuple[int, int, float]:
    """Memory after some batches and after all, and seconds a batch when nothing else computes."""
    feed = Feed(cohort, settings, slice(None), torch.device("cpu"), print)
    warm = min(WARM, batches // 2)
    try:
        for step in range(warm):
            feed.batch(step)
        before, began = memory(feed), time.monotonic()
        for step in range(warm, batches):
            feed.batch(step)
        return before, memory(feed), (time.monotonic() - began) / (batches - warm)
    finally:
        feed.close()


def waiting(cohort: CachedCohort, settings: TrainingSettings, step: float, steps: int) -> float:
    """Seconds that a step of that many seconds, which keeps no processor busy, waits for its batch."""
    feed, total = Feed(cohort, settings, slice(None), torch.device("cpu"), print), 0.0
    try:
        feed.batch(0)
        for number in range(1, steps + 1):
            time.sleep(step)
            began = time.monotonic()
            feed.batch(number)
            total += time.monotonic() - began
        return total / steps
    finally:
        feed.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--batches", type=int, default=400, help="0: leave the memory out")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--tiny", action="store_true", help="smallest grid and model, one process, to see that it runs")
    asked = parser.parse_args()
    grid = GRIDS["small" if asked.tiny else "standard"]
    workers = 1 if asked.tiny else 2
    settings = TrainingSettings(steps=10**6, warmup=1000, initialize_with=2, sampled_cases=0, workers=workers)
    cohort = made_up(VoxelCache(asked.folder / "voxels", grid), asked.cases, min(DISTINCT, asked.cases))

    print("| cases | as float16 | memory at first | after all batches | a batch, alone |\n|---|---|---|---|---|")
    for count in sorted({max(4, asked.cases // 100), asked.cases}) if asked.batches else ():
        first, last, seconds = reading(cohort.subset(range(count)), settings, asked.batches)
        size, first, last = (value / 2**20 for value in (cohort_bytes(count, grid), first, last))
        print(f"| {count} | {size:.0f} MiB | {first:.0f} MiB | {last:.0f} MiB | {1000 * seconds:.0f} ms |", flush=True)

    print("\n| a step | of it waiting for the batch | share |\n|---|---|---|", flush=True)
    for seconds in (0.1,) if asked.tiny else (1.0, 0.3, 0.1):
        forget(cohort.cache.folder)
        wait = waiting(cohort, settings, seconds, max(4, 5 * asked.steps))
        share = 100 * wait / (wait + seconds)
        print(f"| {wait + seconds:.3f} s, asleep | {1000 * wait:.1f} ms | {share:.2f} % |", flush=True)
    if not asked.steps:
        return
    forget(cohort.cache.folder)
    config = preset("standard", grid.shape, **(SMALL if asked.tiny else {}))
    train, none = cohort.subset(range(asked.cases)), cohort.subset([])
    trainer = Trainer(asked.folder / "run", config, settings, grid, train, none)
    trainer.model.initialize(*trainer._first_cases())
    trainer._spread()
    waits, take = [], trainer.feed.batch

    def timed(step: int) -> object:
        began = time.monotonic()
        batch = take(step)
        waits.append(time.monotonic() - began)
        return batch

    trainer.feed.batch = timed
    trainer.advance()
    began = time.monotonic()
    for _ in range(asked.steps):
        trainer.advance()
    step, wait = (time.monotonic() - began) / asked.steps, sum(waits[1:]) / asked.steps
    trainer.feed.close()
    print(f"| {step:.3f} s | {1000 * wait:.1f} ms | {100 * wait / step:.2f} % |")


if __name__ == "__main__":
    set_up_process()
    main()
