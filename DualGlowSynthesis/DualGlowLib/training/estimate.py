"""What a run will need, before it begins: memory, disk and time, measured by a few real steps on made-up images."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from ..cases.case import Case
from ..devices import computer_memory, fault_of_device, free_memory, memory_of_process, peak_memory
from ..errors import InputError
from ..volumes.grid import GRIDS, Grid
from .data import Cohort
from .loading.cache import belongs_on_disk, cohort_bytes
from .pace import Pace, size_of, spoken
from .run import Plan, Prospect, Recipe, prospect

__all__ = ["Estimate", "estimate"]

_TRIED = 3  # steps
_OF_A_WEIGHT = 4 * (5 + 4)  # bytes: weights, average, gradients, two moments; all but the gradients in a checkpoint
_SET = 2  # cases
_MORE = 1.35  # times the memory of the first setting is what the second takes, with the PET's flow (medium grid)
_OF_A_WORKER = 350 << 20  # bytes of a process that reads batches from disk: torch, and what it reads ahead
_SPARE = 256 << 20  # bytes that are left to others


@dataclass(frozen=True)
class Estimate:
    """What a run will need.

    Attributes:
        cases: to train and validate on.
        to_prepare: of them, whose scans are to be prepared first; the time for that is told as it goes on.
        grid: that the model works on.
        device: where it was tried.
        memory: bytes of the device that the run takes.
        free: bytes of the device that a run can have; None if unknown.
        disk: bytes of checkpoints and model.
        disk_free: bytes where the run is to be.
        pace: seconds of its parts.
        seconds: of the whole training.
        steps: how many.
        refusal: why the run can't be; empty if it can.
        proposal: options of ``train`` that make it fit, by name; empty if there are none, or none are needed.
    """

    cases: int
    to_prepare: int
    grid: str
    device: str
    memory: int
    free: int | None
    disk: int
    disk_free: int
    pace: Pace
    seconds: float
    steps: int
    refusal: str = ""
    proposal: dict[str, object] | None = None

    def to_dict(self) -> dict:
        return asdict(self)

    def to_text(self) -> str:
        """A few lines for people."""
        first = f"{self.cases} cases on the grid {self.grid}, on {self.device}"
        if self.to_prepare:
            first += f"; {self.to_prepare} are prepared before, which comes on top"
        pace = f"{self.pace.joint:.3g} s a step"
        if self.pace.alone:
            pace = f"{self.pace.alone:.3g} s a step at first, {pace} later"
        lines = [
            f"{first}.",
            f"Memory     {size_of(self.memory)}"
            + ("" if self.free is None else f" of {size_of(self.free)} that are free"),
            f"Disk       {size_of(self.disk)} of {size_of(self.disk_free)} that are free",
        ]
        if self.pace.joint:  # what was refused before a step was taken has none
            lines.append(f"Time       about {spoken(self.seconds)} for {self.steps} steps ({pace})")
        return "\n".join(lines)


def estimate(
    plan: Plan, device: torch.device | str = "cpu", progress: Callable[[str, float, str], None] | None = None
) -> Estimate:
    """Try the first steps of a run on made-up images, in a folder that is deleted, and say what the whole will need.

    The memory is measured as the highest that this process has had, so it is to be called in a process of its own. On
    a CPU the trial may not take more memory than is free, so that it can't drive other programs out. Where the run
    does not fit, smaller ones are tried, in the order of how little they change: other ``memory`` modes, single cases
    a step, smaller grids.

    Args:
        plan: what to train.
        device: where.
        progress: called with a stage, how much of it is done, 0 to 1, and a detail.

    Raises:
        InputError: if anything given can't be used; see ``run.prospect``.
    """
    progress = progress or (lambda stage, fraction, detail: None)
    device, ahead = torch.device(device), prospect(plan)
    found = _tried(plan, ahead, device, progress, "a few steps")
    if found.refusal:
        for changes, other in _smaller(plan, ahead):
            words = " ".join(f"--{name} {value}" for name, value in changes.items())
            one = _tried(plan, other, device, progress, words)
            if not one.refusal:
                fits = f"it needs {size_of(one.memory)} with {words}, and takes about {spoken(one.seconds)}"
                return replace(found, refusal=f"{found.refusal.rstrip('.')}; {fits}.", proposal=changes)
        hint = "choose another preset, such as standard, or a computer with more memory"
        return replace(found, refusal=f"{found.refusal.rstrip('.')}; {hint}.", proposal={})
    return found


def _smaller(plan: Plan, ahead: Prospect) -> Iterator[tuple[dict[str, object], Prospect]]:
    """Runs that need less memory, with the options that make them."""
    batches = [ahead.settings.batch] + ([1] if ahead.settings.batch > 1 else [])
    for batch in batches:
        for memory in ("plain", "checkpoint", "invertible"):
            changes: dict[str, object] = {"memory": memory} if memory != ahead.settings.memory else {}
            changes |= {"batch": batch} if batch != ahead.settings.batch else {}
            if changes and memory != "plain":
                yield changes, replace(ahead, settings=ahead.settings.updated(changes))
    if ahead.lies_on is None:  # else the cases would have to be prepared anew
        voxels = {name: grid.shape[0] * grid.shape[1] * grid.shape[2] for name, grid in GRIDS.items()}
        for name in sorted(voxels, key=voxels.get, reverse=True):
            if voxels[name] < voxels.get(ahead.grid.name, 0):
                with suppress(InputError):
                    yield {"grid": name}, prospect(replace(plan, grid=name))


def _tried(
    plan: Plan,
    ahead: Prospect,
    device: torch.device,
    progress: Callable[[str, float, str], None],
    detail: str,
) -> Estimate:
    cases, settings = len(ahead.cases), ahead.settings
    place = next(
        folder for folder in (Path(plan.folder).resolve(), *Path(plan.folder).resolve().parents) if folder.exists()
    )
    disk_free, free = shutil.disk_usage(place).free, _free(device)
    weights = _weights(ahead, plan.recipe)
    voxels = cohort_bytes(cases, ahead.grid, settings.known_mean)
    is_on_disk = belongs_on_disk(cases, ahead.grid, settings.data, settings.known_mean)
    found = Estimate(
        cases=cases,
        to_prepare=0 if ahead.lies_on else cases,
        grid=ahead.grid.name,
        device=str(device),
        memory=weights * _OF_A_WEIGHT,
        free=free,
        # Two checkpoints and the third while it is written: weights, average, two moments; with patience two averages.
        disk=3 * 4 * 4 * weights + (3 * 4 * weights if settings.patience else 0) + (voxels if is_on_disk else 0),
        disk_free=disk_free,
        pace=Pace(0.0, 0.0),
        seconds=0.0,
        steps=settings.steps,
    )
    if found.disk > disk_free:
        words = f"The run needs {size_of(found.disk)} on the disk of {place}, where {size_of(disk_free)} are free"
        return replace(found, refusal=f"{words}; free some, or give another folder.")
    cohort = settings.workers * _OF_A_WORKER if is_on_disk else voxels
    refusal = "The run needs {least} of memory on {device}, where {free} are free."
    if free is not None and found.memory + cohort > free:
        words = refusal.format(least=size_of(found.memory + cohort), device=device, free=size_of(free))
        return replace(found, memory=found.memory + cohort, refusal=words)
    try:
        with _limited(device, free):
            pace, memory = _trial(plan.recipe, ahead, device, progress, detail)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "allocate" not in str(error) and not fault_of_device(error):
            raise
        free_memory()
        words = refusal.format(
            least=f"more than {size_of(free or found.memory)}", device=device, free=size_of(free or 0)
        )
        return replace(found, refusal=words)
    memory += cohort if device.type == "cpu" else 0
    alone_until = round(settings.image_share * settings.steps) if pace.alone else 0
    found = replace(found, memory=memory, pace=pace, seconds=pace.seconds(settings, 0, alone_until))
    if free is not None and memory > free:
        words = refusal.format(least=size_of(memory), device=device, free=size_of(free))
        return replace(found, refusal=words)
    return found


def _trial(
    recipe: Recipe,
    ahead: Prospect,
    device: torch.device,
    progress: Callable[[str, float, str], None],
    detail: str,
) -> tuple[Pace, int]:
    """A run's pace, and the bytes that it takes without its cohort."""
    settings = replace(ahead.settings, steps=10**9, image_share=min(ahead.settings.image_share, 0.5), warmup=1000)
    few = max(settings.batch, min(settings.initialize_with, len(ahead.sides[0])))
    _reset_peak(device)
    with tempfile.TemporaryDirectory(prefix="DualGlow-") as folder:
        held_out = made_up(ahead.grid, min(settings.batch, len(ahead.sides[1])))
        cohort = made_up(ahead.grid, few, settings.known_mean)
        trainer = recipe.trainer(Path(folder) / "run", ahead.config, settings, ahead.grid, cohort, held_out, device)
        before = _peak(device)
        trainer.begin()
        first = _peak(device) - before
        for step in range(_TRIED):
            progress("trying", step / (_TRIED + 3), detail)
            trainer.advance()
        progress("trying", _TRIED / (_TRIED + 3), detail)
        pace = trainer.measure()
        if held := len(held_out):
            pace = replace(pace, validation=pace.validation * len(ahead.sides[1]) / held)
        if pace.alone:
            progress("trying", (_TRIED + 1) / (_TRIED + 3), detail)
            trainer.settings = replace(settings, initialize_with=min(_SET, few))
            began = time.monotonic()
            trainer.begin_joint()
            pace = replace(pace, setting=(time.monotonic() - began) * few / min(_SET, few))
            trainer.advance()  # the optimiser's moments of all weights
        progress("trying", (_TRIED + 2) / (_TRIED + 3), detail)
        began = time.monotonic()
        trainer.save()
        pace = replace(pace, saving=time.monotonic() - began)
    progress("trying", 1.0, detail)
    return pace, max(_peak(device), before + round(_MORE * first) if pace.alone else 0)


def made_up(grid: Grid, count: int, known_mean: bool = False) -> Cohort:
    """Cases of noise on a grid, which cost what others do."""
    generator = torch.Generator().manual_seed(0)
    t1 = torch.rand(count, 1, *grid.shape, generator=generator).half()
    pet = (0.5 * t1 + 0.1 * torch.rand(t1.shape, generator=generator).half()).clamp(0, 1)
    people = {"age": "70", "sex": "F", "diagnosis": "CN"}
    cases = [Case(f"sub-{index}", f"sub-{index}", Path(), Path(), people) for index in range(count)]
    return Cohort(t1, pet, cases, 2.0, mean=pet.clone() if known_mean else None)


def _weights(ahead: Prospect, recipe: Recipe) -> int:
    """How many the model has, at no cost in memory."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in recipe.model(ahead.config).parameters())


# ---- memory


@contextmanager
def _limited(device: torch.device, free: int | None) -> Iterator[None]:
    """On a CPU, let this process have no more than is free; where the system knows no such limit, nothing is done."""
    try:
        import resource

        before = resource.getrlimit(resource.RLIMIT_DATA)
        used = memory_of_process("VmData")  # what counts against that limit, which only Linux heeds
    except (ImportError, AttributeError):
        used = None
    if used is None or free is None or device.type != "cpu":
        yield
        return
    resource.setrlimit(resource.RLIMIT_DATA, (used + free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _free(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = computer_memory()
    return None if free is None else max(0, free - _SPARE)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:  # Linux: the highest from now on
        file.write("5")


def _peak(device: torch.device) -> int:
    """The most that this process has had; where the system doesn't say, what it has been measured to be is missing."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return peak_memory() or 0
