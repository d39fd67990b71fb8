"""``synthesize --cohort``: the PET of every T1 of a directory, case by case, here or on a cluster."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..cases.case import Case
from ..cases.layouts import read_cases
from ..cases.records import digest, hash_input, is_whole, read_record, record_path, write_record
from ..cohorts.cohort import CohortResult, places_of
from ..errors import InputError
from ..files import remove_temporary
from ..locks import only_one
from ..outputs import kind_of_file, lies_in
from .cohorts import tell_cohort
from .console import Console
from .derivatives import begin_derivative, pet_place
from .options import handing_out

if TYPE_CHECKING:
    from ..synthesis.question import Question
    from ..synthesis.session import Session

__all__ = ["synthesize_cohort"]

_NOT_FOR_ALL = ("mask", "dicom", "transform", "qc", "series")
"""Options that name a file or scan of one T1."""


@dataclass(frozen=True)
class _Job:
    case: Case
    name: str  # in the derivative
    pet: Path


def synthesize_cohort(arguments: argparse.Namespace, console: Console) -> int:
    """Write the PETs of all cases; what is there already and would come out alike is kept.

    A case that fails does not stop the others. What was made from what is in ``records/``, written after a case's
    files, so that the command may be killed at any moment and goes on when it is given again.

    Raises:
        InputError: if an option, the directory or the folder can't be used, or no PET could be made; as ``hand_out``.
    """
    from ..volumes.marking import output_name
    from .synthesis import asked, check_files, note_single, open_session

    for name in _NOT_FOR_ALL:
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name} is of one T1; leave it out with --cohort.")
    out, question = Path(arguments.output), asked(arguments)
    arguments.jobs = 1 if arguments.jobs is None else arguments.jobs
    cases = read_cases(arguments.t1, arguments.layout, t1_only=True)
    jobs = [
        _Job(case, name, pet_place(out, output_name(f"{name}_T1w.nii.gz")))
        for case, (name, _, _) in zip(cases, places_of(cases), strict=True)
    ]
    if out.is_file() or any(job.pet.parent == out for job in jobs):
        raise InputError(f"{out} holds other things than synthetic PETs; give a new or empty folder for the cohort's.")
    check_files(argparse.Namespace(**{**vars(arguments), "t1": None}), question, [job.pet for job in jobs])
    session = open_session(arguments, console)
    session.check(question)
    note_single(question, console)
    begin_derivative(out, jobs[0].pet)
    shares, outcomes = [0.0] * len(jobs), {}

    def heard(index: int, stage: str, fraction: float) -> None:
        shares[index] = max(shares[index], fraction)
        console.progress("synthesizing", sum(shares) / len(jobs), f"{jobs[index].name}: {stage}")

    lock = out / "logs" / "lock"
    with only_one(lock, f"synthesizing into {out}"), handing_out(arguments, console, lock) as hand_out:
        remove_temporary(out)
        with closing(hand_out(jobs, _Work(arguments, question), progress=heard)) as done:
            for index, outcome in done:
                outcomes[index] = outcome
                heard(index, outcome["status"], 1.0)
    waiting = {"status": "waiting", "reasons": []}
    found = {job.name: {"case": job.case.name, **outcomes.get(index, waiting)} for index, job in enumerate(jobs)}
    kept = [name for name, outcome in found.items() if outcome.pop("kept", False)]
    result = CohortResult(out, found, kept, len(outcomes) < len(jobs), word="synthesized")
    if tell_cohort(result, console):
        return 1
    if not result.having("good", "doubtful"):
        first = next(iter(found.values()))
        raise InputError(f"No PET of {arguments.t1} could be made; {first['case']}: {'; '.join(first['reasons'])}.")
    return 1 if result.having("failed") else 0


class _Work:
    """What is done with a case; keeps the model for the next one."""

    def __init__(self, arguments: argparse.Namespace, question: Question) -> None:
        self._arguments, self._question = arguments, question
        self._session: Session | None = None

    def __call__(self, job: _Job, report: Callable[[str, float], None]) -> dict:
        from .synthesis import open_session

        heard = _Heard(report)
        if self._session is None:
            self._session = open_session(self._arguments, heard)
        session, out = self._session, Path(self._arguments.output)
        model = session.describe()
        known = {one["name"] for one in model["covariates"]}
        stated = {name: value for name, value in job.case.attributes.items() if name in known}
        question = replace(self._question, covariates={**stated, **self._question.covariates})
        inputs = {"t1": job.case.t1, **({"mask": job.case.mask} if job.case.mask else {})}
        hashes = {role: hash_input(path) for role, path in inputs.items()}
        how = [vars(question), self._arguments.regions, model["sha256"], __version__]
        key = digest([hashes, how])
        before = read_record(out, job.name)
        if before is not None and before["key"] == key and is_whole(out, before):
            return {"status": before["status"], "reasons": before["reasons"], "kept": True}
        if before is not None:
            _remove(out, job.name, before)
        found = {"status": "refused", "reasons": []}
        try:
            found = self._synthesize(job, question, heard)
        except InputError as error:
            found["reasons"] = [str(error).rstrip(".")]
        record = {"case": job.case.name, "key": key, "inputs": hashes, "notes": heard.notes, **found}
        write_record(out, job.name, record, [path.relative_to(out).as_posix() for path in heard.written])
        return found

    def _synthesize(self, job: _Job, question: Question, heard: _Heard) -> dict:
        from ..files import make_folder
        from .synthesis import note_values, prepare, read, refuse_another, write

        own = {**vars(self._arguments), "t1": str(job.case.t1), "mask": job.case.mask and str(job.case.mask)}
        arguments = argparse.Namespace(**own)
        self._session.check(question)
        scan, question = read(arguments, heard, self._session, question)
        note_values(self._session, question, heard)
        refuse_another(scan, [job.pet], arguments.force)
        prepared = prepare(arguments, heard, self._session, scan)
        made = self._session.sample(question, heard.progress)
        make_folder(job.pet.parent)
        write(made, question, job.pet, heard, arguments)
        verdict = prepared.verdict
        return {"status": "doubtful" if verdict.reasons else "good", "reasons": list(verdict.reasons)}


def _remove(out: Path, name: str, record: dict) -> None:
    """Remove a case's record, then what it says was written, such as a spread that is no longer asked for."""
    record_path(out, name).unlink(missing_ok=True)
    for path in (out / place for place in record["outputs"]):
        if lies_in(path, out) and path.is_file() and kind_of_file(path):
            path.unlink()


class _Heard(Console):
    """What the steps of one case say: progress to who waits for it, files and remarks to the record."""

    def __init__(self, report: Callable[[str, float], None]) -> None:
        super().__init__()
        self._report, self.written, self.notes = report, [], []

    def progress(self, stage: str, fraction: float, detail: str = "") -> None:
        self._report(stage, min(fraction, 0.99))

    def result(self, text: str, **values: object) -> None:
        self.written.append(Path(str(values["path"])))
        sidecar = self.written[-1].with_name(self.written[-1].name.removesuffix(".nii.gz") + ".json")
        if sidecar != self.written[-1] and sidecar.is_file():
            self.written.append(sidecar)

    def note(self, text: str) -> None:
        self.notes.append(text)
