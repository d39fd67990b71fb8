"""What there is of a study: its runs' states, evaluations and region means, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..cases.case import Case
from ..errors import InputError
from ..evaluation.folds import Fold, summarise
from ..outputs import EVALUATION, STUDY_RUN, kind_of_file
from ..training.status import read_status
from .methods import MEAN
from .plan import Run, Study, read_study
from .running import EVALUATION_FILE, MEASURES_FILE, is_done, problem_of

__all__ = ["TRUTH", "Found", "Results", "features", "read_results"]

TRUTH = "conditional mean (truth)"
"""The row of what no method can beat, of simulated cases."""


@dataclass(frozen=True)
class Found:
    """A run that is done.

    Attributes:
        run: which.
        evaluation: of ``evaluation.tables.evaluate``.
        measures: of ``measures.measure``.
    """

    run: Run
    evaluation: dict
    measures: dict


@dataclass(frozen=True)
class Results:
    """A study with all of it that is there.

    Attributes:
        study: the study.
        found: its runs that are done.
        missing: why each other run does not count, a sentence each.
    """

    study: Study
    found: list[Found]
    missing: list[str]

    @cached_property
    def cases(self) -> list[Case]:
        """All cases of the study."""
        return self.study.cases()

    def of(self, method: str) -> list[Found]:
        """The runs of a method that are done, by fold."""
        return [one for one in self.found if one.run.method == method]

    @property
    def methods(self) -> list[str]:
        """Those with at least one run that is done, the mean PET first."""
        there = {one.run.method for one in self.found}
        return [name for name in [MEAN, *(name for name in self.study.methods if name != MEAN)] if name in there]

    def summary(self, method: str) -> dict:
        """``evaluation.folds.summarise`` of a method's runs: by row and metric ``folds``, ``cases`` and ``by_fold``."""
        folds = [Fold(one.run.fold, one.run.folder, "done", "", one.evaluation) for one in self.of(method)]
        return summarise(folds)["summary"]

    def people(self, method: str) -> list[dict]:
        """Rows of ``measures`` over all folds of a method that are done, each with its ``fold``."""
        return [{**row, "fold": one.run.fold} for one in self.of(method) for row in one.measures["cases"]]


def read_results(folder: Path | str) -> Results:
    """Everything of a study that is there.

    Raises:
        InputError: if the folder holds no study, or none of its runs is done.
    """
    study = read_study(folder)
    found, missing = [], []
    for run in study.runs:
        if not is_done(run):
            missing.append(f"{run.name}: {_state(run)}")
            continue
        try:
            parts = [
                _read(run.folder / EVALUATION_FILE, EVALUATION, ("summary", "sd", "cases")),
                _read(run.folder / MEASURES_FILE, STUDY_RUN, ("regions", "ages", "seconds", "cases", "sweep")),
            ]
        except (OSError, ValueError) as error:
            missing.append(
                f"{run.name}: its files can't be read ({error}); delete {run.folder} and run the study again"
            )
            continue
        found.append(Found(run, *parts))
    if not found:
        raise InputError(f"No run of {folder} is done ({missing[0]}); run the study first.")
    return Results(study, found, missing)


def _state(run: Run) -> str:
    """Why a run is not done."""
    if problem := problem_of(run):
        return f"failed, {problem}"
    status = read_status(run.folder)
    if status.state == "none":
        return "not begun"
    if status.is_running and status.steps:
        return f"at step {status.step} of {status.steps}"
    return status.message or ("trained, to be evaluated" if status.state == "done" else status.state)


def _read(path: Path, kind: str, keys: Sequence[str]) -> dict:
    if kind_of_file(path) != kind:
        raise ValueError(f"{path.name} is no {kind}")
    said = json.loads(path.read_text(encoding="utf-8"))
    if lacking := [key for key in keys if key not in said]:
        raise ValueError(f"{path.name} has no {lacking[0]}")
    return said


def features(rows: Sequence[dict], key: str) -> np.ndarray:
    """A value of region means of all rows, ``(cases, regions)``, of the regions that no case lacks.

    Raises:
        InputError: if there is no such region.
    """
    values = np.array([row[key] for row in rows], np.float64)
    kept = values[:, np.isfinite(values).all(0)]
    if not kept.shape[1]:
        raise InputError(
            "No region of the label maps is there in every case, so that cases can't be told apart by them."
        )
    return kept
