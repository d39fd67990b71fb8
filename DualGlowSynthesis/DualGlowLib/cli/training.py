"""The command that trains a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..preparation.settings import Preparation
from ..startup import is_first_rank, is_rank
from .console import Console
from .interruption import Stop
from .options import (
    add_command,
    add_device,
    add_groups,
    add_layout,
    add_preparation,
    add_scheduler,
    add_splits,
    preparation_chosen,
)

if TYPE_CHECKING:
    import torch

    from ..training.distributed import Ranks
    from ..training.run import Plan
    from ..training.status import Interrupted

__all__ = ["add_commands", "tell_interrupted", "tell_step", "train"]

_SETTINGS = ("steps", "seed", "batch", "memory", "sharding", "licence", "tensorboard")
"""Options that stand for settings of the same name."""


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Declare ``train``."""
    text = "train a model on a directory of paired cases, which are prepared first where they aren't"
    command = add_command(commands, "train", train, text)
    add_layout(command)
    add_splits(command, "train on all folds but this one, and validate on it")
    add_groups(command)
    command.add_argument("--output", required=True, metavar="RUN", help="folder of the run")
    choice = command.add_mutually_exclusive_group()
    choice.add_argument("--preset", help="standard (default), paper, paper-conditional or authors")
    text = (
        "train this baseline in place of the model: mean, mean-age, linear, unet, flow-matching, cgan, ucgan, pix2pix, "
        "cvae or iglow"
    )
    command.add_argument("--method", metavar="NAME", help=text)
    choice.add_argument("--config", metavar="FILE", help='JSON or TOML: {"preset": …, "model": {…}, "training": {…}}')
    text = "small, medium, paper, standard or high (default: the one that the cases lie on, medium for acquired scans)"
    command.add_argument("--grid", help=text)
    command.add_argument("--steps", type=int, help="optimiser steps (default: what the settings say)")
    command.add_argument("--seed", type=int, help="of the run (default: what the settings say)")
    command.add_argument("--batch", type=int, help="cases a step (default: what the settings say)")
    text = "plain, checkpoint or invertible: the last two take less memory, more time (default: as the settings say)"
    command.add_argument("--memory", help=text)
    text = "none or full: with torchrun, each process has the whole model or a part (default: as the settings say)"
    command.add_argument("--sharding", help=text)
    text = "also write event files for TensorBoard, into RUN/tensorboard (needs the Python package tensorboard)"
    command.add_argument("--tensorboard", action="store_true", default=None, help=text)
    text = "under which the model may be given away, such as CC-BY-4.0 (default: what the settings say)"
    command.add_argument("--licence", metavar="ID", help=text)
    text = "say what memory and time the run will need, after a few steps on made-up images, and don't begin"
    command.add_argument("--estimate", action="store_true", help=text)
    text = "print all settings of the run as JSON that --config takes, and don't begin"
    command.add_argument("--print-config", action="store_true", help=text)
    command.add_argument("--resume", action="store_true", help="go on with the run that was begun in RUN")
    add_device(command)
    add_preparation(command)
    add_scheduler(command)


def train(arguments: argparse.Namespace, console: Console) -> int:
    from ..devices import choose_device
    from ..training.distributed import Lost, joined
    from ..training.photo_runs import holds_pairs

    if holds_pairs(arguments.cases):
        return _photos(arguments, console)
    if arguments.print_config or arguments.estimate:
        if not is_first_rank():
            return 0
        if arguments.print_config:
            return _print_config(_plan(arguments), console)
        return _estimate(_plan(arguments), choose_device(arguments.device), console)
    try:
        with Stop(patient=is_rank()) as stop, joined() as ranks:
            return _run(arguments, console if ranks.is_first else Console(silent=True), stop, ranks)
    except Lost as lost:
        console.note(str(lost))
        return 1


def _photos(arguments: argparse.Namespace, console: Console) -> int:
    from ..devices import choose_device
    from ..training.loop import Interrupted
    from ..training.photo_runs import train_photos

    for name in ("layout", "splits", "fold", "groups", "preset", "method", "grid", "sharding"):
        if getattr(arguments, name) is not None:
            raise InputError(f"{arguments.cases} holds pairs of photos, which take no --{name}; leave it out.")
    if arguments.estimate or arguments.print_config:
        raise InputError(
            f"{arguments.cases} holds pairs of photos; --estimate and --print-config are for cases; leave them out."
        )
    try:
        with Stop() as stop:
            train_photos(
                arguments.cases, arguments.output, arguments.config, _changes(arguments),
                choose_device(arguments.device), arguments.resume, lambda event: tell_step(console, event),
                lambda: stop.asked, console.note,
            )  # fmt: skip
    except Interrupted as interrupted:
        return tell_interrupted(console, interrupted)
    bundle = Path(arguments.output) / "bundle"
    console.result(str(bundle), event="done", bundle=str(bundle))
    return 0


def _changes(arguments: argparse.Namespace) -> dict:
    return {name: value for name in _SETTINGS if (value := getattr(arguments, name)) is not None}


def _plan(arguments: argparse.Namespace) -> Plan:
    from ..baselines.recipe import recipe
    from ..cases.groups import read_groups
    from ..training.run import Plan

    return Plan(
        arguments.cases,
        arguments.output,
        arguments.preset,
        arguments.config,
        _changes(arguments),
        arguments.grid,
        arguments.layout,
        arguments.splits,
        arguments.fold,
        preparation_chosen(arguments),
        arguments.jobs,
        arguments.scheduler,
        read_groups(arguments.groups),
        recipe(arguments.method),
    )


def _run(arguments: argparse.Namespace, console: Console, stop: Stop, ranks: Ranks) -> int:
    from ..training.loop import Interrupted
    from ..training.run import train

    plan = ranks.together(lambda: _plan(arguments))
    try:
        train(
            plan,
            ranks.together(lambda: ranks.device(arguments.device)),
            arguments.resume,
            arguments=_again(plan, arguments.device),
            progress=console.progress,
            report=lambda event: tell_step(console, event),
            note=console.note,
            stop=lambda: stop.asked,
            ranks=ranks,
        )
    except Interrupted as interrupted:
        return tell_interrupted(console, interrupted)
    bundle = Path(arguments.output) / "bundle"
    console.result(str(bundle), event="done", bundle=str(bundle))
    return 0


def tell_interrupted(console: Console, interrupted: Interrupted) -> int:
    """Say that a run was stopped; gives the exit code."""
    console.note(str(interrupted))
    console.event(event="interrupted", step=interrupted.step)
    return 1


def tell_step(console: Console, event: dict) -> None:
    """A line of a run's history."""
    step, steps = event["step"], event["steps"]
    console.event(event="step", **event)
    has_bits = "pet_bits" in event  # baselines have none
    bits = f" bits/dim PET {event['pet_bits']:.3f} MRI {event['mri_bits']:.3f}" if has_bits else ""
    console.progress("training", step / steps, f"step {step} loss {event['loss']:.4g}{bits}")
    if "validation_loss" in event and not console.machine:
        held_out = f"PET {event['validation_pet_bits']:.3f} bits/dim" if has_bits else f"{event['validation_loss']:.4g}"
        console.note(f"step {step}: held-out {held_out if has_bits else 'loss ' + held_out}")


def _print_config(plan: Plan, console: Console) -> int:
    from ..files import json_text
    from ..training.run import prospect

    ahead = prospect(plan)
    model = {key: value for key, value in ahead.config.to_dict().items() if key not in ("preset", "method", "shape")}
    kind = {"method": plan.recipe.method} if plan.recipe.method else {"preset": ahead.config.preset}
    values = {**kind, "model": model, "training": ahead.settings.to_dict()}
    console.result(json_text(values).rstrip(), event="config", **values)
    return 0


def _estimate(plan: Plan, device: torch.device, console: Console) -> int:
    from ..training.estimate import estimate

    found = estimate(plan, device, console.progress)
    console.result(found.to_text(), event="estimate", **found.to_dict())
    if found.refusal:
        raise InputError(found.refusal)
    return 0


def _again(plan: Plan, device: str) -> list[str]:
    """The arguments of ``train`` for the same run, wherever they are given."""
    from ..cases.groups import as_texts

    usual, chosen = Preparation(), plan.preparation
    options = {
        "output": Path(plan.folder).resolve(),
        "method": plan.recipe.method or None,
        "preset": plan.preset,
        "config": plan.settings_file and Path(plan.settings_file).resolve(),
        "grid": plan.grid,
        "layout": plan.layout,
        "splits": plan.splits and Path(plan.splits).resolve(),
        "fold": plan.fold,
        **{name: plan.changes.get(name) for name in _SETTINGS if name != "tensorboard"},
        "groups": as_texts(plan.groups) or None,
        "device": device,
        "reference": None if chosen.reference == usual.reference else chosen.reference,
        "resolution": None if chosen.resolution == usual.resolution else chosen.resolution,
        "pet-window": None if chosen.pet_window == usual.pet_window else chosen.pet_window,
        "jobs": plan.jobs,
        "scheduler": plan.scheduler,
    }
    flags = (["--no-bias"] if not chosen.bias else []) + (["--deformable"] if chosen.deformable else [])
    flags += ["--tensorboard"] if plan.changes.get("tensorboard") else []
    words = [str(Path(plan.cases).resolve())]
    for name, value in options.items():
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        words += [f"--{name}", *map(str, values)] if values else []
    return [*words, *flags]
