"""How fast this tree is against an earlier commit, both in turn in one run, on one thread.

    python Testing/benchmarks/speed.py [CASE …] [--against 461657a] [--rounds 3] [--steps 4] [--tiny]

Each measurement is a process of its own, so that memory says something; the two trees take turns, and what is printed
is the ratio of the medians (and of the rounds, the smallest and the largest), earlier over now. Without a CASE, all:

- ``step…``, ``sample…``: processor seconds of a training step (forward, backward, optimiser) and of a sample at
  temperature 1 of models of a preset, by shape, depth and width of every level, and cases in the batch;
- ``synthesize``: the command on a T1 of 1 mm; ``sweep`` the same at three ages;
- ``worker``: from its start until a model can be asked.

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
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = Path("Resources/Template/mni152_t1.nii.gz")


@dataclass(frozen=True)
class Model:
    """Which model is measured."""

    preset: str
    shape: tuple[int, ...]
    depth: int | None = None  # of every level; None: the preset's
    width: int | None = None
    batch: int = 1


AUTHORS = {
    "32x48x32-w64": Model("authors", (32, 48, 32), 2, 64),
    "64x96x64-w64": Model("authors", (64, 96, 64), 2, 64),
    "64x96x64-w512": Model("authors", (64, 96, 64), 1, 512),
}
STANDARD = {f"medium-b{batch}": Model("standard", (48, 64, 48), batch=batch) for batch in (1, 2)}
CASES: dict[str, Model | None] = {
    **{f"step-{name}": model for name, model in {**AUTHORS, **STANDARD}.items()},
    **{f"sample-{name}": model for name, model in {**AUTHORS, "medium": STANDARD["medium-b1"]}.items()},
    **dict.fromkeys(("synthesize", "sweep", "worker")),
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

    from DualGlowLib.training.optim import AuthorsAdamax

    net, images, covariates = made(model)
    try:
        import DualGlowLib.startup  # noqa: F401
    except ImportError:  # an earlier tree, whose loop trained in this layout
        net = net.to(memory_format=torch.channels_last_3d)
    if model.preset == "authors":
        optimizer = AuthorsAdamax(net.parameters(), lr=1e-5)
    else:
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        net(*images, covariates).loss.mean().backward()
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
    seconds = []
    for _ in range(steps):
        begun = time.process_time()
        work()
        seconds.append(time.process_time() - begun)
    return {"seconds": statistics.median(seconds), "memory": peak(resource.RUSAGE_SELF)}


def peak(who: int) -> float:
    """Resident memory at its peak in MiB, of this process or of its largest child."""
    return resource.getrusage(who).ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10))


# --------------------------------------------------------------------------------------------------- around the process


def environment(tree: Path) -> dict[str, str]:
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1")
    return {**os.environ, **one, "PYTHONPATH": str(tree / "DualGlowSynthesis")}


def command(tree: Path, name: str, tiny: bool) -> dict:
    """A command of the library in a new process: its processor seconds, all of them."""
    with tempfile.TemporaryDirectory() as out:
        person = ["--age", "70"] if name == "synthesize" else ["--ages", "60:80:10"]
        output = str(Path(out, "pet.nii.gz" if name == "synthesize" else "sweep"))
        line = ["-m", "DualGlowLib", name, str(tree / TEMPLATE), *person, "--sex", "F", "--output", output]
        return timed([sys.executable, *line], tree)


def timed(line: list[str], tree: Path) -> dict:
    """Processor seconds and the peak memory of a process, read by another that does nothing else."""
    script = (
        "import json, resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *line], env=environment(tree), check=True, capture_output=True, text=True
    )
    seconds, memory = json.loads(done.stdout)
    return {"seconds": seconds, "memory": memory / (1 << (20 if sys.platform == "darwin" else 10))}


def worker(tree: Path) -> dict:
    """Wall seconds from the start of a worker until the model that ships can be asked."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "DualGlowLib.worker", folder],
            env=environment(tree),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        process.stdin.write(b'{"id": 1, "do": "open", "device": "cpu"}\n')
        process.stdin.flush()
        while json.loads(process.stdout.readline())["event"] != "done":
            pass
        seconds = time.perf_counter() - begun
        peaks = [line.split()[1] for line in lines_of(f"/proc/{process.pid}/status") if line.startswith("VmHWM")]
        process.stdin.close()
        process.wait()
    return {"seconds": seconds, "memory": int(peaks[0]) / 1024 if peaks else float("nan")}


def lines_of(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def one(tree: Path, name: str, tiny: bool, steps: int) -> dict:
    if name == "worker":
        return worker(tree)
    if CASES[name] is None:
        return command(tree, name, tiny)
    line = [sys.executable, __file__, "--one", name, "--steps", str(steps), *(["--tiny"] if tiny else [])]
    done = subprocess.run(line, env=environment(tree), check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def row(name: str, earlier: list[dict], now: list[dict]) -> str:
    before, after = ([one["seconds"] for one in found] for found in (earlier, now))
    ratios = sorted(b / a for b, a in zip(before, after, strict=True))
    memory = [max(one["memory"] for one in found) for found in (earlier, now)]
    cells = (
        f"{statistics.median(before):.3f}",
        f"{statistics.median(after):.3f}",
        f"**{statistics.median(before) / statistics.median(after):.2f}** ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        f"{memory[0]:.0f} → {memory[1]:.0f} MiB (×{memory[1] / memory[0]:.2f})",
    )
    return f"| {name} | {' | '.join(cells)} |"


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
            print(f"| case | {arguments.against}, s | now, s | ratio | memory at its peak |\n|---|---|---|---|---|")
            for name in arguments.cases or CASES:
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
