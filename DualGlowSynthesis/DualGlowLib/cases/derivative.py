"""The directory that ``prepare_cohort`` writes, but for the cases themselves: tables, manifest, pages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from .. import __version__
from ..files import json_text, write_whole
from .case import Findings
from .preparing import PREPARATION, SPACE, Job, Settings
from .records import DERIVATIVE, read_record
from .tables import table_text

__all__ = ["about_case", "begin", "finish", "update", "write_tables"]

_README = """T1s and FDG-PETs of a cohort on one grid in MNI152 space, made by DualGlow (python -m DualGlowLib prepare).

T1: white matter 1, fluid 0, no skull. PET: SUVR. What was made from what, with hashes, settings and versions, is in
manifest.json; pictures for checking are in qc/. Running the command again goes on where it stopped and keeps what
has not changed.
"""
_TEMPORARY = re.compile(r"\.([0-9a-f]{12}\b|.*\.part\b)")
"""Names under which files are written before they are renamed (``files.write_whole``, ``write_transform``)."""
_COVARIATES = ("age", "sex", "diagnosis")
_DESCRIPTIONS = {
    "age": {"Description": "Age at the scan", "Units": "years"},
    "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
    "diagnosis": {"Description": "Diagnosis"},
    "preparation": {"Description": "Verdict on the preparation", "Levels": {"good": "good", "doubtful": "look at it"}},
}


def update(path: Path, text: str) -> None:
    """Write a file if it doesn't have that content already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.read_bytes() == text.encode("utf-8"):
            return
    except OSError:
        pass
    write_whole(path, text)


def about_case(case: str, outcome: dict) -> dict:
    """What the manifest's overview says of a case."""
    return {"case": case, "status": outcome["status"], "reasons": list(outcome.get("reasons", []))}


def begin(out: Path, settings: Settings, simulated: bool, planned: list[Job]) -> None:
    """Sweep up what a killed process left, and write what is known before the first case is done."""
    for path in out.rglob(".*"):
        if _TEMPORARY.match(path.name):
            path.unlink(missing_ok=True)
    description = {
        "Name": DERIVATIVE,
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "DualGlow", "Version": __version__, "Description": "python -m DualGlowLib prepare"}],
        "Grid": settings.grid.to_dict(),
        "Template": SPACE,
        **({"Simulated": True} if simulated else {}),
    }
    update(out / "dataset_description.json", json_text(description))
    update(out / "README", _README)
    update(out / ".bidsignore", "records/\nqc/\nlogs/\nmanifest.json\n")
    # Before the first case, so that a directory that is used unfinished has no case without its covariates.
    write_tables(out, [(job, "n/a") for job in planned])


def write_tables(out: Path, rows: Iterable[tuple[Job, str]]) -> None:
    """``participants.tsv``, and ``*_sessions.tsv`` for subjects that have sessions; each with the verdict's word."""
    rows = sorted(rows, key=lambda row: row[0].name)
    extra = sorted({key for job, _ in rows for key in job.case.columns} - {*_COVARIATES, "preparation"})
    columns = [*_COVARIATES, "preparation", *extra]

    def cells(job: Job, word: str) -> list[str]:
        known = {**job.case.columns, **job.case.covariates, "preparation": word}
        return [known.get(column, "") for column in columns]

    people, sessions = [], set()
    for subject, group in groupby(rows, key=lambda row: row[0].subject):
        visits = list(group)
        if visits[0][0].session:
            path = out / subject / f"{subject}_sessions.tsv"
            table = [[job.session, *cells(job, word)] for job, word in visits]
            update(path, table_text(["session_id", *columns], table))
            sessions.add(path)
            sexes = {job.case.covariates.get("sex", "") for job, _ in visits}
            sex = sexes.pop() if len(sexes) == 1 else ""
            people.append([subject, *(sex if column == "sex" else "" for column in columns)])
        else:
            people.append([subject, *cells(*visits[0])])
    update(out / "participants.tsv", table_text(["participant_id", *columns], people))
    update(out / "participants.json", json_text(_DESCRIPTIONS))
    for path in set(out.glob("sub-*/*_sessions.tsv")) - sessions:
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


def finish(
    out: Path, found: Findings, settings: Settings, simulated: bool, planned: list[Job], cases: dict[str, dict]
) -> None:
    """Tables of the cases that are there, page of pictures, and last, as the sign that all is there, the manifest."""
    there = [(job, cases[job.name]["status"]) for job in planned if cases[job.name]["status"] in ("good", "doubtful")]
    write_tables(out, there)
    _draw_sheets(out, cases)
    statuses = [about["status"] for about in cases.values()]
    manifest = {
        "Name": DERIVATIVE,
        "DualGlow": __version__,
        "preparation": PREPARATION,
        "source": str(found.folder.resolve()),
        "layout": found.layout,
        "simulated": simulated,
        "settings": settings.to_dict(),
        "counts": {status: statuses.count(status) for status in sorted(set(statuses))},
        "cases": {
            name: {**(read_record(out, name) or {} if about["status"] not in ("failed", "waiting") else {}), **about}
            for name, about in cases.items()
        },
    }
    update(out / "manifest.json", json_text(manifest))


def _draw_sheets(out: Path, cases: dict[str, dict]) -> None:
    """A page with verdict, numbers and pictures of each case, and all pictures on one."""
    from ..qc import write_contact_sheet, write_sheet

    rows, every = [], []
    for name, about in cases.items():
        record = read_record(out, name) or {}
        numbers = {
            f"{scan.upper()} {key}": value
            for scan, quality in record.get("quality", {}).items()
            for key, value in quality.items()
        }
        files = {caption: out / "qc" / f"{name}_{suffix}.png" for caption, suffix in (("T1", "T1w"), ("PET", "pet"))}
        pictures = {caption: path for caption, path in files.items() if path.is_file()}
        rows.append({"name": name, "verdict": about, "numbers": numbers, "pictures": pictures})
        every += pictures.values()
    (out / "qc").mkdir(exist_ok=True)
    write_sheet(rows, out / "qc" / "index.html", f"Preparation of {len(cases)} cases")
    if every:
        write_contact_sheet(every, out / "qc" / "contact_sheet.png")
    else:
        (out / "qc" / "contact_sheet.png").unlink(missing_ok=True)
