"""The command that trains a model."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .console import Console
from .interruption import Stop
from .options import add_command, add_device, add_splits, grid_named, splits_of

if TYPE_CHECKING:
    from ..cases.case import Case
    from ..training.settings import TrainingSettings

__all__ = ["add_commands", "train"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Declare ``train``."""
    command = add_command(commands, "train", train, "train a model on a directory of paired cases")
    command.add_argument("cases", metavar="CASES", help="directory that prepare or simulate wrote")
    add_splits(command, "train on all folds but this one, and validate on it")
    command.add_argument("--output", required=True, metavar="RUN", help="folder of the run")
    choice = command.add_mutually_exclusive_group()
    choice.add_argument("--preset", help="standard (default), paper, paper-conditional or authors")
    choice.add_argument("--config", metavar="FILE", help='JSON: {"preset": …, "model": {…}, "training": {…}}')
    command.add_argument("--grid", default="medium", help="the grid that the cases lie on")
    command.add_argument("--steps", type=int, help="optimiser steps")
    command.add_argument("--seed", type=int)
    command.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint")
    add_device(command)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def _sides(arguments: argparse.Namespace, settings: TrainingSettings) -> tuple[list[Case], list[Case]]:
    """Cases to train and to validate on: by the file of splits, or a random share of the subjects."""
    from ..cases.layouts import read_cases
    from ..training.data import split_subjects

    cases = read_cases(arguments.cases)
    if splits := splits_of(arguments, cases):
        return splits.fold(arguments.fold)
    return tuple([cases[i] for i in side] for side in split_subjects(cases, settings.validation, settings.seed))


def train(arguments: argparse.Namespace, console: Console) -> int:
    from ..cases.layouts import is_simulated
    from ..cases.sidecars import preparation_of
    from ..model import fit_covariates, preset
    from ..synthesis.synthesizer import choose_device
    from ..training.data import Cohort
    from ..training.loop import Interrupted, Trainer, check_run
    from ..training.settings import TrainingSettings

    if Path(arguments.output).resolve() == Path(arguments.cases).resolve():
        raise InputError(f"{arguments.output} holds the cases themselves; give another folder for the run.")
    check_run(arguments.output, arguments.resume)
    settings, rest = TrainingSettings.read(arguments.config) if arguments.config else (TrainingSettings(), {})
    given = {name: getattr(arguments, name) for name in ("steps", "seed") if getattr(arguments, name) is not None}
    settings = settings.updated(given, "command line")
    grid = grid_named(arguments.grid)
    config = preset(arguments.preset or rest.get("preset", "standard"), grid.shape).updated(rest.get("model", {}))
    device = choose_device(arguments.device)
    training, validation = _sides(arguments, settings)
    cases = [*training, *validation]
    about = {"simulated": is_simulated(arguments.cases), "preparation": preparation_of(cases).to_dict()}
    for case in cases:
        try:
            fit_covariates(config.covariates, [case.attributes])
        except InputError as error:
            raise InputError(f"{case.name} in {arguments.cases}: {error}") from None
    config = replace(config, covariates=fit_covariates(config.covariates, [case.attributes for case in cases]))

    def loading(done: int, total: int) -> None:
        console.progress("reading", done / total, f"{done} of {total} cases")

    cohort = Cohort.load(cases, grid, progress=loading)
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

    def note(sentence: str) -> None:
        console.note(sentence)
        console.event(event="note", message=sentence)

    with Stop() as stop:
        trainer = Trainer(
            Path(arguments.output),
            config,
            settings,
            grid,
            cohort.subset(range(len(training))),
            cohort.subset(range(len(training), len(cases))),
            device,
            report,
            lambda: stop.asked,
            about,
            note,
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
