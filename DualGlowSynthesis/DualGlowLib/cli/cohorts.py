"""Commands that make, check and prepare cohorts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InputError
from .console import Console
from .interruption import Stop
from .protection import case_inputs, check

if TYPE_CHECKING:
    from ..cases.case import Case
    from ..cases.splits import Splits
    from ..volumes.grid import Grid

__all__ = ["grid_named", "prepare", "simulate", "splits_of", "validate"]


def grid_named(name: str) -> Grid:
    from ..volumes.grid import GRIDS

    if name not in GRIDS:
        raise InputError(f"There is no grid {name!r}; there are {', '.join(GRIDS)}.")
    return GRIDS[name]


def splits_of(arguments: argparse.Namespace, cases: Sequence[Case]) -> Splits | None:
    """The folds that ``--splits`` names, if it was given; ``--fold`` goes with it."""
    from ..cases.splits import read_splits

    if (arguments.splits is None) != (arguments.fold is None):
        raise InputError("--splits and --fold go together: the file of folds, and which of them is held out.")
    return read_splits(arguments.splits, cases) if arguments.splits else None


def simulate(arguments: argparse.Namespace, console: Console) -> int:
    from ..simulate.cohort import simulate_cohort

    simulate_cohort(
        arguments.output,
        arguments.cases,
        grid_named(arguments.grid),
        arguments.seed,
        anatomy=arguments.anatomy,
        jobs=arguments.jobs,
        progress=console.progress,
        independent_anatomy=arguments.independent_anatomy,
    )
    console.result(arguments.output, event="done", output=str(arguments.output), cases=arguments.cases)
    return 0


def validate(arguments: argparse.Namespace, console: Console) -> int:
    from ..cases.report import validate_cases
    from ..cases.splits import make_splits, splits_output, write_splits

    if arguments.splits:
        check(arguments, [splits_output(arguments.splits)], case_inputs(arguments.cases, arguments.layout))
    report = validate_cases(
        arguments.cases,
        arguments.deep,
        arguments.layout,
        lambda name, fraction: console.progress("checking", fraction, name),
    )
    console.result(report.to_text(), event="report", **report.to_dict())
    if not report.usable:
        raise InputError(f"{arguments.cases} has no case that can be used; the report says why.")
    if arguments.splits:
        splits = make_splits(report.usable, arguments.folds, arguments.seed)
        path = write_splits(splits, arguments.splits, arguments.force)
        console.result(f"{arguments.folds} folds in {path}", event="output", path=str(path))
    return 0


def prepare(arguments: argparse.Namespace, console: Console) -> int:
    from ..cohorts.cohort import prepare_cohort

    with Stop() as stop:
        result = prepare_cohort(
            arguments.cases,
            arguments.output,
            grid_named(arguments.grid),
            jobs=arguments.jobs,
            layout=arguments.layout,
            reference=arguments.reference,
            resolution=arguments.resolution,
            bias=arguments.bias,
            pictures=arguments.pictures,
            t1_only=arguments.t1_only,
            deformable=arguments.deformable,
            progress=lambda name, fraction: console.progress("preparing", fraction, name),
            stop=lambda: stop.asked,
        )
    console.result(result.to_text(), event="interrupted" if result.interrupted else "done", **result.to_dict())
    if result.interrupted:
        console.note("Interrupted; the same command goes on.")
        return 1
    if not result.having("good", "doubtful"):
        raise InputError(f"No case of {arguments.cases} could be prepared; {arguments.output}/manifest.json says why.")
    return 1 if result.having("failed") else 0
