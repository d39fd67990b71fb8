"""The command line: ``python -m DualGlowLib COMMAND …``.

Exit code 0: done. 2: wrong usage or unusable input, with one line that says what, where and what to do. 1: anything
else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import __version__
from .cli import cohorts, reports, synthesis, training
from .cli.console import Console
from .errors import InputError

__all__ = ["main"]


_FORCE = (
    "also replace files that DualGlow did not write, but never an input, nor the JSON file of somebody else's image "
    "(without it, only what DualGlow wrote before is replaced)"
)
_CASES = "BIDS, Clinica CAPS, a folder with cases.csv, or one of ID/t1.* and ID/pet.*"


def _add_splits(sub: argparse.ArgumentParser, text: str) -> None:
    sub.add_argument("--splits", metavar="FILE", help="folds that validate --splits wrote")
    sub.add_argument("--fold", type=int, metavar="I", help=text)


def _temperatures(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, or numbers separated by commas, not {text!r}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m DualGlowLib",
        description="From a T1 brain MRI to the distribution of FDG-PET images that go with it. Research use only.",
    )
    parser.add_argument("--version", action="version", version=f"DualGlow {__version__}")
    chooser = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, function, text: str, force: bool = False) -> argparse.ArgumentParser:
        sub = chooser.add_parser(name, help=text, description=text)
        sub.set_defaults(function=function)
        sub.add_argument("--json", action="store_true", help="one JSON object per line on standard output")
        if force:
            sub.add_argument("--force", action="store_true", help=_FORCE)
        return sub

    sub = command("simulate", cohorts.simulate, "make a paired T1/FDG-PET cohort whose conditional law is known")
    sub.add_argument("output", metavar="OUT", help="folder to write to (BIDS, and truth/)")
    sub.add_argument("--cases", type=int, required=True, metavar="N")
    sub.add_argument("--grid", default="medium", help="small, medium, paper, standard or high")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--anatomy", action="append", metavar="DIR", help="folder of T1s with region labels; repeatable")
    sub.add_argument(
        "--independent-anatomy", action="store_true", help="age and diagnosis act on uptake alone, not on anatomy"
    )
    sub.add_argument("--jobs", type=int, default=1, help="processes")

    sub = command(
        "validate", cohorts.validate, "say which cases of a directory can be used, and why others can't", True
    )
    sub.add_argument("cases", metavar="CASES", help=_CASES)
    sub.add_argument("--layout", help="bids, caps, flat or plain (default: what the directory looks like)")
    sub.add_argument("--deep", action="store_true", help="read every voxel, not the headers alone")
    sub.add_argument("--splits", metavar="FILE", help="also divide the subjects into folds and write them here (JSON)")
    sub.add_argument("--folds", type=int, default=5, metavar="K")
    sub.add_argument("--seed", type=int, default=0)

    sub = command("prepare", cohorts.prepare, "bring every T1 and PET of a directory to a grid, ready for training")
    sub.add_argument("cases", metavar="CASES", help=_CASES)
    sub.add_argument("--layout", help="bids, caps, flat or plain (default: what the directory looks like)")
    sub.add_argument("output", metavar="OUT", help="folder to write to (a BIDS derivative); goes on where it stopped")
    sub.add_argument("--grid", default="medium", help="small, medium, paper, standard or high")
    sub.add_argument("--jobs", type=int, default=1, help="processes")
    sub.add_argument("--reference", default="pons", help="region that SUVR is relative to: pons, cerebellum or brain")
    sub.add_argument("--resolution", type=float, default=8.0, metavar="MM", help="smooth PETs to this FWHM")
    sub.add_argument("--no-bias", dest="bias", action="store_false", help="leave out the N4 bias field correction")
    sub.add_argument("--deformable", action="store_true", help="deform brains to the template's after the affine")
    sub.add_argument("--no-pictures", dest="pictures", action="store_false", help="leave out the pictures for checking")
    sub.add_argument("--t1-only", action="store_true", help="take cases without a PET too")

    sub = command("train", training.train, "train a model on a directory of paired cases")
    sub.add_argument("cases", metavar="CASES", help="directory that prepare or simulate wrote")
    _add_splits(sub, "train on all folds but this one, and validate on it")
    sub.add_argument("--output", required=True, metavar="RUN", help="folder of the run")
    choice = sub.add_mutually_exclusive_group()
    choice.add_argument("--preset", help="standard (default), paper, paper-conditional or authors")
    choice.add_argument("--config", metavar="FILE", help='JSON: {"preset": …, "model": {…}, "training": {…}}')
    sub.add_argument("--grid", default="medium", help="the grid that the cases lie on")
    sub.add_argument("--steps", type=int, help="optimiser steps")
    sub.add_argument("--seed", type=int)
    sub.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, …")

    for name, function, text in (
        ("synthesize", synthesis.synthesize, "synthesize the FDG-PET of a T1"),
        ("sweep", synthesis.sweep, "synthesize the FDG-PET of a T1 at several ages, and draw them"),
    ):
        sub = command(name, function, text, force=True)
        sub.add_argument("t1", metavar="T1", help="T1-weighted MRI of a head: a file, or a folder of DICOM files")
        sub.add_argument("--series", help="which series of a DICOM folder: its number, UID or part of its description")
        if name == "sweep":
            sub.add_argument("--output", required=True, metavar="DIR")
            sub.add_argument("--ages", required=True, metavar="FROM:TO:STEP", help="e.g. 50:100:10, TO included")
        else:
            sub.add_argument("--output", required=True, metavar="PET.nii.gz", help="file, or folder that exists")
            sub.add_argument("--age", type=float, help="years; if left out what DICOM says, else unknown")
            sub.add_argument("--dicom", metavar="DIR", help="also write a derived DICOM series (the T1 must be DICOM)")
        sub.add_argument("--sex", help="F or M; unknown if left out")
        sub.add_argument("--diagnosis", help="one that the model knows, e.g. CN, MCI, AD; unknown if left out")
        sub.add_argument(
            "--covariate", action="append", default=[], metavar="NAME=VALUE", help="any other that the model knows"
        )
        sub.add_argument(
            "--temperature", type=_temperatures, default=[0.0], metavar="T[,T…]",
            help="factor on the latent noise, 0: the mode; or one for each level, the finest first",
        )  # fmt: skip
        sub.add_argument("--samples", type=int, default=1, metavar="K", help="mean (and _sd) of K samples")
        sub.add_argument("--antithetic", action="store_true", help="take samples in pairs of opposite noise")
        sub.add_argument("--below", type=float, metavar="SUVR", help="also write the share of samples below this")
        sub.add_argument("--regions", action="store_true", help="also write region means; intervals from 19 samples on")
        sub.add_argument("--seed", type=int, default=0)
        sub.add_argument("--mask", metavar="FILE", help="brain mask in the T1's space (default: found)")
        sub.add_argument("--transform", metavar="FILE", help="also write the affine to the template (.h5 or .tfm)")
        sub.add_argument("--qc", metavar="FILE.png", help="also draw the preparation for checking")
        sub.add_argument("--bundle", metavar="DIR", help="trained model (default: the one that ships with DualGlow)")
        sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, …")

    sub = command("evaluate", reports.evaluate, "compare a model with the PETs of cases that it has not seen", True)
    sub.add_argument("bundle", metavar="BUNDLE")
    sub.add_argument("cases", metavar="CASES", help="directory that prepare or simulate wrote")
    _add_splits(sub, "evaluate on this fold alone")
    sub.add_argument("--output", required=True, metavar="REPORT.json")
    sub.add_argument("--samples", type=int, default=0, metavar="K", help="also measure the spread of K samples")
    sub.add_argument(
        "--leakage", action="store_true", help="also probe what the MRI's latents still tell of the covariates"
    )
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--device", default="auto")

    sub = command("benchmark", reports.benchmark, "time a synthesis on this machine, stage by stage")
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
