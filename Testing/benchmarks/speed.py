"""How fast this tree is against an earlier commit, both in turn in one run, on one thread.

    python Testing/benchmarks/speed.py [CASE …] [--against 461657a] [--rounds 3] [--steps 4] [--tiny]

Each measurement is a process of its own, so that memory says something; the two trees take turns, and what is printed
is the ratio of the medians (and of the rounds, the smallest and the largest), earlier over now, of processor seconds
and of wall time. Without a CASE, all:

- ``step…``, ``sample…``: a training step (forward, backward, optimiser) and a sample at temperature 1 of models of a
  preset, by shape, depth and width of every level, and cases in the batch; ``…-bf16``, only if named, in mixed
  precision against the earlier tree's float32, on a processor that has bfloat16;
- ``synthesize``: the command on a T1 of 1 mm; ``sweep`` the same at three ages;
- ``prepare``: four T1s of 1 mm with two job processes;
- ``worker``: from its start until a model can be asked;
- of a worker that has the T1: ``exact-age``, a PET at another age, on the T1's lattice and read; ``preview``, two
  keyframes read and interpolated; ``samples-20``, mean and spread of twenty samples at temperature 1.

``--tiny`` shrinks everything, to see that the benchmark runs. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from asked import Worker

ROOT = Path(__file__).resolve().parents[2]
UNIT = 1 << (20 if sys.platform == "darwin" else 10)  # of ru_maxrss in a MiB
TEMPLATE = Path("Resources/Template/mni152_t1.nii.gz")


@dataclass(frozen=True)
class Model:
    """Which model is measured."""

    preset: str
    shape: tuple[int, ...]
    depth: int | None = None  # of every level; None: the preset's
    width: int | None = None
    batch: int = 1
    precision: str = "float32"  # of this tree; the earlier one computes in float32


AUTHORS = {
    "32x48x32-w64": Model("authors", (32, 48, 32), 2, 64),
    "64x96x64-w64": Model("authors", (64, 96, 64), 2, 64),
    "64x96x64-w512": Model("authors", (64, 96, 64), 1, 512),
}
STANDARD = {f"medium-b{batch}": Model("standard", (48, 64, 48), batch=batch) for batch in (1, 2)}
HALVED = {f"{name}-bf16": replace(model, precision="bf16") for name, model in STANDARD.items()}
CASES: dict[str, Model | None] = {
    **{f"step-{name}": model for name, model in {**AUTHORS, **STANDARD, **HALVED}.items()},
    **{f"sample-{name}": model for name, model in {**AUTHORS, "medium": STANDARD["medium-b1"]}.items()},
    **dict.fromkeys(("synthesize", "sweep", "prepare", "worker", "exact-age", "preview", "samples-20")),
}


# ------------------------------------------------------------------------------------------ in the measured process


def smaller(model: Model) -> Model:
    return replace(model, shape=(16, 16, 16), depth=1, width=8)


def made(model: Model):
    """The model, initialised, and images for it; for the library of either tree."""
    import torch

    from DualGlowLib.model import DualGlow, preset

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = preset(model.preset, model.shape)

    def flow(one):
        count = len(one.depths)
        return replace(
            one,
            depths=(model.depth,) * count if model.depth else one.depths,
            widths=(model.width,) * count if model.width else one.widths,
        )

    net = DualGlow(replace(config, mri=flow(config.mri), pet=flow(config.pet)))
    images = [torch.rand(model.batch, channels, *config.shape) for channels in reversed(config.channels)]
    covariates = torch.zeros(model.batch, sum(covariate.size for covariate in config.covariates))
    net.initialize(*images, covariates)
    return net, images, covariates


def step_of(model: Model) -> Callable[[], object]:
    import torch

    from DualGlowLib.training import optim

    net, images, covariates = made(model)
    try:
        import DualGlowLib.startup  # noqa: F401
    except ImportError:  # an earlier tree, whose loop trained in this layout
        net = net.to(memory_format=torch.channels_last_3d)
    if model.preset == "authors":
        optimizer = optim.AuthorsAdamax(net.parameters(), lr=1e-5)
    else:
        optimizer = getattr(optim, "Adam", torch.optim.Adam)(net.parameters(), lr=1e-5)  # torch's in an earlier tree

    mixed = nullcontext
    if model.precision != "float32":
        with suppress(ImportError):
            from DualGlowLib.training.precision import has_bfloat16, in_precision

            cpu = torch.device("cpu")
            if not has_bfloat16(cpu):
                raise SystemExit("This processor has no bfloat16 of its own; leave the cases of it out.")
            mixed = partial(in_precision, model.precision, cpu)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with mixed():
            loss = net(*images, covariates).loss.mean()
        loss.backward()
        optimizer.step()

    return step


def sample_of(model: Model) -> Callable[[], object]:
    import torch

    net, images, covariates = made(replace(model, batch=1))
    net.eval().requires_grad_(False)
    with torch.inference_mode():
        encoding = net.encode(images[1])

    def sample() -> None:
        with torch.inference_mode():
            net.sample(encoding, covariates, 1.0, torch.Generator().manual_seed(0))

    return sample


def measure(name: str, tiny: bool, steps: int) -> dict:
    """One case in this process: seconds of each repetition after the first, and the peak of memory in MiB."""
    with suppress(ImportError):
        from DualGlowLib.startup import set_up_process

        set_up_process()
    model = smaller(CASES[name]) if tiny else CASES[name]
    work = (step_of if name.startswith("step") else sample_of)(model)
    work()
    seconds, wall = repeated(work, time.process_time, steps)
    return {"seconds": seconds, "wall": wall, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / UNIT}


def repeated(work: Callable[[], object], used: Callable[[], float], times: int) -> tuple[float, float]:
    """Medians of the processor seconds, as ``used`` counts them, and of the wall time of a repetition."""
    seconds = []
    for _ in range(times):
        begun = used(), time.perf_counter()
        work()
        seconds.append((used() - begun[0], time.perf_counter() - begun[1]))
    return tuple(map(statistics.median, zip(*seconds, strict=True)))


# --------------------------------------------------------------------------------------------------- around the process


def environment(tree: Path) -> dict[str, str]:
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1")
    return {**os.environ, **one, "PYTHONPATH": str(tree / "DualGlowSynthesis")}


def t1_of(tree: Path, tiny: bool, folder: Path) -> Path:
    """The template; for a tiny run every third voxel of it."""
    if not tiny:
        return tree / TEMPLATE
    import nibabel as nib

    nib.save(nib.load(tree / TEMPLATE).slicer[::3, ::3, ::3], folder / "t1.nii.gz")
    return folder / "t1.nii.gz"


def command(tree: Path, name: str, tiny: bool) -> dict:
    """A command of the library in a new process, with all that it starts."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        t1 = t1_of(tree, tiny, folder)
        if name == "prepare":
            table = folder / "cases.csv"
            table.write_text("".join(["case,t1\n", *(f"{number},{t1}\n" for number in range(2 if tiny else 4))]))
            line = [table, folder / "prepared", "--grid", "medium", "--t1-only", "--jobs", "2"]
        elif name == "sweep":
            line = [t1, "--ages", "60:80:10", "--sex", "F", "--output", folder / "sweep"]
        else:
            line = [t1, "--age", "70", "--sex", "F", "--output", folder / "pet.nii.gz"]
        return timed([sys.executable, "-m", "DualGlowLib", name, *map(str, line)], tree)


def timed(line: list[str], tree: Path) -> dict:
    """Seconds and peak memory of a process, read by another that does nothing else."""
    script = (
        "import json, resource, subprocess, sys, time\n"
        "begun = time.perf_counter()\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "wall, used = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([used.ru_utime + used.ru_stime, wall, used.ru_maxrss]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *line], env=environment(tree), check=True, capture_output=True, text=True
    )
    seconds, wall, memory = json.loads(done.stdout)
    return {"seconds": seconds, "wall": wall, "memory": memory / UNIT}


def worker(tree: Path, name: str, tiny: bool, steps: int) -> dict:
    """What a window asks of a worker with the model that ships."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        one = Worker(folder, tree / "DualGlowSynthesis", environment(tree))
        one.ask("open", device="cpu")
        seconds, wall = one.used()[0], time.perf_counter() - begun
        if name != "worker":
            import nibabel as nib

            image = nib.load(t1_of(tree, tiny, Path(folder)))
            np.save(Path(folder, "t1.npy"), np.asarray(image.dataobj, np.float32))
            place = str(Path(folder, "t1.npy"))
            one.ask("prepare", voxels=place, affine=image.affine.tolist(), source="T1", key="one")
            work = WORK[name](one, tree)
            work()
            own = name == "preview"  # which the window computes itself
            seconds, wall = repeated(work, time.process_time if own else lambda: one.used()[0], steps)
        memory = one.used()[1]
        one.close()
    return {"seconds": seconds, "wall": wall, "memory": memory}


def question(tree: Path, covariates: dict, **others: object) -> dict:
    """The values of a request, as the worker of either tree takes them."""
    earlier = (tree / "DualGlowSynthesis" / "DualGlowLib" / "worker.py").exists()
    return {**covariates, **others} if earlier else {"question": {"covariates": covariates, **others}}


def sampled(one: Worker, tree: Path, **others: object) -> Callable[[], object]:
    """A request for samples at an age that hasn't been asked for, with what it writes read."""
    import numpy as np

    ages = iter(np.arange(60, 90, 0.25).tolist())

    def work() -> None:
        reply, _ = one.ask("sample", **question(tree, {"age": next(ages)}, **others))
        for path in (reply["mean"], reply["sd"]):
            if path:
                np.load(path)
                Path(path).unlink()

    return work


def previewed(one: Worker, tree: Path) -> Callable[[], object]:
    import numpy as np

    _, heard = one.ask("keyframes", **question(tree, {"sex": "F"}), ages=[60, 70], temperatures=[0.0])
    first, second = (event["values"] for event in heard if event["event"] == "keyframe")

    def work() -> np.ndarray:
        early, late = np.load(first), np.load(second)
        return early + np.float32(0.3) * (late - early)

    return work


WORK: dict[str, Callable[[Worker, Path], Callable[[], object]]] = {
    "exact-age": lambda one, tree: sampled(one, tree, temperature=0.0, samples=1),
    "samples-20": lambda one, tree: sampled(one, tree, temperature=1.0, samples=20),
    "preview": previewed,
}


def one(tree: Path, name: str, tiny: bool, steps: int) -> dict:
    if name == "worker" or name in WORK:
        return worker(tree, name, tiny, steps)
    if CASES[name] is None:
        return command(tree, name, tiny)
    line = [sys.executable, __file__, "--one", name, "--steps", str(steps), *(["--tiny"] if tiny else [])]
    done = subprocess.run(line, env=environment(tree), check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def row(name: str, earlier: list[dict], now: list[dict]) -> str:
    def compared(what: str) -> list[str]:
        before, after = ([one[what] for one in found] for found in (earlier, now))
        medians = [statistics.median(found) for found in (before, after)]
        ratios = sorted(b / a if a else float("nan") for b, a in zip(before, after, strict=True))
        ratio = medians[0] / medians[1] if medians[1] else float("nan")
        return [*(f"{one:.3f}" for one in medians), f"**{ratio:.2f}** ({ratios[0]:.2f} to {ratios[-1]:.2f})"]

    memory = [max(one["memory"] for one in found) for found in (earlier, now)]
    peak = f"{memory[0]:.0f} → {memory[1]:.0f} MiB (×{memory[1] / memory[0]:.2f})"
    return f"| {' | '.join([name, *compared('seconds'), *compared('wall'), peak])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--against", default="461657a", help="the earlier commit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="repetitions in a process")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.tiny, arguments.steps)))
        return
    if unknown := set(arguments.cases) - set(CASES):
        parser.error(f"there is no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    with tempfile.TemporaryDirectory() as folder:
        earlier = Path(folder, "tree")
        subprocess.run(
            ["git", "-C", str(ROOT), "worktree", "add", "--quiet", "--detach", str(earlier), arguments.against],
            check=True,
        )
        try:
            titles = [f"{arguments.against}, {what}" for what in ("processor s", "wall s")]
            titles = ["case", titles[0], "now", "ratio", titles[1], "now", "ratio", "memory at its peak"]
            print(f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|")
            for name in arguments.cases or [name for name in CASES if not name.endswith("-bf16")]:
                found: dict[Path, list[dict]] = {earlier: [], ROOT: []}
                for _ in range(arguments.rounds):
                    for tree, rounds in found.items():
                        rounds.append(one(tree, name, arguments.tiny, arguments.steps))
                print(row(name, found[earlier], found[ROOT]), flush=True)
        finally:
            subprocess.run(
                ["git", "-C", str(ROOT), "worktree", "remove", "--force", str(earlier)], check=True, capture_output=True
            )


if __name__ == "__main__":
    main()
