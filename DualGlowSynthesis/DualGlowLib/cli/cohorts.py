"""Commands that make, check and prepare cohorts."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import InputError
from .console import Console
from .interruption import Stop
from .options import (
    add_command,
    add_groups,
    add_layout,
    add_pet_window,
    add_preparation,
    add_scheduler,
    preparation_chosen,
)
from .protection import case_inputs, check

if TYPE_CHECKING:
    from ..cohorts.cohort import CohortResult

__all__ = ["add_commands", "prepare", "simulate", "tell_cohort", "validate"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Declare ``simulate``, ``validate`` and ``prepare``."""
    command = add_command(
        commands, "simulate", simulate, "make a paired T1/FDG-PET cohort whose conditional law is known"
    )
    command.add_argument("output", metavar="OUT", help="folder to write to (BIDS, and truth/)")
    text = "how many; more extend a cohort that is there"
    command.add_argument("--cases", type=int, metavar="N", help=text)
    text = "a cohort that never changes under its name: DualGlow-Sim-1; in place of cases, grid, seed and anatomies"
    command.add_argument("--recipe", metavar="NAME", help=text)
    text = "make pairs of this folder's photos in place of a cohort: sketch or cartoon, and photo"
    command.add_argument("--photos", metavar="FOLDER", help=text)
    command.add_argument("--task", help="of --photos: sketch (default) or cartoon")
    text = "of --photos: pixels (default: 128 for sketch, 256 for cartoon)"
    command.add_argument("--side", type=int, metavar="N", help=text)
    command.add_argument("--grid", help="small, medium, paper, standard or high (default: medium)")
    command.add_argument("--seed", type=int, help="cohorts of different seeds share no case (default: 0)")
    command.add_argument(
        "--anatomy", action="append", metavar="DIR", help="folder of T1s with region labels; repeatable"
    )
    command.add_argument(
        "--independent-anatomy", action="store_true", help="age and diagnosis act on uptake alone, not on anatomy"
    )
    text = "that PETs are drawn from: regions-1, that of the model that ships (default), or field-1, nearer to real FDG"
    command.add_argument("--law", metavar="NAME", help=text)
    text = "half the cases heads of --anatomy as prepare gives them, a quarter those deformed; folds keep heads apart"
    command.add_argument("--mixed", action="store_true", help=text)
    command.add_argument("--jobs", type=int, default=1, help="processes")

    text = "say which cases of a directory can be used, and why others can't"
    command = add_command(commands, "validate", validate, text, force=True)
    add_layout(command)
    add_pet_window(command)
    command.add_argument("--deep", action="store_true", help="read every voxel, not the headers alone")
    command.add_argument(
        "--splits",
        metavar="FILE",
        help="also divide the subjects into folds and write them here (.json, or .tsv for a table)",
    )
    add_groups(command)
    command.add_argument("--folds", type=int, default=5, metavar="K", help="how many folds")
    command.add_argument("--seed", type=int, default=0, help="of the folds")

    text = "bring every T1 and PET of a directory to a grid, ready for training"
    command = add_command(commands, "prepare", prepare, text)
    add_layout(command)
    text = "folder to write to (a BIDS derivative); goes on where it stopped"
    command.add_argument("output", metavar="OUT", help=text)
    command.add_argument("--grid", default="medium", help="small, medium, paper, standard or high")
    add_preparation(command)
    add_scheduler(command)
    text = "leave out the pictures for checking"
    command.add_argument("--no-pictures", dest="pictures", action="store_false", help=text)
    command.add_argument("--t1-only", action="store_true", help="take cases without a PET too")
    text = "a case that takes longer has failed (default: an hour)"
    command.add_argument("--time-limit", type=float, default=3600.0, metavar="SECONDS", help=text)


def simulate(arguments: argparse.Namespace, console: Console) -> int:
    from ..simulate.cohort import simulate_cohort
    from ..simulate.versions import USUAL
    from ..volumes.grid import grid_named

    if arguments.photos is not None:
        return _photos(arguments, console)
    if arguments.task is not None or arguments.side is not None:
        raise InputError("--task and --side are options of --photos; give the folder of photos too.")
    if arguments.recipe is not None:
        return _recipe(arguments, console)
    if arguments.cases is None:
        raise InputError("simulate needs --cases, how many to make, or --recipe.")
    simulate_cohort(
        arguments.output,
        arguments.cases,
        grid_named(arguments.grid or "medium"),
        arguments.seed or 0,
        anatomy=arguments.anatomy,
        jobs=arguments.jobs,
        progress=console.progress,
        independent_anatomy=arguments.independent_anatomy,
        law=arguments.law or USUAL.name,
        mixed=arguments.mixed,
    )
    console.result(arguments.output, event="done", output=str(arguments.output), cases=arguments.cases)
    return 0


def _refuse(arguments: argparse.Namespace, with_: str) -> None:
    """Refuse what says otherwise of a cohort than the option that says all."""
    for name in ("recipe", "cases", "grid", "seed", "anatomy", "law", "independent_anatomy", "mixed"):
        if name != with_ and getattr(arguments, name) not in (None, False):
            option = name.replace("_", "-")
            raise InputError(f"--{with_} and --{option} don't go together; leave one of them out.")


def _photos(arguments: argparse.Namespace, console: Console) -> int:
    from ..training.photo_runs import write_pairs

    _refuse(arguments, "photos")
    task = arguments.task or "sketch"
    count = write_pairs(arguments.photos, arguments.output, task, arguments.side, console.progress)
    console.result(arguments.output, event="done", output=str(arguments.output), pairs=count)
    return 0


def _recipe(arguments: argparse.Namespace, console: Console) -> int:
    from ..simulate.recipes import recipe_named, simulate_recipe

    _refuse(arguments, "recipe")
    about = simulate_recipe(arguments.output, recipe_named(arguments.recipe), arguments.jobs, console.progress)
    digest = about["sha256"]
    text = f"{arguments.output}: {about['name']}, regions {digest['regions']}, voxels {digest['voxels']}"
    console.result(text, event="done", output=str(arguments.output), **about)
    return 0


def validate(arguments: argparse.Namespace, console: Console) -> int:
    from ..cases.groups import check_groups, grouped, read_groups
    from ..cases.layouts import LAYOUTS
    from ..cases.report import validate_cases
    from ..cases.splits import make_splits, splits_output, write_splits
    from ..preparation.settings import Preparation

    groups = read_groups(arguments.groups)
    if arguments.splits:
        check(arguments, [splits_output(arguments.splits)], case_inputs(arguments.cases, arguments.layout))
    report = validate_cases(
        arguments.cases,
        arguments.deep,
        arguments.layout,
        lambda name, fraction: console.progress("checking", fraction, name),
        Preparation(pet_window=tuple(arguments.pet_window)).pet_window,
    )
    check_groups(groups, [item.case for item in report.findings.items if item.case])
    for item in report.findings.items:
        item.case = item.case and grouped(item.case, groups)
    console.result(report.to_text(), event="report", **report.to_dict())
    if not report.usable:
        found, layout = report.findings, report.findings.layout
        why = "the report says why" if found.items else f"as {layout} it must hold {LAYOUTS[layout]}"
        raise InputError(f"{arguments.cases} has no case that can be used; {why}.")
    if arguments.splits:
        splits = make_splits(report.usable, arguments.folds, arguments.seed)
        path = write_splits(splits, arguments.splits, arguments.force)
        console.result(f"{arguments.folds} folds in {path}", event="output", path=str(path))
    return 0


def tell_cohort(result: CohortResult, console: Console) -> bool:
    """Say what became of the cases; gives whether the command was interrupted."""
    console.result(result.to_text(), event="interrupted" if result.interrupted else "done", **result.to_dict())
    if result.interrupted:
        console.note("Interrupted; the same command goes on.")
    return result.interrupted


def prepare(arguments: argparse.Namespace, console: Console) -> int:
    from ..cohorts.cohort import prepare_cohort
    from ..volumes.grid import grid_named

    with Stop() as stop:
        result = prepare_cohort(
            arguments.cases,
            arguments.output,
            grid_named(arguments.grid),
            preparation_chosen(arguments),
            jobs=arguments.jobs,
            layout=arguments.layout,
            pictures=arguments.pictures,
            t1_only=arguments.t1_only,
            time_limit=arguments.time_limit,
            progress=lambda name, fraction: console.progress("preparing", fraction, name),
            stop=lambda: stop.asked,
            scheduler=arguments.scheduler,
            note=console.note,
        )
    if tell_cohort(result, console):
        return 1
    result.check_any(arguments.cases)
    return 1 if result.having("failed") else 0
