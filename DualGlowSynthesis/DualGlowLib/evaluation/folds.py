"""Cross-validation as runs of their own, one for each fold: how they stand, and their evaluations as one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev

from ..bundle.files import CONFIG
from ..cases.splits import fold_numbers
from ..errors import InputError
from ..files import hash_file, write_json, write_whole
from ..outputs import EVALUATION, FOLD_SUMMARY, FOLD_SUMMARY_TABLE, Output, check_outputs, generated_by, kind_of_file
from ..training.status import read_status
from .report import IN_BRAIN, LAW, LAW_OF_REGIONS, markdown_table

__all__ = ["Fold", "fold_text", "read_folds", "summarise", "summary_output", "write_summary"]

_COLUMNS = "method,metric,fold,mean,sd,cases"


@dataclass(frozen=True)
class Fold:
    """One fold.

    Attributes:
        number: of the fold.
        run: folder of its run; None if there is none.
        state: of the run, see ``training.status.Status``; ``missing`` without one.
        problem: why the fold does not count yet, and what to do; empty if it counts.
        report: its evaluation, of ``evaluation.tables.evaluate``.
    """

    number: int
    run: Path | None
    state: str
    problem: str = ""
    report: dict = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict:
        return {"fold": self.number, "run": self.run and str(self.run), "state": self.state, "problem": self.problem}


def read_folds(folder: Path | str, report: str = "report.json") -> list[Fold]:
    """Every fold of the runs in a folder, also one that has no run yet.

    Args:
        folder: whose subfolders are runs of ``train --splits FILE --fold I``, all of one file of folds.
        report: name of the evaluation in a run's folder, of ``evaluate --splits FILE --fold I``.

    Raises:
        InputError: if there is no such run, or if runs are of one fold, or of several files of folds.
    """
    runs: dict[int, Path] = {}
    files: dict[str, Path] = {}
    for path in sorted(Path(folder).iterdir()) if Path(folder).is_dir() else ():
        words = read_status(path).arguments
        if "--fold" not in words or "--splits" not in words:
            continue
        number = int(words[words.index("--fold") + 1])
        files.setdefault(words[words.index("--splits") + 1], path)
        if number in runs:
            raise InputError(f"{runs[number]} and {path} are both of fold {number}; move one of them elsewhere.")
        runs[number] = path
    if not runs:
        raise InputError(f"{folder} holds no run of a fold; give the folder that holds those of train --fold.")
    if len(files) > 1:
        first, second = list(files.values())[:2]
        raise InputError(f"{first} and {second} have their folds from two files; sum up those of one.")
    numbers = runs.keys() | fold_numbers(next(iter(files)))
    return [_fold(number, runs.get(number), report) for number in sorted(numbers)]


def _fold(number: int, run: Path | None, name: str) -> Fold:
    if run is None:
        return Fold(number, None, "missing", "it has no run yet")
    status = read_status(run)
    if status.state != "done":
        at = f"step {status.step} of {status.steps}" if status.steps else "its beginning"
        return Fold(number, run, status.state, status.message or f"it is at {at}")
    path = run / name
    if not path.is_file():
        return Fold(number, run, "done", f"it has no {name} yet; evaluate its bundle with --fold {number}")
    try:
        report = json.loads(path.read_text(encoding="utf-8")) if kind_of_file(path) == EVALUATION else {}
        is_of_it = report.get("bundle_sha256") == hash_file(run / "bundle" / CONFIG)
    except (OSError, ValueError) as error:
        return Fold(number, run, "done", f"{path} can't be read ({error}); evaluate its bundle again")
    if not report or not is_of_it or report.get("fold") != number:
        return Fold(number, run, "done", f"{path} is no evaluation of this bundle on fold {number}; evaluate it again")
    return Fold(number, run, "done", "", report)


def summarise(folds: Sequence[Fold]) -> dict:
    """Numbers of the folds that count.

    Returns:
        ``folds`` (how each stands) and ``summary``: by method and metric ``by_fold`` (means over a fold's cases),
        ``folds`` and ``cases`` (``mean``, ``sd`` and number ``n`` of the fold's means, and of all cases), for what all
        folds have in common.

    Raises:
        InputError: if a case is in the evaluations of two folds.
    """
    counted = [fold for fold in folds if not fold.problem]
    owner: dict[str, int] = {}
    for fold in counted:
        for case in fold.report["cases"]:
            if owner.setdefault(case["case"], fold.number) != fold.number:
                raise InputError(
                    f"{case['case']} is evaluated in the folds {owner[case['case']]} and {fold.number}; evaluate each "
                    "fold with --splits and --fold."
                )
    summary: dict = {}
    for method, metrics in counted[0].report["summary"].items() if counted else ():
        for metric in metrics:
            if not all(metric in fold.report["summary"].get(method, {}) for fold in counted):
                continue
            by_fold = {str(fold.number): fold.report["summary"][method][metric] for fold in counted}
            cases = [case["methods"][method][metric] for fold in counted for case in fold.report["cases"]]
            summary.setdefault(method, {})[metric] = {
                "folds": _spread(list(by_fold.values())),
                "cases": _spread(cases),
                "by_fold": by_fold,
            }
    return {"folds": [fold.to_dict() for fold in folds], "summary": summary}


def _spread(values: Sequence[float]) -> dict:
    sd = stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None
    return {"mean": fmean(values), "sd": sd, "n": len(values)}


def fold_text(result: Mapping) -> str:
    """How the folds stand, and tables in Markdown."""
    lines = [f"fold {one['fold']}: {one['state']}; {one['problem']}" for one in result["folds"] if one["problem"]]
    counted = sum(not one["problem"] for one in result["folds"])
    parts = ["\n".join([*lines, f"{counted} of {len(result['folds'])} folds count."])]
    for over in ("folds", "cases"):
        alike = {"summary": {}, "sd": {}}
        number = 0
        for method, metrics in result["summary"].items():
            alike["summary"][method] = {key: value[over]["mean"] for key, value in metrics.items()}
            alike["sd"][method] = {
                key: value[over]["sd"] for key, value in metrics.items() if value[over]["sd"] is not None
            }
            number = next(iter(metrics.values()))[over]["n"]
        of = f"{number} {over if number != 1 else over[:-1]}"
        parts += [markdown_table(alike, f"{title}, {of}", columns) for title, columns in _TABLES.items()]
    return "\n\n".join(filter(None, parts))


_TABLES = {"in the brain mask": IN_BRAIN, "law of each voxel": LAW, "law of region means": LAW_OF_REGIONS}


def summary_output(path: Path | str) -> Output:
    """The file that ``write_summary`` writes, for ``outputs.check_outputs``.

    Raises:
        InputError: if its name ends neither in .json nor in .csv.
    """
    return Output.by_ending(path, {".json": FOLD_SUMMARY, ".csv": FOLD_SUMMARY_TABLE}, "The summary")


def write_summary(result: Mapping, path: Path | str, force: bool = False) -> Path:
    """Write ``summarise``'s result as JSON, or its numbers as a table if the name ends in .csv.

    The table has a row for each method, metric and fold, one over all ``folds`` and one over all ``cases``.

    Raises:
        InputError: if the file can't be written, or may not be replaced (``outputs.check_outputs``).
    """
    path = Path(path)
    check_outputs([summary_output(path)], force=force)
    if path.suffix.lower() == ".json":
        return write_json(path, {"GeneratedBy": generated_by(FOLD_SUMMARY), **result}, force)
    lines = [_COLUMNS]
    for method, metrics in result["summary"].items():
        for metric, found in metrics.items():
            start = f'"{method}",{metric}'
            lines += [f"{start},{number},{mean!r},," for number, mean in found["by_fold"].items()]
            for over in ("folds", "cases"):
                one = found[over]
                lines.append(
                    f"{start},all {over},{one['mean']!r},{'' if one['sd'] is None else one['sd']!r},{one['n']}"
                )
    return write_whole(path, "".join(line + "\n" for line in lines), force)
