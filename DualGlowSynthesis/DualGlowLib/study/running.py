"""The runs of a study: one method on one fold each, in any order, on any computer; one that fails stops no other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from .. import __version__
from ..cases.case import Case
from ..cluster import hand_out
from ..devices import choose_device
from ..errors import InputError
from ..evaluation.report import write_report
from ..evaluation.tables import evaluate
from ..files import make_folder, write_json
from ..locks import only_one
from ..outputs import STUDY_RUN, generated_by
from ..training.status import HISTORY
from ..volumes.grid import Grid
from ..volumes.marking import SYNTHETIC
from ..volumes.scan import Scan
from ..volumes.writing import write_scan
from .measures import measure
from .methods import fit, load
from .plan import Run, Study, read_study

__all__ = [
    "EVALUATION_FILE",
    "MEASURES_FILE",
    "SHOWN_FOLD",
    "example_file",
    "is_done",
    "problem_of",
    "run_study",
    "share_of",
]

EVALUATION_FILE, MEASURES_FILE = "evaluation.json", "regions.json"
SHOWN_FOLD = 0
"""The fold whose held-out cases pictures are of."""
_PROBLEM, _LOCK = "problem.json", "study.lock"
_TRAINING, _EVALUATION = 0.8, 0.1  # shares of a run's time
_FITTED = 0.1  # the time that a method without steps takes, of one that is trained


@dataclass(frozen=True)
class _Work:
    """What is done with a run: fit for ``cluster.hand_out``, and pickled for it."""

    device: str
    alone: ClassVar[bool] = True  # what torch and its allocator keep of each method's shapes comes to gigabytes

    def __call__(self, run: Run, report: Callable[[str, float], None]) -> dict:
        study = read_study(run.study)
        method, grid = study.methods[run.method], study.grid()
        training, held_out = study.sides(run.fold)
        if not held_out or not training:
            raise InputError(f"Fold {run.fold} leaves nothing to learn from or to test on; make other folds.")
        with only_one(run.folder / _LOCK, f"running {run.name}"):
            (run.folder / _PROBLEM).unlink(missing_ok=True)
            device = choose_device(self.device)
            on_cpu, begun = device.type == "cpu", (time.perf_counter(), time.process_time())
            fit(
                method, study.settings_file(run.method), study.source, study.splits, run.fold, run.folder,
                study.groups, device, lambda stage, fraction: report(stage, _TRAINING * fraction),
            )  # fmt: skip
            wall, processor = time.perf_counter() - begun[0], time.process_time() - begun[1]
            predictor = load(method, run.folder, self.device)
            settings, regions = study.settings, study.regions(grid)
            result = evaluate(
                [predictor], held_out, grid, study.data_range, settings.samples, settings.seed,
                lambda done, total: report("evaluating", _TRAINING + _EVALUATION * done / total), regions,
            )  # fmt: skip
            write_report({"method": run.method, "fold": run.fold, **result}, run.folder / EVALUATION_FILE)
            start = _TRAINING + _EVALUATION
            measures = measure(
                predictor, held_out, grid, settings, regions,
                lambda done, of: report("ages", start + (1 - start) * done / of),
                partial(_keep, run, grid) if run.fold == SHOWN_FOLD else None,
                time.process_time if on_cpu else time.perf_counter,
            )  # fmt: skip
            trained = _training_seconds(run)
            if trained is not None and on_cpu:
                trained *= min(1.0, processor / wall)  # the processor's share, where other work is on the cores too
            measures["seconds"]["training"] = trained
            about = {"GeneratedBy": generated_by(STUDY_RUN), "method": run.method, "fold": run.fold}
            write_json(run.folder / MEASURES_FILE, {**about, **measures})  # last: a run that has it is done
        return {"status": "done"}


def example_file(run: Run, case: str, name: str) -> Path:
    """Where a run keeps a synthetic PET for pictures, see ``measures.measure``."""
    return run.folder / "examples" / f"{'_'.join(filter(None, (case, name)))}.nii.gz"


def _keep(run: Run, grid: Grid, case: Case, name: str, image: np.ndarray) -> None:
    path = example_file(run, case.name, name)
    make_folder(path.parent)
    about = {
        "Description": "SYNTHETIC FDG-PET made from an MRI by DualGlow; research use only, not for diagnosis",
        "Synthetic": True,
        "Method": run.method,
        "Case": case.name,
        "DualGlowVersion": __version__,
    }
    write_scan(Scan(image, grid.affine, meta={"space": "MNI152"}), path, SYNTHETIC, about)


def _training_seconds(run: Run) -> float | None:
    """What the training took, over all its interruptions; None without one."""
    try:
        lines = (run.folder / HISTORY).read_text(encoding="utf-8").splitlines()
        return float(json.loads(lines[-1])["seconds"])
    except (OSError, ValueError, LookupError):
        return None


def is_done(run: Run) -> bool:
    """Whether a run has come to its end."""
    return (run.folder / MEASURES_FILE).is_file()


def problem_of(run: Run) -> str:
    """Why the run failed when it was last tried; empty if it did not."""
    try:
        return str(json.loads((run.folder / _PROBLEM).read_text(encoding="utf-8"))["reasons"][0])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def share_of(runs: Sequence[Run], index: int, of: int) -> list[Run]:
    """The runs that the task ``index`` of ``of`` does, as in a job array; each run belongs to one task.

    Raises:
        InputError: if there is no such task.
    """
    if of < 1 or not 0 <= index < of:
        raise InputError(f"--index {index} --of {of}: give an index from 0 to one less than --of.")
    return list(runs[index::of])


def run_study(
    study: Study,
    runs: Sequence[Run],
    jobs: int = 1,
    scheduler: str | None = None,
    device: str = "cpu",
    *,
    progress: Callable[[str, float, str], None] | None = None,
    note: Callable[[str], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[Run, str]:
    """Do the runs that are not done yet, each in a process of its own.

    Args:
        study: of ``begin_study``.
        runs: which of its runs.
        jobs: how many at once on this computer.
        scheduler: address of a Dask scheduler that hands the runs to its workers; None for this computer.
        device: where each run computes.
        progress: called with "study", how much of all is done (0 to 1), and what is at work.
        note: called with what the user should know, such as that a run has failed.
        stop: asked several times a second; when it says True, the runs at work are ended, to be gone on with later.

    Returns:
        Runs that failed, with the reason.

    Raises:
        InputError: as ``cluster.hand_out``.
    """
    note = note or (lambda sentence: None)
    waiting = [run for run in runs if not is_done(run)]
    weights = [_FITTED if study.methods[run.method].is_closed else 1.0 for run in waiting]
    done, failed = [0.0] * len(waiting), {}

    def tell(index: int, stage: str, fraction: float) -> None:
        done[index] = max(done[index], fraction)
        if progress:
            total = sum(weight * own for weight, own in zip(weights, done, strict=True))
            progress("study", total / sum(weights), f"{waiting[index].name}: {stage}")

    for index, outcome in _outcomes(waiting, jobs, scheduler, _Work(device), study.folder, tell, note, stop):
        run = waiting[index]
        if outcome["status"] == "done":
            note(f"{run.name}: done")
        else:
            failed[run] = outcome["reasons"][0].removeprefix("InputError: ")
            note(f"{run.name} failed: {failed[run]}")
            problem = {"GeneratedBy": generated_by(STUDY_RUN), **outcome, "reasons": [failed[run]]}
            with suppress(InputError, OSError):
                make_folder(run.folder)
                write_json(run.folder / _PROBLEM, problem, force=True)
        tell(index, outcome["status"], 1.0)
    return failed


def _outcomes(
    waiting: Sequence[Run],
    jobs: int,
    scheduler: str | None,
    work: _Work,
    folder: Path,
    tell: Callable[[int, str, float], None],
    note: Callable[[str], None],
    stop: Callable[[], bool] | None,
) -> Iterator[tuple[int, dict]]:
    handed = partial(hand_out, waiting, work, jobs, scheduler, stop=stop, progress=tell, note=note)
    with closing(handed(witness=folder / "study.json")) as outcomes:
        yield from outcomes
