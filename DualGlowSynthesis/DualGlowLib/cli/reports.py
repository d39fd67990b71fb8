"""Commands that measure: a model on cases, a synthesis on this machine."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .console import Console
from .options import add_atlas, add_command, add_device, add_groups, add_scheduler, add_splits, handing_out
from .protection import case_inputs, check

if TYPE_CHECKING:
    from ..bundle.bundle import Bundle
    from ..cases.case import Case
    from ..evaluation.regions import Weights
    from ..model import Covariate
    from ..synthesis.predictor import Predictor
    from ..volumes.grid import Grid

__all__ = ["add_commands", "benchmark", "evaluate", "folds"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Declare ``evaluate``, ``folds`` and ``benchmark``."""
    text = "compare a model with the PETs of cases that it has not seen"
    command = add_command(commands, "evaluate", evaluate, text, force=True)
    command.add_argument("bundle", metavar="BUNDLE", help="the trained model, such as run/bundle")
    command.add_argument("cases", metavar="CASES", help="directory that prepare or simulate wrote")
    add_splits(command, "evaluate on this fold alone")
    add_groups(command)
    command.add_argument("--output", required=True, metavar="REPORT.json", help="the evaluation, as JSON")
    command.add_argument("--samples", type=int, default=0, metavar="K", help="also measure the spread of K samples")
    text = "also compare with regressions fitted to these cases, those that the model was trained on"
    command.add_argument("--baselines", metavar="CASES", help=text)
    text = "also look whether samples repeat PETs of these cases, those that the model was trained on"
    command.add_argument("--memorisation", metavar="CASES", help=text)
    add_atlas(command)
    text = "also probe what the MRI's latents still tell of the covariates"
    command.add_argument("--leakage", action="store_true", help=text)
    command.add_argument("--seed", type=int, default=0, help="of the samples")
    text = "processes, each with one thread (default: this one, with all its threads)"
    command.add_argument("--jobs", type=int, help=text)
    add_scheduler(command)
    add_device(command)

    text = "say how the runs of the folds of a cross-validation stand, and sum up their evaluations"
    command = add_command(commands, "folds", folds, text, force=True)
    command.add_argument("runs", metavar="RUNS", help="folder that holds the runs of train --fold")
    text = "name of the evaluation in the folder of each run"
    command.add_argument("--report", default="report.json", metavar="NAME", help=text)
    text = "also write the summary here (.json, or .csv for a table)"
    command.add_argument("--output", metavar="FILE", help=text)

    command = add_command(commands, "benchmark", benchmark, "time a synthesis on this machine, stage by stage")
    text = "T1 to use (default: the template that ships with DualGlow)"
    command.add_argument("t1", metavar="T1", nargs="?", help=text)
    command.add_argument("--bundle", metavar="DIR", help="trained model (default: the one that ships with DualGlow)")
    add_device(command)


def evaluate(arguments: argparse.Namespace, console: Console) -> int:
    from ..baselines.mean import MeanPET
    from ..baselines.saved import open_method, predictor_of
    from ..bundle.files import CONFIG
    from ..cases.groups import in_groups, read_groups
    from ..cases.layouts import read_cases
    from ..cases.splits import sides_of
    from ..evaluation.report import report_output, write_report
    from ..evaluation.tables import evaluate as run

    groups = read_groups(arguments.groups)
    others = filter(None, [arguments.splits, arguments.atlas, arguments.atlas_table])
    inputs = [arguments.bundle, *others, *case_inputs(arguments.cases)]
    for others in filter(None, (arguments.baselines, arguments.memorisation)):
        inputs += case_inputs(others)
    check(arguments, [report_output(arguments.output)], inputs)
    synthesizer = open_method(arguments.bundle, arguments.device)
    bundle = synthesizer.bundle
    predictors = [predictor_of(synthesizer, "model"), *filter(None, [MeanPET.of_bundle(bundle)])]
    predictors += _baselines(arguments, groups, bundle.grid, console)
    cases = in_groups(read_cases(arguments.cases), groups)
    if sides := sides_of(arguments.splits, arguments.fold, cases):
        cases = sides[1]
    cases, left_out = _taken(bundle.config.covariates, cases, console)
    regions = _regions(arguments, cases, bundle.grid, console)
    probed = {}
    if arguments.leakage and _method(bundle) != "dual-glow":
        raise InputError(
            f"--leakage probes the latents of DUAL-GLOW, which {arguments.bundle} has none of; leave it out."
        )
    if arguments.leakage:  # first: it refuses a cohort that is too small
        from ..evaluation.leakage import leakage, leakage_table
        from ..training.data import Cohort

        cohort = Cohort.load(cases, bundle.grid, bundle.pet_scale)
        told = leakage(synthesizer.model, cohort, progress=lambda done, all_: console.progress("probing", done / all_))
        probed = {"leakage": told}
    if arguments.memorisation:  # as early, for the same reason
        from ..evaluation.memorisation import memorisation

        probed["memorisation"] = memorisation(
            predictors[0],
            cases,
            _training(arguments, arguments.memorisation, groups),
            bundle.grid,
            arguments.samples,
            arguments.seed,
            lambda done, total: console.progress("comparing", done / total),
        )
    with handing_out(arguments, console, Path(arguments.bundle) / CONFIG) as handed_out:
        result = {"bundle": bundle.name, "bundle_sha256": bundle.digest, "method": _method(bundle)} | run(
            predictors,
            cases,
            bundle.grid,
            bundle.pet_scale,
            arguments.samples,
            arguments.seed,
            lambda done, total: console.progress("evaluating", done / total),
            regions,
            handed_out,
        )
    result |= {} if arguments.fold is None else {"fold": arguments.fold}
    result |= {"left_out": [*left_out, *result["left_out"]], **probed}
    table = write_report(result, Path(arguments.output), arguments.force)
    if "leakage" in probed:
        table += "\n\n" + leakage_table(probed["leakage"])
    if "memorisation" in probed:
        from ..evaluation.memorisation import memorisation_text

        table += "\n\n" + memorisation_text(probed["memorisation"])
    console.result(table, event="done", **{key: result[key] for key in result if key != "cases"})
    return 0


def _method(bundle: Bundle) -> str:
    """What is evaluated: ``dual-glow``, or the name of a baseline."""
    return getattr(bundle.config, "method", "dual-glow")


def _baselines(arguments: argparse.Namespace, groups: dict[str, str], grid: Grid, console: Console) -> list[Predictor]:
    """Regressions fitted to the cases that were given; with folds, to those outside the fold that is evaluated."""
    if arguments.baselines is None:
        return []
    from ..baselines.regression import RegressedPET
    from ..training.data import Cohort

    cases = _training(arguments, arguments.baselines, groups)
    cohort = Cohort.load(cases, grid, progress=lambda done, total: console.progress("baselines", done / total))
    return [RegressedPET.fit(cohort, with_tissue) for with_tissue in (False, True)]


def _training(arguments: argparse.Namespace, folder: str, groups: dict[str, str]) -> list[Case]:
    """The cases that a model was trained on; with folds, those outside the fold that is evaluated."""
    from ..cases.groups import grouped
    from ..cases.layouts import read_cases
    from ..cases.splits import sides_of

    cases = [grouped(case, groups) for case in read_cases(folder)]
    sides = sides_of(arguments.splits, arguments.fold, cases)
    return sides[0] if sides else cases


def _regions(
    arguments: argparse.Namespace, cases: Sequence[Case], grid: Grid, console: Console
) -> tuple[list[str], Weights] | None:
    """The regions of the label map that was given, or of each case's own."""
    if arguments.atlas is None:
        if arguments.atlas_table is not None:
            raise InputError("--atlas-table names the labels of --atlas; give both, or neither.")
        return None
    from ..atlas.label_maps import read_label_map
    from ..evaluation.segmentations import is_pattern, missing_text, read_segmentations

    if is_pattern(arguments.atlas):
        own, lacking = read_segmentations(
            str(Path(arguments.atlas).resolve()), cases, grid, arguments.atlas_table,
            lambda done, total: console.progress("label maps", done / total),
        )  # fmt: skip
        if lacking:
            console.note(missing_text(lacking, len(cases)))
        return own.names, own.weights
    found = read_label_map(arguments.atlas, grid, arguments.atlas_table)
    if found.missing:
        console.note(f"regions of {arguments.atlas} without a voxel on the grid: {', '.join(found.missing)}")
    return found.names, found.weights


def _taken(
    covariates: Sequence[Covariate], cases: Sequence[Case], console: Console
) -> tuple[list[Case], list[dict[str, str]]]:
    """The cases whose covariates the model can take, and the others with the reason; what no case has is named."""
    from ..evaluation.tables import none_left

    taken, left_out, known = [], [], dict.fromkeys((one.name for one in covariates), 0)
    merged: Counter[tuple[str, str, str]] = Counter()
    for case in cases:
        try:
            values = {one.name: one.parse(case.attributes.get(one.name)) for one in covariates}
        except InputError as error:
            left_out.append({"case": case.name, "reason": str(error)})
            continue
        taken.append(case)
        for name, value in values.items():
            known[name] += value is not None
        for one in covariates:
            if stated := one.merged(case.attributes.get(one.name)):
                merged[one.name, stated, str(values[one.name])] += 1
    if left_out and not taken:
        raise none_left(left_out)
    for (name, stated, value), count in sorted(merged.items()):
        console.note(f"{name} {stated} counts as {value} for this model ({count} {'case' if count == 1 else 'cases'})")
    for name in (name for name, count in known.items() if not count):
        console.note(f"no case has {name}, which the model knows; it counts as unknown")
    return taken, left_out


def folds(arguments: argparse.Namespace, console: Console) -> int:
    from ..evaluation.folds import fold_text, read_folds, summarise, summary_output, write_summary

    if arguments.output:
        check(arguments, [summary_output(arguments.output)], [])
    found = read_folds(arguments.runs, arguments.report)
    result = summarise(found)
    if arguments.output:
        path = write_summary(result, arguments.output, arguments.force)
        console.event(event="output", path=str(path))
    console.result(fold_text(result), event="done", **result)
    return 1 if any(fold.problem for fold in found) else 0


def benchmark(arguments: argparse.Namespace, console: Console) -> int:
    from ..synthesis.benchmark import benchmark as run
    from ..synthesis.synthesizer import Synthesizer
    from ..volumes.reading import read_scan

    synthesizer = Synthesizer.from_bundle(arguments.bundle, arguments.device)
    result = run(synthesizer, read_scan(arguments.t1) if arguments.t1 else None)
    lines = [f"{stage:>16} {value:8.3f} s" for stage, value in result["seconds"].items()]
    lines.append(f"{'peak memory':>16} {result['peak_memory_mb']} MB")
    lines.append(f"{result['bundle']} on {result['device']}, {result['threads']} threads, torch {result['torch']}")
    console.result("\n".join(lines), event="done", **result)
    return 0
