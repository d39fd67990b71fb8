"""Options that several commands share: how they are declared, and what they name."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..atlas.reference import REFERENCES
from ..errors import InputError
from ..preparation.settings import Preparation
from .console import Console
from .interruption import Stop

__all__ = [
    "add_atlas",
    "add_command",
    "add_device",
    "add_groups",
    "add_layout",
    "add_pet_window",
    "add_preparation",
    "add_scheduler",
    "add_splits",
    "handing_out",
    "preparation_chosen",
]

_FORCE = (
    "also replace files that DualGlow did not write, but never an input, nor the JSON file of somebody else's image "
    "(without it, only what DualGlow wrote before is replaced)"
)


def add_atlas(command: argparse.ArgumentParser) -> None:
    """Declare ``--atlas`` and ``--atlas-table``."""
    text = (
        "label map in MNI152 space, or a name with {case}, {subject} or {session} of each case's own in the space of "
        "its T1, for the tables of regions (default: DualGlow's own regions)"
    )
    command.add_argument("--atlas", metavar="LABELS", help=text)
    text = "names of its labels: columns index and name, or lines of a number and a name"
    command.add_argument("--atlas-table", metavar="TABLE", help=text)


def add_command(
    commands: argparse._SubParsersAction,
    name: str,
    function: Callable[[argparse.Namespace, Console], int],
    text: str,
    force: bool = False,
) -> argparse.ArgumentParser:
    """Declare a command.

    Args:
        commands: what ``add_subparsers`` gave.
        name: of the command.
        function: what runs it; its result is the exit code.
        text: what it does, for ``--help``.
        force: whether it writes files that it may have to replace.
    """
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(function=function)
    command.add_argument("--json", action="store_true", help="one JSON object per line on standard output")
    if force:
        command.add_argument("--force", action="store_true", help=_FORCE)
    return command


def add_layout(command: argparse.ArgumentParser) -> None:
    """``CASES``, a directory in any layout, and ``--layout``."""
    text = "BIDS, PETPrep, Clinica CAPS, ADNI as downloaded, a folder with cases.csv, or one of ID/t1.* and ID/pet.*"
    command.add_argument("cases", metavar="CASES", help=text)
    command.add_argument("--layout", help="bids, petprep, caps, adni, flat or plain (default: what it looks like)")


def add_pet_window(command: argparse.ArgumentParser) -> None:
    """``--pet-window``."""
    usual = Preparation().pet_window
    shown = " ".join(f"{minutes:g}" for minutes in usual)
    text = f"minutes after injection whose frames are averaged of a dynamic PET (default: {shown})"
    command.add_argument("--pet-window", nargs=2, type=float, default=usual, metavar=("FROM", "TO"), help=text)


def add_preparation(command: argparse.ArgumentParser) -> None:
    """How scans are prepared, see ``preparation_chosen``; and in how many processes."""
    usual = Preparation()
    text = f"region that SUVR is relative to: {', '.join(REFERENCES[:-1])} or {REFERENCES[-1]}"
    command.add_argument("--reference", default=usual.reference, help=text)
    text = "smooth PETs to this FWHM"
    command.add_argument("--resolution", type=float, default=usual.resolution, metavar="MM", help=text)
    add_pet_window(command)
    command.add_argument("--no-bias", dest="bias", action="store_false", help="leave out the N4 bias field correction")
    command.add_argument("--deformable", action="store_true", help="deform brains to the template's after the affine")
    command.add_argument("--jobs", type=int, default=1, help="processes")


def add_scheduler(command: argparse.ArgumentParser) -> None:
    """``--scheduler``, see ``cluster.hand_out``; goes with ``--jobs``."""
    text = "hand the cases to this Dask scheduler, e.g. tcp://node7:8786, in place of processes here"
    command.add_argument("--scheduler", metavar="ADDRESS", help=text)


@contextmanager
def handing_out(
    arguments: argparse.Namespace, console: Console, witness: Path
) -> Iterator[Callable[..., Iterator[tuple[int, dict]]] | None]:
    """``cluster.hand_out`` as ``--jobs`` and ``--scheduler`` say, until a signal stops it; None if neither is given.

    Args:
        arguments: of the command.
        console: for notes.
        witness: see ``hand_out``.

    Raises:
        InputError: for fewer than 1 process.
    """
    if arguments.jobs is None and arguments.scheduler is None:
        yield None
        return
    processes = 1 if arguments.jobs is None else arguments.jobs
    if processes < 1:
        raise InputError(f"--jobs must be at least 1, not {processes}.")
    from ..cluster import hand_out

    with Stop() as stop:
        yield partial(
            hand_out,
            processes=processes,
            scheduler=arguments.scheduler,
            stop=lambda: stop.asked,
            note=console.note,
            witness=witness,
        )


def preparation_chosen(arguments: argparse.Namespace) -> Preparation:
    """What the options of ``add_preparation`` say.

    Raises:
        InputError: as ``Preparation``.
    """
    return Preparation(
        arguments.bias, arguments.deformable, arguments.reference, arguments.resolution, tuple(arguments.pet_window)
    )


def add_splits(command: argparse.ArgumentParser, text: str) -> None:
    """``--splits`` and ``--fold``; the text says what the fold is for."""
    command.add_argument("--splits", metavar="FILE", help="folds that validate --splits wrote")
    command.add_argument("--fold", type=int, metavar="I", help=text)


def add_groups(command: argparse.ArgumentParser) -> None:
    """``--groups``, see ``cases.groups.read_groups``."""
    text = "diagnoses to take together, e.g. CN=CN,SMC MCI=EMCI,MCI,LMCI (default: each by itself)"
    command.add_argument("--groups", nargs="+", metavar="GROUP=DIAGNOSES", help=text)


def add_device(command: argparse.ArgumentParser) -> None:
    """``--device``."""
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, …")
