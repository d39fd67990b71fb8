"""The command of studies: methods and folds as runs, and the paper's tables and figures from them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from .console import Console
from .interruption import Stop
from .options import add_atlas, add_command, add_device, add_groups, add_scheduler

__all__ = ["add_commands", "study"]

_PARTS = (
    "table1", "table2", "table3", "regions", "validity", "fig4", "fig5", "fig6", "fig7", "fig9", "fig12", "fig13",
    "fig14", "fig17", "leaderboard",
)  # fmt: skip
"""Of a report; those of ``study.report.PARTS``, which takes long to load."""


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Declare ``study``."""
    text = "train and compare methods on the folds of a cohort; the paper's tables and figures from that"
    command = add_command(commands, "study", study, text)
    text = (
        f"run (CASES OUTPUT), report (OUTPUT), one part of the report alone ({', '.join(_PARTS)}), "
        "deficit (OUTPUT), the figure of the manual on erased deficits, or photos (OUTPUT), Figs. 8, 15 and 16 on "
        "scikit-image's own photos"
    )
    command.add_argument("action", metavar="ACTION", choices=("run", "report", *_PARTS, "deficit", "photos"), help=text)
    text = "of run the directory of cases on a grid and the folder of the study, of all others that folder"
    command.add_argument("paths", metavar="PATH", nargs="+", help=text)
    text = "methods to compare with the mean PET, such as standard,linear,unet (default: standard)"
    command.add_argument("--methods", metavar="NAME,NAME", help=text)
    command.add_argument("--folds", type=int, metavar="K", help="how many folds (default: 5)")
    command.add_argument("--splits", metavar="FILE", help="folds that validate --splits wrote, in place of new ones")
    command.add_argument("--config", metavar="FILE", help="JSON with methods of your own and settings of the study")
    command.add_argument("--steps", type=int, metavar="N", help="optimiser steps of every training")
    text = "samples drawn for each case (default: 8; 0: none)"
    command.add_argument("--samples", type=int, metavar="K", help=text)
    command.add_argument("--seed", type=int, help="of folds and samples (default: 0)")
    add_atlas(command)
    text = "a few subjects, two folds, tiny models: minutes that show whether all works"
    command.add_argument("--quick", action="store_true", help=text)
    text = "of run: do every N-th run alone, beginning with this one (from 0), as in a job array"
    command.add_argument("--index", type=int, metavar="I", help=text)
    command.add_argument("--of", type=int, metavar="N", help="into how many tasks the runs are divided")
    command.add_argument("--jobs", type=int, default=1, help="runs at once, each with one thread")
    add_groups(command)
    add_scheduler(command)
    add_device(command)


def study(arguments: argparse.Namespace, console: Console) -> int:
    action = arguments.action
    wanted = 2 if action == "run" else 1
    if len(arguments.paths) != wanted:
        what = "CASES and OUTPUT" if action == "run" else "the folder of the study"
        raise InputError(f"study {action} takes {what}; {len(arguments.paths)} paths are given.")
    return {"run": _run, "deficit": _deficit, "photos": _photos}.get(action, _report)(arguments, console)


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from ..cases.groups import read_groups
    from ..study.plan import begin_study, read_settings
    from ..study.running import run_study, share_of

    if (arguments.index is None) != (arguments.of is None):
        raise InputError("--index and --of go together: which task, of how many.")
    if arguments.of is not None:
        share_of((), arguments.index, arguments.of)  # before anything is written
    if arguments.jobs < 1:
        raise InputError(f"--jobs must be at least 1, not {arguments.jobs}.")
    names = arguments.methods and [name.strip() for name in arguments.methods.split(",")]
    changes = {name: getattr(arguments, name) for name in ("folds", "seed", "samples", "steps", "atlas", "atlas_table")}
    methods, settings = read_settings(arguments.config, names, arguments.quick, changes)
    source, folder = arguments.paths
    made = begin_study(
        folder, source, methods, settings, read_groups(arguments.groups), arguments.splits, arguments.quick,
        console.note,
    )  # fmt: skip
    runs = made.runs if arguments.of is None else share_of(made.runs, arguments.index, arguments.of)
    with Stop() as stop:
        failed = run_study(
            made, runs, arguments.jobs, arguments.scheduler, arguments.device,
            progress=console.progress, note=console.note, stop=lambda: stop.asked,
        )  # fmt: skip
        if stop.asked:
            console.note("Stopped; the same command goes on.")
            return 1
    counted = len(runs) - len(failed)
    text = f"{counted} of {len(runs)} runs are done; study report {folder} makes tables and figures."
    console.result(text, event="done", done=counted, failed={run.name: reason for run, reason in failed.items()})
    return 1 if failed else 0


def _report(arguments: argparse.Namespace, console: Console) -> int:
    from ..study.report import report

    parts = _PARTS if arguments.action == "report" else (arguments.action,)
    paths, text = report(arguments.paths[0], parts, arguments.groups, console.note, console.progress)
    return _tell(paths, text, console)


def _deficit(arguments: argparse.Namespace, console: Console) -> int:
    from ..files import make_folder
    from ..study.figures.deficit import deficit
    from ..study.report import write_part

    out = Path(arguments.paths[0])
    make_folder(out)
    part = deficit()
    return _tell(write_part(part, out, "deficit"), part.markdown(), console)


def _photos(arguments: argparse.Namespace, console: Console) -> int:
    from dataclasses import replace

    from ..devices import choose_device
    from ..files import make_folder, write_whole
    from ..pictures.page import page_html
    from ..study.figures.photos import FULL, QUICK, photo_figures
    from ..study.report import PAGE, part_html, write_part
    from ..training.loop import Interrupted
    from .training import tell_interrupted

    folder = Path(arguments.paths[0])
    size = QUICK if arguments.quick else FULL
    if arguments.steps is not None:
        if arguments.steps < 1:
            raise InputError(f"--steps must be at least 1, not {arguments.steps}.")
        size = replace(size, steps=arguments.steps)
    out = folder / "report"
    make_folder(out)
    try:
        with Stop() as stop:
            parts = photo_figures(
                folder, size, arguments.seed or 0, choose_device(arguments.device), console.progress,
                lambda: stop.asked, console.note,
            )  # fmt: skip
    except Interrupted as interrupted:
        return tell_interrupted(console, interrupted)
    paths = [path for name, part in parts.items() for path in write_part(part, out, name)]
    said = '<div class="warning"><p>Synthetic photos, made by a model and not taken.</p></div>\n'
    html = page_html("Sketches and cartoons to photos", "study", said + "".join(map(part_html, parts.values())))
    paths.append(write_whole(out / PAGE, html))
    return _tell(paths, "\n\n".join(part.markdown() for part in parts.values() if part.tables), console)


def _tell(paths: Sequence[Path], text: str, console: Console) -> int:
    for path in paths:
        console.event(event="output", path=str(path))
    console.result(f"{text}\n\n{paths[-1]}".strip(), event="done", outputs=[str(path) for path in paths])
    return 0
