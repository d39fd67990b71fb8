"""Preparation of whole cohorts: in parallel and resumable; an unfinished case can't be mistaken for a finished one."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..cases.case import Case, Findings
from ..cases.layouts import LAYOUTS, find_cases, is_simulated
from ..cases.records import record_names
from ..cluster import hand_out
from ..errors import InputError
from ..locks import only_one
from ..preparation.settings import Preparation
from ..processes import Work
from ..volumes.grid import Grid
from .derivative import about_case, begin, check_files, check_folder, finish, update
from .preparing import Job, Settings, prepare_case, remove_case

__all__ = ["CohortResult", "places_of", "prepare_cohort"]


@dataclass
class CohortResult:
    """What ``prepare_cohort`` did.

    Attributes:
        out: the derivative directory.
        cases: by name in the derivative: ``case`` (its name in the source), ``status`` (good, doubtful, refused, failed
            or, after an interruption, waiting) and ``reasons``.
        kept: names of the cases that were prepared before and had not changed.
        interrupted: whether it was asked to stop before the end.
        notes: about the cohort as a whole.
        word: what was done with a case.
    """

    out: Path
    cases: dict[str, dict]
    kept: list[str] = field(default_factory=list)
    interrupted: bool = False
    notes: list[str] = field(default_factory=list)
    word: str = "prepared"

    def having(self, *statuses: str) -> list[str]:
        """Names of the cases with one of these statuses."""
        return [name for name, about in self.cases.items() if about["status"] in statuses]

    def check_any(self, source: Path | str) -> None:
        """Refuse a cohort of which no case can be used.

        Raises:
            InputError: naming ``source``, where the cases come from.
        """
        if not self.having("good", "doubtful"):
            raise InputError(f"No case of {source} could be prepared; {self.out / 'manifest.json'} says why.")

    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(about["status"] for about in self.cases.values()).items()))

    def to_dict(self) -> dict:
        return {
            "output": str(self.out),
            "counts": self.counts(),
            "kept": len(self.kept),
            "interrupted": self.interrupted,
            "notes": self.notes,
            "cases": self.cases,
        }

    def to_text(self) -> str:
        """The cases that are not simply good, one a line, and the numbers."""
        odd = {name: about for name, about in self.cases.items() if about["status"] not in ("good", "waiting")}
        width = max(map(len, odd), default=0)
        lines = [f"{name:{width}}  {about['status']:8}  {'; '.join(about['reasons'])}" for name, about in odd.items()]
        numbers = ", ".join(f"{count} {status}" for status, count in self.counts().items())
        lines.append(f"{numbers} of {len(self.cases)} cases; {len(self.kept)} were {self.word} before.")
        lines += [f"{note[:1].upper()}{note[1:]}." for note in self.notes]
        return "\n".join(lines)


def prepare_cohort(
    cases_folder: Path | str,
    out: Path | str,
    grid: Grid,
    preparation: Preparation | None = None,
    *,
    jobs: int = 1,
    layout: str | None = None,
    pictures: bool = True,
    t1_only: bool = False,
    progress: Callable[[str, float], None] | None = None,
    stop: Callable[[], bool] | None = None,
    work: Work = prepare_case,
    time_limit: float = 3600.0,
    scheduler: str | None = None,
    note: Callable[[str], None] | None = None,
) -> CohortResult:
    """Prepare every usable case of a directory; the result is a BIDS derivative that training and evaluation read.

    ``out`` mirrors the cohort: what is prepared and unchanged (SHA-256 of its scans, settings, versions and shipped
    weights) is kept, a changed case is done anew, one that has left the cohort is removed. A case that fails does not
    stop the others. Every file appears whole or not at all, and a case counts as prepared only when its record, which
    is written last, agrees with its files, so that the process may be killed at any moment and started again; the
    outcome has the same bytes, but for ``logs/``.

    Per case: ``sub-*/[ses-*/]anat/*_desc-preproc_T1w.nii.gz``, ``*_desc-brain_mask.nii.gz``, ``*_xfm.tfm`` (to the
    template; ``.h5`` with a deformation), ``pet/*_desc-suvr_pet.nii.gz`` and ``qc/*.png``. For all:
    ``participants.tsv`` (and ``*_sessions.tsv``), ``manifest.json`` and ``qc/index.html``. Doubtful cases are written
    and marked; ``read_cases`` takes them. Refused ones are only in the manifest. The traceback of a failed one is in
    ``logs/``, and it is tried again next time.

    ``out`` must be new, empty or a prepared cohort. In it only files that DualGlow wrote are replaced or removed. What
    somebody put in the place of one is refused before any work; what was added stays.

    Args:
        cases_folder: see ``read_cases``.
        out: made if it doesn't exist.
        grid: where to.
        preparation: how; by default as ``Preparation`` has it.
        jobs: how many processes; each computes in one thread. They are spawned, so a script that calls this needs the
            usual ``if __name__ == "__main__"``.
        layout: see ``read_cases``.
        pictures: draw pictures for checking.
        t1_only: also take cases without a PET.
        progress: called with a message and how much of the whole is done.
        stop: asked several times a second; when it says True, work ends at once and can be resumed.
        work: what is done with a case; see ``processes.work_off``.
        time_limit: seconds after which a case has failed; it is tried again next time.
        scheduler: of a Dask cluster whose workers do the cases in place of ``jobs`` processes, see ``cluster``.
        note: called with what the user should know of the cluster.

    Raises:
        InputError: if an argument or a folder can't be used, or no case can; as ``cluster.hand_out``.
    """
    out = Path(out)
    if jobs < 1:
        raise InputError(f"jobs must be at least 1, not {jobs}.")
    if not time_limit > 0:
        raise InputError(f"The time limit of a case must be above 0 seconds, not {time_limit:g}.")
    found = find_cases(cases_folder, layout)
    if out.resolve() == found.folder.resolve():
        raise InputError(f"{out} holds the cases themselves; give another folder for what is made of them.")
    settings = Settings(grid, preparation or Preparation(), pictures)
    simulated = is_simulated(found.folder)
    planned, refused = _plan(found, out, settings, simulated, t1_only)
    report = progress or (lambda message, fraction: None)
    check_folder(out, planned)
    with only_one(out / "logs" / "lock", f"preparing into {out}"):
        check_files(out, planned)
        result = CohortResult(out, {}, notes=list(found.notes))
        result.notes += _mirror(out, planned)
        begin(out, settings, simulated, planned)
        how = {"stop": stop, "note": note, "limit": time_limit, "witness": out / "logs" / "lock"}
        with closing(_run(planned, partial(hand_out, planned, work, jobs, scheduler, **how), report, out)) as outcomes:
            done = {job.name: outcome for job, outcome in outcomes}
        result.kept = sorted(name for name, outcome in done.items() if outcome.get("kept"))
        result.interrupted = len(done) < len(planned)
        waiting = {"status": "waiting", "reasons": []}
        known = {job.name: about_case(job.case.name, done.get(job.name, waiting)) for job in planned}
        result.cases = dict(sorted({**refused, **known}.items()))
        finish(out, found, settings, simulated, planned, result.cases)
        report("done", 1.0)
    return result


def _run(
    planned: list[Job],
    handed_out: Callable[..., Iterator[tuple[int, dict]]],
    report: Callable[[str, float], None],
    out: Path,
) -> Iterator[tuple[Job, dict]]:
    """Have the jobs done (``cluster.hand_out``) and keep the log; yields each job and its outcome."""
    shares = [0.0] * len(planned)

    def heard(index: int, stage: str, fraction: float) -> None:
        shares[index] = max(shares[index], fraction)
        report(f"{planned[index].name}: {stage}", sum(shares) / len(planned))

    started = time.monotonic()
    with closing(handed_out(progress=heard)) as outcomes:
        for index, outcome in outcomes:
            job = planned[index]
            failure = out / "logs" / f"{job.name}.log"
            if "traceback" in outcome:
                update(failure, outcome["traceback"], force=True)
            elif outcome["status"] != "failed":
                failure.unlink(missing_ok=True)
            how = "kept" if outcome.get("kept") else outcome["status"]
            with (out / "logs" / "prepare.log").open("a", encoding="utf-8") as log:
                clock = time.strftime("%Y-%m-%dT%H:%M:%S")
                reasons = "; ".join(outcome.get("reasons", []))
                log.write(f"{clock} {time.monotonic() - started:.1f} s {job.name} {how} {reasons}".rstrip() + "\n")
            heard(index, how, 1.0)
            yield job, outcome


def _plan(
    found: Findings, out: Path, settings: Settings, simulated: bool, t1_only: bool
) -> tuple[list[Job], dict[str, dict]]:
    """A job for each usable case, with its place in the derivative, and what to say of the others."""
    usable = [item.case for item in found.items if item.is_usable(t1_only)]
    if not usable:
        reasons = Counter(reason for item in found.items for reason in item.problems[:1]).most_common(1)
        why = f" (the most common reason: {reasons[0][0]})" if reasons else ""
        raise InputError(
            f"{found.folder} has no case that can be prepared, of {len(found.items)} found{why}; as {found.layout} it "
            f"must hold {LAYOUTS[found.layout]}."
        )
    places = places_of(usable)
    notes = {item.name: tuple(item.choices) for item in found.items}
    planned = [
        Job(out, found.folder, case, *place, settings, simulated, notes[case.name])
        for case, place in zip(usable, places, strict=True)
    ]
    refused = {
        item.name: about_case(
            item.name, {"status": "refused", "reasons": item.problems, "notes": [*item.choices, *item.notes]}
        )
        for item in found.items
        if not item.is_usable(t1_only)
    }
    return sorted(planned, key=lambda job: job.name), refused


def places_of(cases: list[Case]) -> list[tuple[str, str, str]]:
    """Name, subject and session of each case in BIDS' letters: digits and Latin letters alone.

    Raises:
        InputError: if two cases come to one name.
    """

    def label(text: str, prefix: str) -> str:
        return prefix + (re.sub(r"[^A-Za-z0-9]", "", text.removeprefix(prefix)) or "x")

    per_subject = Counter(label(case.subject, "sub-") for case in cases)
    places, owners = [], {}
    for case in cases:
        subject = label(case.subject, "sub-")
        session = label(case.session, "ses-") if case.session else ""
        if not session and per_subject[subject] > 1:
            session = label(case.name, "ses-")
        name = f"{subject}_{session}" if session else subject
        if name in owners:
            raise InputError(
                f"The cases {owners[name]!r} and {case.name!r} would both be called {name}; give them names that "
                "differ in letters or digits, or sessions."
            )
        owners[name] = case.name
        places.append((name, subject, session))
    return places


def _mirror(out: Path, planned: list[Job]) -> list[str]:
    """Remove cases that are no longer in the cohort; the notes say which.

    Raises:
        InputError: if the folder holds other cases only: then it is most likely the wrong folder.
    """
    names = {job.name for job in planned}
    before = record_names(out)
    gone = [name for name in before if name not in names]
    if before and len(gone) == len(before):
        raise InputError(f"{out} holds another cohort ({before[0]}, …); give another folder, or delete it.")
    for name in gone:
        subject, _, session = name.partition("_")
        remove_case(out, name, subject, session)
    return [f"{name} can no longer be used or is gone, and was removed" for name in gone]
