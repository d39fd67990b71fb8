"""The command that fits a model to the scans of one's own site."""

from __future__ import annotations

import argparse
from pathlib import Path

from .console import Console
from .interruption import Stop
from .options import add_command, add_device, add_groups
from .training import tell_interrupted, tell_step

__all__ = ["adapt", "add_commands"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Declare ``adapt``."""
    text = "fit a trained model to one's own site, by twenty pairs or more"
    command = add_command(commands, "adapt", adapt, text)
    command.add_argument("bundle", metavar="BUNDLE", help="the trained model, such as run/bundle")
    command.add_argument("cases", metavar="CASES", help="directory that prepare wrote, on the model's grid")
    command.add_argument("--output", required=True, metavar="RUN", help="folder of the run; the model is its bundle")
    command.add_argument("--steps", type=int, default=200, help="optimiser steps")
    text = "for each case that is held out, to measure the spread by"
    command.add_argument("--samples", type=int, default=10, metavar="K", help=text)
    command.add_argument("--seed", type=int, default=0, help="of the training, of the held-out third, of the samples")
    command.add_argument("--resume", action="store_true", help="go on with the run that was begun in RUN")
    add_groups(command)
    add_device(command)


def adapt(arguments: argparse.Namespace, console: Console) -> int:
    from ..adaptation.adapt import Adaptation, text_of
    from ..adaptation.adapt import adapt as run
    from ..cases.groups import read_groups
    from ..devices import choose_device
    from ..training.status import Interrupted

    plan = Adaptation(
        arguments.bundle,
        arguments.cases,
        arguments.output,
        arguments.steps,
        arguments.samples,
        arguments.seed,
        read_groups(arguments.groups),
    )
    with Stop() as stop:
        try:
            made = run(
                plan,
                choose_device(arguments.device),
                arguments.resume,
                progress=console.progress,
                report=lambda event: tell_step(console, event),
                note=console.note,
                stop=lambda: stop.asked,
            )
        except Interrupted as interrupted:
            return tell_interrupted(console, interrupted)
    bundle = Path(arguments.output) / "bundle"
    console.result(f"{text_of(made.about)}\n\n{bundle}", event="done", bundle=str(bundle), **made.about)
    return 0
