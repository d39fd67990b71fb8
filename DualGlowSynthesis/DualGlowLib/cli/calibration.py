"""The command that measures what a model's intervals hold, and makes them hold it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .console import Console
from .options import add_command, add_device, add_groups
from .protection import case_inputs, check

if TYPE_CHECKING:
    from ..cases.case import Case
    from ..synthesis.predictor import SamplingPredictor
    from ..synthesis.synthesizer import Synthesizer

__all__ = ["add_commands", "calibrate"]

_FEW = 400  # cases, below which the realised coverage may be several per cent off


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Declare ``calibrate``."""
    text = "make a model's intervals hold what they promise, by cases that it was not trained on"
    command = add_command(commands, "calibrate", calibrate, text, force=True)
    command.add_argument(
        "bundle", metavar="BUNDLE", help="the trained model, such as run/bundle; gets calibration.json"
    )
    command.add_argument(
        "cases", metavar="CASES", help="directory that prepare or simulate wrote, to fit the factors to"
    )
    text = "another such directory, to test them on (default: a third of the persons in CASES)"
    command.add_argument("--test", metavar="CASES", help=text)
    command.add_argument("--level", type=float, default=0.9, help="of the intervals (default 0.9)")
    command.add_argument("--samples", type=int, metavar="K", help="for each case (default 20; with --check its own)")
    command.add_argument("--seed", type=int, default=0, help="of the samples, and of the third")
    text = "only test whether the model's calibration holds for CASES, say those of one's own site"
    command.add_argument("--check", action="store_true", help=text)
    add_groups(command)
    add_device(command)


def calibrate(arguments: argparse.Namespace, console: Console) -> int:
    from ..baselines.saved import open_method
    from ..bundle.calibration import CALIBRATION_FILE, write_calibration
    from ..bundle.files import read_config
    from ..cases.groups import grouped, in_groups, read_groups
    from ..cases.layouts import read_cases
    from ..evaluation import calibrating
    from ..outputs import CALIBRATION, Output
    from ..training.data import split_subjects

    if arguments.check:
        return _check(arguments, console)
    level, groups = arguments.level, read_groups(arguments.groups)
    samples = 20 if arguments.samples is None else arguments.samples
    if not 0.5 <= level <= 0.99:
        raise InputError(f"The level is {level:g}; give one from 0.5 to 0.99, such as 0.9.")
    if samples < 2:
        raise InputError(f"{samples} samples have no spread; give at least 2, better 20.")
    read_config(arguments.bundle)  # what is no model gets no calibration
    output = Path(arguments.bundle) / CALIBRATION_FILE
    inputs = [path for folder in filter(None, (arguments.cases, arguments.test)) for path in case_inputs(folder)]
    check(arguments, [Output(output, CALIBRATION)], inputs)
    synthesizer = open_method(arguments.bundle, arguments.device, is_calibrated=False)
    cases = in_groups(read_cases(arguments.cases), groups)
    if arguments.test:
        fitting, testing = cases, [grouped(case, groups) for case in read_cases(arguments.test)]
        if both := {case.fold_group for case in fitting} & {case.fold_group for case in testing}:
            console.note(f"{len(both)} persons have the same name in both directories, such as {min(both)}")
        _refuse_shared(fitting, testing)
    else:
        fitting, testing = ([cases[i] for i in side] for side in split_subjects(cases, 1 / 3, arguments.seed))
    if len(fitting) < calibrating.least_cases(level) or not testing:
        less = "" if arguments.test else ", or others to test on with --test, for which a third is kept otherwise"
        raise InputError(
            f"{arguments.cases} has {len(fitting)} cases to fit the factors to and {len(testing)} to test them on; a "
            f"{100 * level:g} % interval needs {calibrating.least_cases(level)} to fit to, and better {_FEW}; give "
            f"more cases{less}."
        )
    if len(fitting) < _FEW:
        console.note(
            f"{len(fitting)} cases to fit to are few; with {_FEW}, intervals hold what they promise within 3 %"
        )
    predictor, grid, total = _sampling(synthesizer), synthesizer.bundle.grid, len(fitting) + len(testing)
    parts, left_out, before = [], [], 0
    for side in (fitting, testing):
        found, out = calibrating.residuals(
            predictor, side, grid, samples, arguments.seed,
            lambda done, _, before=before: console.progress("calibrating", (before + done) / total),
        )  # fmt: skip
        parts.append(found)
        left_out += out
        before += len(side)
    for one in left_out:
        console.note(f"left out: {one['case']}: {one['reason']}")
    made = calibrating.calibrate(parts[0], synthesizer.bundle.digest, level, samples)
    certificate = calibrating.measure(made, parts[1], len(parts[0].cases), arguments.seed)
    made = replace(made, certificate={**certificate, "left_out": len(left_out)})
    write_calibration(made, arguments.bundle)
    console.result(calibrating.text_of(made), event="done", path=str(output), **made.certificate)
    return 0


def _sampling(synthesizer: Synthesizer) -> SamplingPredictor:
    """What draws the samples.

    Raises:
        InputError: for a baseline that draws none.
    """
    from ..baselines.saved import predictor_of
    from ..synthesis.predictor import SamplingPredictor

    predictor = predictor_of(synthesizer)
    if not isinstance(predictor, SamplingPredictor):
        raise InputError(f"The baseline {predictor.name} draws no samples, so that it has no intervals to calibrate.")
    return predictor


def _check(arguments: argparse.Namespace, console: Console) -> int:
    """Say whether the calibration that the model has holds for other cases."""
    from dataclasses import asdict

    from ..baselines.saved import open_method
    from ..bundle.files import read_config
    from ..cases.groups import in_groups, read_groups
    from ..cases.layouts import read_cases
    from ..evaluation.calibrating import residuals
    from ..evaluation.exchangeability import LEAST, exchangeability

    for name, usual in (("test", None), ("level", 0.9), ("samples", None)):
        if getattr(arguments, name) != usual:
            raise InputError(f"--check takes the calibration as it is; leave --{name} out.")
    read_config(arguments.bundle)
    synthesizer = open_method(arguments.bundle, arguments.device)
    calibration = synthesizer.bundle.calibration
    if calibration is None:
        raise InputError(
            f"{arguments.bundle} has no calibration to check; make one with calibrate, without --check, of cases like "
            "those that it was trained on."
        )
    cases = in_groups(read_cases(arguments.cases), read_groups(arguments.groups))
    if len(cases) < LEAST:
        raise InputError(f"{arguments.cases} has {len(cases)} cases; to compare with a calibration takes {LEAST}.")
    found, left_out = residuals(
        _sampling(synthesizer), cases, synthesizer.bundle.grid, calibration.samples, arguments.seed,
        lambda done, total: console.progress("comparing", done / total),
    )  # fmt: skip
    for one in left_out:
        console.note(f"left out: {one['case']}: {one['reason']}")
    result = exchangeability(calibration, found, arguments.seed)
    console.result(result.sentences, event="done", **asdict(result), left_out=len(left_out))
    return 0


def _refuse_shared(fitting: Sequence[Case], testing: Sequence[Case]) -> None:
    """Refuse to test on PETs that the factors are fitted to: their certificate would promise too much.

    Raises:
        InputError: naming the first.
    """
    from ..cases.records import shared_pet

    if shared := shared_pet(testing, fitting):
        raise InputError(
            "{} of --test has the same PET as {}, to which the factors are fitted; give persons there that are not in "
            "CASES, or leave --test out to keep a third of CASES for it.".format(*shared)
        )
