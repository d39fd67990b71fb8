"""A made-up raw cohort and a program that prepares it, quickly or really.

python Testing/support/raw_cohort.py CASES OUT JOBS quick|real
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from DualGlowLib.atlas.template import load_template
from DualGlowLib.cohorts.cohort import prepare_cohort
from DualGlowLib.cohorts.preparing import prepare_case
from DualGlowLib.preparation.intensity import normalise_t1
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.writing import write_scan
from places import LIBRARY

__all__ = ["GRID", "job_of_many_kinds", "make_cohort", "quick_case", "start"]

GRID = GRIDS["small"]


def make_cohort(folder: Path, names: list[str], size: float = 5.0) -> Path:
    """The template as T1s of several people, moved and stretched a little, with masks; PETs from its tissue maps.

    Both images name one space, so that the PET needs no registration.
    """
    template = load_template()
    coarse = np.diag([4.0, 4.0, 4.0, 1.0])
    coarse[:3, 3] = (-90, -126, -72)
    maps = {
        name: resample(scan.data, scan.affine, (46, 55, 46), coarse)
        for name, scan in (("t1", template.t1), ("brain", template.mask), ("gm", template.gm), ("wm", template.wm))
    }
    rows = ["participant_id\tage\tsex\tdiagnosis\tsite"]
    for number, name in enumerate(names):
        angle, shape = np.deg2rad(3 * number - 4), (34, 42, 36)
        affine = np.diag([size, size, size, 1.0])
        affine[:2, :2] = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        affine[:3, 3] = [2 * number, -17, 8 - number] - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
        stretch = np.diag([1 + 0.02 * number, 1 - 0.01 * number, 1, 1])

        t1, brain, gm, wm = (resample(data, stretch @ coarse, shape, affine) for data in maps.values())
        uptake = 8000 * (1.6 * gm + 0.9 * wm + 0.05 * brain)
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
        time.sleep(600)
    progress("half", 0.5)
    return {"status": "good", "job": job, "pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}


def start(cases: Path, out: Path, jobs: int, work: str = "quick") -> subprocess.Popen:
    """The script above in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, __file__, str(cases), str(out), str(jobs), work],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(LIBRARY), *filter(None, [os.environ.get("PYTHONPATH")])]),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def main() -> int:
    cases, out, jobs, work = sys.argv[1:5]
    stopped = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.append(True))
    result = prepare_cohort(
        cases,
        out,
        GRID,
        jobs=int(jobs),
        progress=lambda message, fraction: print(f"{fraction:.3f} {message}", flush=True),
        stop=lambda: bool(stopped),
        work={"quick": quick_case, "real": prepare_case}[work],
    )
    return 1 if result.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
