"""A made-up raw cohort and a program that prepares it, quickly or really, or is killed so many times while it does.

python Testing/support/raw_cohort.py CASES OUT JOBS quick|real
python Testing/support/raw_cohort.py CASES OUT TIMES kill
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from DualGlowLib.atlas.template import load_template
from DualGlowLib.cases.report import validate_cases
from DualGlowLib.cohorts.cohort import prepare_cohort
from DualGlowLib.cohorts.preparing import prepare_case
from DualGlowLib.files import hash_file
from DualGlowLib.preparation.intensity import normalise_t1
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.writing import write_scan
from places import LIBRARY

__all__ = [
    "GRID",
    "case_without_torch",
    "coarse_template",
    "content",
    "group_is_gone",
    "job_of_many_kinds",
    "make_cohort",
    "quick_case",
    "start",
]

GRID = GRIDS["small"]


def make_cohort(folder: Path, names: list[str], size: float = 5.0) -> Path:
    """The template as T1s of several people, moved and stretched a little, with masks; PETs from its tissue maps.

    Both images name one space, so that the PET needs no registration, and cover the whole grid.
    """
    coarse, maps = coarse_template()
    rows = ["participant_id\tage\tsex\tdiagnosis\tsite"]
    for number, name in enumerate(names):
        angle, shape = np.deg2rad(3 * number - 4), (46, 54, 40)
        affine = np.diag([size, size, size, 1.0])
        affine[:2, :2] = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        affine[:3, 3] = [2 * number, -17, 8 - number] - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
        stretch = np.diag([1 + 0.02 * number, 1 - 0.01 * number, 1, 1])

        t1, brain, gm, wm = (resample(data, stretch @ coarse, shape, affine) for data in maps)
        scatter = np.random.default_rng(number).uniform(0, 0.01, shape)  # so that the whole volume counts as measured
        uptake = 8000 * (1.6 * gm + 0.9 * wm + 0.05 * brain + scatter)
        for data, path in (
            (t1, f"anat/{name}_space-orig_T1w.nii.gz"),
            (brain > 0.5, f"anat/{name}_space-orig_desc-brain_mask.nii.gz"),
            (uptake, f"pet/{name}_trc-18FFDG_space-orig_pet.nii.gz"),
        ):
            (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            write_scan(Scan(data, affine), folder / name / path)
        rows.append(f"{name}\t{60 + number}\t{'FM'[number % 2]}\tCN\tRome")
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    return folder


@lru_cache(maxsize=1)  # takes far longer than all that is made of it
def coarse_template() -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """The template at 4 mm: affine; T1, brain, grey and white matter."""
    template, coarse = load_template(), np.diag([4.0, 4.0, 4.0, 1.0])
    coarse[:3, 3] = (-90, -126, -72)
    scans = (template.t1, template.mask, template.gm, template.wm)
    return coarse, tuple(resample(scan.data, scan.affine, (46, 55, 46), coarse) for scan in scans)


def quick_case(job, progress) -> dict:
    """``prepare_case`` without what writes nothing and takes nearly all of the time: registrations and drawing.

    A shift to the template's middle stands in for the T1's; reading, records and the writing of every file are real.
    """
    import DualGlowLib.pictures.quality as pictures
    import DualGlowLib.preparation.pet as pets
    import DualGlowLib.preparation.t1 as t1s

    def prepare(scan, grid, mask, report, bias):
        report("registration", 0.5)
        inside = _array(mask)
        to_template = np.eye(4)
        centre = scan.affine[:3, :3] @ np.argwhere(inside).mean(axis=0) + scan.affine[:3, 3]
        to_template[:3, 3] = np.array([0.0, -18.0, 6.0]) - centre
        target = np.linalg.inv(to_template) @ grid.affine
        share = resample(inside, scan.affine, grid.shape, target) > 0.5
        t1 = normalise_t1(resample(scan.data, scan.affine, grid.shape, target), share)
        return t1s.Prepared(grid, t1, share, scan, inside, to_template, {"dice": 0.9, "bias": bias})

    def prepare_pet(pet, prepared, *, reference, resolution, source_resolution, registered, progress):
        progress("resampling", 0.5)
        target = np.linalg.inv(prepared.to_template) @ prepared.grid.affine
        values = resample(pet.data, pet.affine, prepared.grid.shape, target)
        mean = float(values[prepared.mask].mean())
        return pets.PreparedPet(pet, values / mean, np.eye(4), reference, mean, source_resolution, {"covered": 1.0})

    def slice_of(volume: np.ndarray) -> np.ndarray:
        return np.repeat((np.clip(volume[:, :, 16] / 2, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)

    t1s.prepare, pets.prepare_pet = prepare, prepare_pet
    pictures.t1_picture, pictures.pet_picture = lambda one: slice_of(one.t1), lambda _, pet: slice_of(pet.suvr)
    if job.case.name == "sub-raise":
        raise RuntimeError("out of luck")
    if job.case.name == "sub-die" and not (job.out / "logs" / "survived").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return prepare_case(job, progress)


def case_without_torch(job, progress) -> dict:
    """``prepare_case``; fails if that has loaded torch, of which a whole brain with its mask has no need."""
    outcome = prepare_case(job, progress)
    assert "torch" not in sys.modules
    return outcome


def _array(mask) -> np.ndarray:
    return mask.data > 0 if isinstance(mask, Scan) else np.asarray(mask, bool)


def job_of_many_kinds(job: str, progress) -> dict:
    """For the pool alone."""
    if job == "raise":
        raise ValueError("no good\nat all")
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "exit":
        os._exit(3)
    if job == "long":
        progress("begun", 0.0)
        time.sleep(600)
    if job.startswith("kill the worker"):
        progress("begun", 0.0)
        time.sleep(0.5)  # until that is heard
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    progress("half", 0.5)
    return {"status": "good", "job": job, "pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}


def job_alone(job: str, progress) -> dict:
    """The same, each in a process of its own."""
    return job_of_many_kinds(job, progress)


job_alone.alone = True


def start(cases: Path, out: Path, number: int, work: str = "quick") -> subprocess.Popen:
    """The script above in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, __file__, str(cases), str(out), str(number), work],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(LIBRARY), *filter(None, [os.environ.get("PYTHONPATH")])]),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def content(out: Path) -> dict[str, str]:
    """The hash of every file but the logs."""
    paths = sorted(path for path in out.rglob("*") if path.is_file() and path.parent.name != "logs")
    return {path.relative_to(out).as_posix(): hash_file(path) for path in paths}


def group_is_gone(group: int, patience: float = 30.0) -> bool:
    """Whether no process of the group runs any more; one that only waits for its burial (zombie) doesn't."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        table = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
        if not any(int(line.split()[0]) == group and "Z" not in line for line in table.splitlines()):
            return True
        time.sleep(0.1)
    return False


def kill_at_random(cases: str, out: Path, times: int) -> None:
    """Kill processes that prepare, copies of this one; prints a JSON object about each.

    ``code``: its exit code; ``gone``: whether no process of its group is left; ``content`` of the folder; ``usable``:
    the cases that can be used, says the folder. What is complete is removed, so that the next one begins anew.
    """
    rng, kills, code = random.Random(2024), 0, 0
    while kills < times and code in (0, -signal.SIGKILL):
        reading, writing = os.pipe()
        number = os.fork()
        if not number:
            os.setsid()
            os.dup2(writing, 1)
            os.close(reading)
            os._exit(prepare(cases, out, 1 + kills % 2, quick_case))
        os.close(writing)
        with open(reading) as lines:
            heard = all(lines.readline() for _ in range(rng.randint(1, 14)))
            time.sleep(rng.uniform(0, 0.03))
            if heard:
                os.killpg(number, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
        kills += code == -signal.SIGKILL
        gone, there = group_is_gone(number), content(out)
        items = validate_cases(out).findings.items if (out / "dataset_description.json").exists() else ()
        usable = [item.name for item in items if item.is_usable()]
        print(json.dumps({"code": code, "gone": gone, "content": there, "usable": usable}), flush=True)
        if "manifest.json" in there:
            shutil.rmtree(out)


def prepare(cases: str, out: Path, jobs: int, work: Callable[[object, Callable], dict]) -> int:
    stopped = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.append(True))
    result = prepare_cohort(
        cases,
        out,
        GRID,
        jobs=jobs,
        progress=lambda message, fraction: print(f"{fraction:.3f} {message}", flush=True),
        stop=lambda: bool(stopped),
        work=work,
    )
    return 1 if result.interrupted else 0


def main() -> int:
    cases, out, number, work = sys.argv[1:5]
    if work == "kill":
        kill_at_random(cases, Path(out), int(number))
        return 0
    return prepare(cases, Path(out), int(number), {"quick": quick_case, "real": prepare_case}[work])


if __name__ == "__main__":
    sys.exit(main())
