"""The command line: ``python -m DualGlowLib COMMAND …``.

Exit code 0: done. 2: wrong usage or unusable input, with one line that says what, where and what to do. 1: anything
else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import __version__, commands
from .console import Console
from .errors import InputError

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m DualGlowLib",
        description="From a T1 brain MRI to the distribution of FDG-PET images that go with it. Research use only.",
    )
    parser.add_argument("--version", action="version", version=f"DualGlow {__version__}")
    chooser = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, function, text: str) -> argparse.ArgumentParser:
        sub = chooser.add_parser(name, help=text, description=text)
        sub.set_defaults(function=function)
        sub.add_argument("--json", action="store_true", help="one JSON object per line on standard output")
        return sub

    sub = command("simulate", commands.simulate, "make a paired T1/FDG-PET cohort whose conditional law is known")
    sub.add_argument("output", metavar="OUT", help="folder to write to (BIDS, and truth/)")
    sub.add_argument("--cases", type=int, required=True, metavar="N")
    sub.add_argument("--grid", default="medium", help="small, medium, paper, standard or high")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--anatomy", action="append", metavar="DIR", help="folder of T1s with region labels; repeatable")
    sub.add_argument("--jobs", type=int, default=1, help="processes")

    sub = command("train", commands.train, "train a model on a directory of paired cases")
    sub.add_argument("cases", metavar="CASES", help="BIDS directory with T1, FDG-PET and participants.tsv")
    sub.add_argument("--output", required=True, metavar="RUN", help="folder of the run")
    choice = sub.add_mutually_exclusive_group()
    choice.add_argument("--preset", help="standard (default), paper or authors")
    choice.add_argument("--config", metavar="FILE", help='JSON: {"preset": …, "training": {…}}')
    sub.add_argument("--grid", default="medium", help="the grid that the cases lie on")
    sub.add_argument("--steps", type=int, help="optimiser steps")
    sub.add_argument("--seed", type=int)
    sub.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, …")

    for name, function, text in (
        ("synthesize", commands.synthesize, "synthesize the FDG-PET of a T1"),
        ("sweep", commands.sweep, "synthesize the FDG-PET of a T1 at several ages, and draw them"),
    ):
        sub = command(name, function, text)
        sub.add_argument("t1", metavar="T1", help="T1-weighted MRI of a head")
        if name == "sweep":
            sub.add_argument("--output", required=True, metavar="DIR")
            sub.add_argument("--ages", required=True, metavar="FROM:TO:STEP", help="e.g. 50:100:10, TO included")
        else:
            sub.add_argument("--output", required=True, metavar="PET.nii.gz")
            sub.add_argument("--age", type=float, help="years; unknown if left out")
        sub.add_argument("--sex", help="F or M; unknown if left out")
        sub.add_argument("--diagnosis", help="one that the model knows, e.g. CN, MCI, AD; unknown if left out")
        sub.add_argument("--temperature", type=float, default=0.0, help="factor on the latent noise; 0: the mode")
        sub.add_argument("--samples", type=int, default=1, metavar="K", help="mean (and _sd) of K samples")
        sub.add_argument("--seed", type=int, default=0)
        sub.add_argument("--mask", metavar="FILE", help="brain mask on the T1's lattice (default: found)")
        sub.add_argument("--bundle", metavar="DIR", help="trained model (default: the one that ships with DualGlow)")
        sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, …")

    sub = command("evaluate", commands.evaluate, "compare a model with the PETs of cases that it has not seen")
    sub.add_argument("bundle", metavar="BUNDLE")
    sub.add_argument("cases", metavar="CASES")
    sub.add_argument("--output", required=True, metavar="REPORT.json")
    sub.add_argument("--samples", type=int, default=0, metavar="K", help="also measure the spread of K samples")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--device", default="auto")

    sub = command("benchmark", commands.benchmark, "time a synthesis on this machine, stage by stage")
    sub.add_argument("t1", metavar="T1", nargs="?", help="T1 to use (default: the template that ships with DualGlow)")
    sub.add_argument("--bundle", metavar="DIR")
    sub.add_argument("--device", default="auto")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    Args:
        argv: arguments without the program's name; by default those of the process.
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed its message
        return int(stop.code or 0)
    try:
        return arguments.function(arguments, Console(arguments.json))
    except InputError as error:
        print(f"dualglow {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"dualglow {arguments.command}: interrupted", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
