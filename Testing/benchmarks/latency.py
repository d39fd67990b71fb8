"""How long a user of the window waits: preparation, exact results, preview; measured through the real worker process.

    python Testing/benchmarks/latency.py [--t1 T1.nii.gz] [--runs 7] [--device auto] [--bundle FOLDER] [--samples 8]

Without a T1 the template's own is taken, put into a 1 mm lattice of 256³ voxels as scanners give it. Prints a Markdown
table: seconds for the first preparation (once) and medians of several runs for the rest.

- exact: one ``sample`` request, with the mean on the T1's lattice written by the worker and read here;
- keyframe: one frame on the model's grid (of the given number of samples);
- preview: two keyframes on disk, read and interpolated, and two in memory, interpolated: what a moving slider needs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from asked import Worker

from DualGlowLib.atlas.template import load_template
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan

LIBRARY = Path(__file__).resolve().parents[2] / "DualGlowSynthesis"
WANTED = {"exact": 2.0, "preview": 0.05, "prepare": 60.0}  # seconds, for the bundled model on two CPU cores


def head() -> Scan:
    """The template on a 1 mm lattice of 256³ voxels, turned a little and with its left first, as from a scanner."""
    t1 = load_template().t1
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.08), -np.sin(0.08)], [np.sin(0.08), np.cos(0.08)]]
    affine = turn @ np.array([[-1.0, 0, 0, 128], [0, 1, 0, -145], [0, 0, 1, -110], [0, 0, 0, 1]])
    return Scan(resample(t1.data, t1.affine, (256, 256, 256), affine), affine, "template")


def median(work: Callable[[int], object], runs: int) -> float:
    times = []
    for run in range(runs):
        start = time.perf_counter()
        work(run)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def loaded(path: str) -> np.ndarray:
    array = np.load(path)
    Path(path).unlink()
    return array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--t1")
    parser.add_argument("--bundle")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--samples", type=int, default=8)
    arguments = parser.parse_args()
    scan = read_scan(arguments.t1) if arguments.t1 else head()
    rows: list[tuple[str, float, float | None]] = []
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        worker = Worker(folder, LIBRARY)
        rows.append(("hello", time.perf_counter() - start, None))
        start = time.perf_counter()
        opened, _ = worker.ask("open", bundle=arguments.bundle, device=arguments.device)
        rows.append(("open (with the import of torch)", time.perf_counter() - start, None))
        path = str(Path(folder, "t1.npy"))
        np.save(path, scan.data)
        asked = {"voxels": path, "affine": scan.affine.tolist(), "source": "T1", "key": "one"}
        start = time.perf_counter()
        worker.ask("prepare", **asked)
        rows.append(("prepare, the first time", time.perf_counter() - start, WANTED["prepare"]))
        rows.append(("prepare, kept", median(lambda run: worker.ask("prepare", **asked), arguments.runs), None))

        def exact(run: int, temperature: float, samples: int = 1) -> None:
            question = {"covariates": {"age": 60 + 0.5 * run}, "temperature": temperature}
            reply, _ = worker.ask("sample", question={**question, "samples": samples, "seed": run})
            for name in ("mean", "sd"):
                if reply[name]:
                    loaded(reply[name])

        exact(0, 0.0)
        for temperature in (0.0, 1.0):
            taken = median(lambda run, t=temperature: exact(run, t), arguments.runs)
            rows.append((f"exact, T = {temperature:g}, one sample, on the T1's lattice", taken, WANTED["exact"]))
        many = median(lambda run: exact(run, 1.0, arguments.samples), 3)
        rows.append((f"exact, T = 1, mean and sd of {arguments.samples} samples", many, None))

        frames: list[str] = []

        def keyframe(run: int, temperature: float, samples: int) -> None:
            question = {"covariates": {"sex": "F"}, "samples": samples, "seed": 1000}
            _, heard = worker.ask("keyframes", question=question, ages=[50 + run], temperatures=[temperature])
            frames.extend(event["values"] for event in heard if event["event"] == "keyframe")

        rows.append(("keyframe, T = 0", median(lambda run: keyframe(run, 0.0, 1), arguments.runs), None))
        many = median(lambda run: keyframe(run, 1.0, arguments.samples), 3)
        rows.append((f"keyframe, T = 1, mean of {arguments.samples}", many, None))
        rows.append(("keyframe, kept", median(lambda run: keyframe(0, 0.0, 1), arguments.runs), None))

        def between(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
            return first + np.float32(share) * (second - first)

        def preview(run: int) -> None:
            between(np.load(frames[0]), np.load(frames[1]), 0.3)

        rows.append(("preview, two keyframes read and interpolated", median(preview, 50), WANTED["preview"]))
        pair = np.load(frames[0]), np.load(frames[1])
        rows.append(("preview, in memory", median(lambda run: between(*pair, 0.3), 50), WANTED["preview"]))
        worker.close()
    shape = "×".join(map(str, scan.shape))
    print(f"Model {opened['bundle']['name']} on {opened['device']}; T1 {shape} ({scan.source or 'in memory'})\n")
    print("| what | seconds | wanted |\n|---|---|---|")
    for name, seconds, wanted in rows:
        print(f"| {name} | {seconds:.3f} | {'' if wanted is None else f'≤ {wanted:g}'} |")


if __name__ == "__main__":
    main()
