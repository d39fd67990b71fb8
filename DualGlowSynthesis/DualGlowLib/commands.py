"""What each command does, between the arguments and the rooms of the library."""

from __future__ import annotations

import argparse
import math
import signal
import time
from dataclasses import replace
from pathlib import Path

from .console import Console
from .errors import InputError

__all__ = ["benchmark", "evaluate", "simulate", "sweep", "synthesize", "train"]

_MAX_AGES = 60


def _grid(name: str):
    from .scans import GRIDS

    if name not in GRIDS:
        raise InputError(f"There is no grid {name!r}; there are {', '.join(GRIDS)}.")
    return GRIDS[name]


# ---- simulate


def simulate(arguments: argparse.Namespace, console: Console) -> int:
    from .simulate import simulate_cohort

    simulate_cohort(
        arguments.output,
        arguments.cases,
        _grid(arguments.grid),
        arguments.seed,
        anatomy=arguments.anatomy,
        jobs=arguments.jobs,
        progress=console.progress,
    )
    console.result(arguments.output, event="done", output=str(arguments.output), cases=arguments.cases)
    return 0


# ---- train


class _Stop:
    """Turns the first Ctrl-C or termination into a wish to stop after this step; a second one interrupts at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> _Stop:
        self._before = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._ask)
            except ValueError:  # not in the main thread: whoever runs us there stops us otherwise
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def train(arguments: argparse.Namespace, console: Console) -> int:
    from .cases import is_simulated, read_cases
    from .model import fit_covariates, preset
    from .synthesis import choose_device
    from .training import Cohort, Interrupted, Trainer, TrainingSettings, split_subjects

    settings, rest = TrainingSettings.read(arguments.config) if arguments.config else (TrainingSettings(), {})
    given = {name: getattr(arguments, name) for name in ("steps", "seed") if getattr(arguments, name) is not None}
    settings = settings.updated(given, "command line")
    grid = _grid(arguments.grid)
    config = preset(arguments.preset or rest.get("preset", "standard"), grid.shape)
    device = choose_device(arguments.device)
    cases = read_cases(arguments.cases)
    for case in cases:
        try:
            fit_covariates(config.covariates, [case.covariates])
        except InputError as error:
            raise InputError(f"{case.name} in {arguments.cases}: {error}") from None
    config = replace(config, covariates=fit_covariates(config.covariates, [case.covariates for case in cases]))

    def loading(done: int, total: int) -> None:
        console.progress("reading", done / total, f"{done} of {total} cases")

    cohort = Cohort.load(cases, grid, progress=loading)
    train_indices, validation_indices = split_subjects(cases, settings.validation, settings.seed)
    started = time.monotonic()
    first_step: list[int] = []

    def report(event: dict) -> None:
        console.event(event="step", **event)
        first_step.append(event["step"]) if not first_step else None
        done = event["step"] - first_step[0] + 1
        remaining = (time.monotonic() - started) / done * (event["steps"] - event["step"])
        detail = f"step {event['step']} loss {event['loss']:.4f} bits/dim PET {event['pet_bits']:.3f} "
        detail += f"MRI {event['mri_bits']:.3f} ETA {_duration(remaining)}"
        if not console.machine:
            console.progress("training", event["step"] / event["steps"], detail)
            if "validation_loss" in event:
                console.note(f"step {event['step']}: held-out PET {event['validation_pet_bits']:.3f} bits/dim")

    with _Stop() as stop:
        trainer = Trainer(
            Path(arguments.output),
            config,
            settings,
            grid,
            cohort.subset(train_indices),
            cohort.subset(validation_indices),
            device,
            report,
            lambda: stop.asked,
            {"simulated": is_simulated(arguments.cases)},
        )
        try:
            trainer.run(arguments.resume)
        except Interrupted as interrupted:
            console.note(str(interrupted))
            console.event(event="interrupted", step=trainer.step)
            return 1
    bundle = Path(arguments.output) / "bundle"
    console.result(str(bundle), event="done", bundle=str(bundle))
    return 0


# ---- synthesize and sweep


def _ages(text: str) -> list[float]:
    try:
        first, last, step = (float(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"--ages is {text!r}; give FROM:TO:STEP, e.g. 50:100:10.") from None
    if not (step > 0 and last >= first and all(map(math.isfinite, (first, last, step)))):
        raise InputError(f"--ages {text!r} holds no age; give FROM:TO:STEP with FROM ≤ TO and STEP > 0.")
    count = int((last - first) / step + 1e-9) + 1
    if count > _MAX_AGES:
        raise InputError(f"--ages {text!r} are {count} ages; take at most {_MAX_AGES}.")
    return [first + i * step for i in range(count)]


def _encode(arguments: argparse.Namespace, console: Console, ages: list[float | None]):
    """The synthesizer and the encoded T1, after everything that can be wrong with the arguments was checked."""
    from .scans import read_scan
    from .synthesis import Synthesizer

    synthesizer = Synthesizer.from_bundle(arguments.bundle, arguments.device)
    for age in ages:
        values = {**vars(arguments), "age": age}
        for covariate in synthesizer.bundle.config.covariates:
            if not covariate.is_trained(values.get(covariate.name)):  # refuses what can't be used
                console.note(f"{covariate.name} {age:g} lies outside the training range; the model extrapolates")
    synthesizer.check(arguments.temperature, arguments.samples)
    scan = read_scan(arguments.t1)
    mask = None
    if arguments.mask:
        drawn = read_scan(arguments.mask)
        if drawn.shape != scan.shape:
            raise InputError(f"The mask {arguments.mask} does not lie on the T1's lattice; give one that does.")
        mask = drawn.data > 0
    return synthesizer, synthesizer.encode(scan, mask, console.progress)


def _sample(arguments: argparse.Namespace, synthesizer, patient, age: float | None):
    return synthesizer.sample(
        patient,
        age=age,
        sex=arguments.sex,
        diagnosis=arguments.diagnosis,
        temperature=arguments.temperature,
        samples=arguments.samples,
        seed=arguments.seed,
    )


def _stem(path: Path) -> str:
    return path.name[: -len(".nii.gz")] if path.name.endswith(".nii.gz") else path.stem


def _write(result, path: Path, console: Console) -> None:
    from .scans import write_scan

    description = "SYNTHETIC FDG DualGlow, research use only"
    write_scan(result.mean, path, description, result.provenance)
    written = [path]
    if result.sd is not None:
        spread = path.with_name(path.name.replace(_stem(path), f"{_stem(path)}_sd", 1))
        write_scan(result.sd, spread, "SYNTHETIC FDG standard deviation, DualGlow", result.provenance)
        written.append(spread)
    for item in written:
        console.result(str(item), event="output", path=str(item))


def synthesize(arguments: argparse.Namespace, console: Console) -> int:
    path = Path(arguments.output)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"The output {path} must end in .nii or .nii.gz.")
    synthesizer, patient = _encode(arguments, console, [arguments.age])
    _write(_sample(arguments, synthesizer, patient, arguments.age), path, console)
    console.event(event="done", quality=patient.prepared.quality)
    return 0


def sweep(arguments: argparse.Namespace, console: Console) -> int:
    from .figures import sweep_figure

    ages = _ages(arguments.ages)
    folder = Path(arguments.output)
    synthesizer, patient = _encode(arguments, console, ages)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {folder} can't be made ({error.strerror}).") from error
    results = []
    for number, age in enumerate(ages):
        results.append(_sample(arguments, synthesizer, patient, age))
        _write(results[-1], folder / f"age-{age:g}_trc-18FFDG_desc-synthetic_pet.nii.gz", console)
        console.progress("sampling", (number + 1) / len(ages))
    shown = sorted({round(i * (len(ages) - 1) / 2) for i in range(3)})
    picture = folder / "sweep.png"
    sweep_figure(patient.prepared.scan, [results[i].mean for i in shown], [f"age {ages[i]:g}" for i in shown], picture)
    console.result(f"picture: {picture}", event="output", path=str(picture))
    console.event(event="done", quality=patient.prepared.quality)
    return 0


# ---- evaluate


def evaluate(arguments: argparse.Namespace, console: Console) -> int:
    from .cases import read_cases
    from .evaluation import evaluate as run
    from .evaluation import write_report
    from .synthesis import Synthesizer

    synthesizer = Synthesizer.from_bundle(arguments.bundle, arguments.device)
    result = run(
        synthesizer,
        read_cases(arguments.cases),
        arguments.samples,
        arguments.seed,
        lambda done, total: console.progress("evaluating", done / total),
    )
    table = write_report(result, Path(arguments.output))
    console.result(table, event="done", **{key: result[key] for key in result if key != "cases"})
    return 0


# ---- benchmark


def benchmark(arguments: argparse.Namespace, console: Console) -> int:
    from .benchmark import benchmark as run
    from .scans import read_scan
    from .synthesis import Synthesizer

    synthesizer = Synthesizer.from_bundle(arguments.bundle, arguments.device)
    result = run(synthesizer, read_scan(arguments.t1) if arguments.t1 else None)
    lines = [f"{stage:>16} {value:8.3f} s" for stage, value in result["seconds"].items()]
    lines.append(f"{'peak memory':>16} {result['peak_memory_mb']} MB")
    lines.append(f"{result['bundle']} on {result['device']}, {result['threads']} threads, torch {result['torch']}")
    console.result("\n".join(lines), event="done", **result)
    return 0
