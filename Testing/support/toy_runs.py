"""Training runs of a second: a small model of small pictures; and a program that kills them, over and over.

    python Testing/support/toy_runs.py FOLDER SEED

Prints a JSON object a line: what a run that was killed (or held up) and then resumed had become, see ``kill_runs``.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from DualGlowLib import InputError
from DualGlowLib.cases.case import Case
from DualGlowLib.model import preset
from DualGlowLib.training.data import Cohort
from DualGlowLib.training.distributed import Ranks
from DualGlowLib.training.loop import Trainer
from DualGlowLib.training.settings import TrainingSettings
from DualGlowLib.volumes.grid import Grid
from toy_cohort import toy_config

STEPS = 4


def toy_cases(count: int, seed: int = 0) -> Cohort:
    """A PET that is its T1 and some noise."""
    generator = torch.Generator().manual_seed(seed)
    t1 = torch.rand(count, 1, 8, 8, generator=generator)
    pet = 0.5 * t1 + 0.02 * torch.randn(t1.shape, generator=generator)
    cases = [Case(f"sub-{i:02d}", f"sub-{i:02d}", Path(), Path()) for i in range(count)]
    return Cohort(t1.half(), pet.half(), cases, 1.5)


def toy_trainer(
    folder: Path, ranks: Ranks | None = None, preset_name: str = "standard", cases: Cohort | None = None,
    **settings: object,
) -> Trainer:  # fmt: skip
    """A run in ``folder / "run"`` that begins with the image law alone and saves after every step."""
    usual = {"steps": STEPS, "warmup": 2, "batch": 2, "initialize_with": 4, "checkpoint_every": 1, "validate_every": 2}
    chosen = replace(TrainingSettings(), **{**usual, **settings})
    config, flow = toy_config(2), {"depths": (1,), "widths": (8,)}
    changes = {"link": replace(config.link, widths=(8,), context=(2,))}
    if preset_name != "standard":
        config, flow, changes = preset(preset_name, (16, 16)), {"depths": (1, 1), "widths": (8, 8)}, {"shape": (8, 8)}
    config = replace(config, mri=replace(config.mri, **flow), pet=replace(config.pet, **flow), **changes)
    grid = Grid("toy", (8, 8, 1), (10.0, 10.0, 10.0))
    sides = toy_cases(6) if cases is None else cases, toy_cases(2, seed=1)
    return Trainer(folder / "run", config, chosen, grid, *sides, ranks=ranks)


def content(run: Path) -> dict[str, str]:
    """What a run has become: hashes of its model's files and its history, but for the time that it took."""
    found = {path.name: path.read_bytes() for path in (run / "bundle").iterdir()}
    config = json.loads(found.pop("config.json"))
    for about in (config["training"], config["training"].get("adaptation", {})):
        about.pop("seconds", None)
    if "README.md" in found:  # which has them as minutes
        found["README.md"] = re.sub(
            rb" steps of (\d+) cases, \d+ min on ", rb" steps of \1 cases on ", found["README.md"]
        )
    config["sha256"].pop("config.json", None)
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    for event in history:
        event.pop("seconds")
    found |= {"config": json.dumps(config).encode(), "history": json.dumps(history).encode()}
    return {name: hashlib.sha256(value).hexdigest() for name, value in found.items()}


# ---- killing


def begin(work: Callable[[], object]) -> int:
    """Do it in a process of its own, a copy of this one; gives the number of that."""
    number = os.fork()
    if not number:
        code = 1
        try:
            work()
            code = 0
        except InputError:
            code = 2
        finally:
            os._exit(code)
    return number


def end_of(number: int) -> int:
    """Exit code of a process that was begun: 2 for an InputError, minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def in_process(work: Callable[[], object]) -> int:
    return end_of(begin(work))


def watch(folder: Path, heard: Callable[[str], None]) -> None:
    """From now on, call with every file of the folder that this process is about to open, rename or delete."""

    def hook(event: str, arguments: tuple) -> None:
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(arguments[0]).startswith(str(folder)):
            name = Path(arguments[event == "os.rename"]).name
            heard(f"{event.removeprefix('os.')} {'*.part' if name.endswith('.part') else name}")

    sys.addaudithook(hook)


def go_on(folder: Path) -> list[int]:
    """Resume a run to its end, or begin it if there is none yet; gives the exit codes."""
    codes = [in_process(lambda: toy_trainer(folder).run(resume=True))]
    if codes[0] == 2 and not (folder / "run" / "history.jsonl").exists():
        codes.append(in_process(lambda: toy_trainer(folder).run()))
    return codes


def tell(killed: str, codes: list[int], run: Path, **more: object) -> None:
    print(json.dumps({"killed": killed, "codes": codes, "content": content(run), **more}), flush=True)


def kill_runs(folder: Path, seed: int) -> None:
    """Prints ``killed`` (right before which act on a file), ``codes`` (exit codes of what came after) and ``content``.

    Every kind of act comes once, at a place that is chosen at random; at last, one run is killed over and over. The
    one that never was says what it ``loaded`` of torch's compiler.
    """
    rng = random.Random(seed)
    toy_trainer(folder / "whole").run()  # here, so that the processes that are made from this one need not warm up
    loaded = [name for name in ("torch._dynamo", "sympy") if name in sys.modules]
    tell("never", [0], folder / "whole" / "run", loaded=loaded)

    fill_disk(folder / "full")
    hold(folder / "held")
    (folder / "listed").mkdir()

    def listed() -> None:
        acts: list[str] = []
        watch(folder / "listed", acts.append)
        toy_trainer(folder / "listed").run()
        (folder / "acts").write_text("\n".join(acts))

    assert in_process(listed) == 0
    acts = (folder / "acts").read_text().splitlines()
    kinds: dict[str, list[int]] = {}
    for index, act in enumerate(acts):
        kinds.setdefault(re.sub(r"\d+", "N", act), []).append(index)
    for kind, places in kinds.items():
        chosen, place = rng.choice(places), folder / re.sub(r"\W+", "-", kind)
        place.mkdir()

        def killed(chosen: int = chosen, place: Path = place) -> None:
            count = iter(range(len(acts) + 1))
            watch(place, lambda act: os.kill(os.getpid(), signal.SIGKILL) if next(count) == chosen else None)
            toy_trainer(place).run()

        assert in_process(killed) == -signal.SIGKILL
        tell(acts[chosen], go_on(place), place / "run")
    kill_at_random(folder / "random", rng)


def fill_disk(folder: Path) -> None:
    """No file may be longer than 50 kB from the third step on; tells the ``sentence`` and what was ``there`` then."""
    import resource

    folder.mkdir()

    def full() -> None:
        run = toy_trainer(folder)
        run.report = lambda event: event["step"] == 3 and resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            run.run()
        except InputError as error:
            (folder / "sentence").write_text(str(error))
            raise

    code, run = in_process(full), folder / "run"
    there = sorted(path.name for path in run.iterdir())
    tell("full disk", [code, *go_on(folder)], run, sentence=(folder / "sentence").read_text(), there=there)


def hold(folder: Path) -> None:
    """A run that waits after its second step while others would train into its folder; tells what ``others`` hear."""
    (hearing, saying), (waiting, going_on) = os.pipe(), os.pipe()

    def held() -> None:
        run = toy_trainer(folder)
        run.report = lambda event: event["step"] == 2 and os.write(saying, b"2") and os.read(waiting, 1)
        run.run()

    number, others = begin(held), []
    os.close(saying)
    assert os.read(hearing, 1) == b"2"
    for resume in (False, True):
        try:
            toy_trainer(folder).run(resume)
        except InputError as error:
            others.append(str(error))
    os.write(going_on, b"2")
    tell("held", [end_of(number)], folder / "run", others=others)


def kill_at_random(folder: Path, rng: random.Random) -> None:
    """A run that is killed again and again, each time some milliseconds after its history has grown."""
    history, codes = folder / "run" / "history.jsonl", [-signal.SIGKILL]
    while codes[-1] == -signal.SIGKILL:
        number = os.fork()
        if not number:
            toy_trainer(folder).run(resume=history.exists())
            os._exit(0)
        start, found = history.stat().st_size if history.exists() else 0, 0
        while not found:
            found, status = os.waitpid(number, os.WNOHANG)
            if not found and history.exists() and history.stat().st_size > start:
                time.sleep(rng.uniform(0, 0.03))
                os.kill(number, signal.SIGKILL)
                found, status = os.waitpid(number, 0)
            time.sleep(0.0005)
        codes.append(os.waitstatus_to_exitcode(status))
    tell("at random", codes[1:], folder / "run")


if __name__ == "__main__":
    torch.set_num_threads(1)
    kill_runs(Path(sys.argv[1]), int(sys.argv[2]))
