"""The files of a prepared cohort that are not of one case: tables, manifest, pages."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from .. import __version__
from ..cases.case import Findings
from ..cases.records import DERIVATIVE, read_record
from ..cases.tables import table_text
from ..errors import InputError
from ..files import TEMPORARY, description_of, json_text, make_folder, remove_temporary, write_whole
from ..outputs import generated_by, kind_of_file, lies_in, refuse_links
from .preparing import PREPARATION, SPACE, Job, Settings, case_files

__all__ = ["about_case", "begin", "check_files", "check_folder", "finish", "update", "write_tables"]

_README = """T1s and FDG-PETs of a cohort on one grid in MNI152 space, made by DualGlow (python -m DualGlowLib prepare).

T1: white matter 1, fluid 0, no skull. PET: SUVR. What was made from what, with hashes, settings and versions, is in
manifest.json; pictures for checking are in qc/. Running the command again goes on where it stopped and keeps what
has not changed.
"""
_COVARIATES = ("age", "sex", "diagnosis")
_DESCRIPTIONS = {
    "age": {"Description": "Age at the scan", "Units": "years"},
    "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
    "diagnosis": {"Description": "Diagnosis"},
    "preparation": {"Description": "Verdict on the preparation", "Levels": {"good": "good", "doubtful": "look at it"}},
}
_IGNORED = "records\nqc\nmanifest.json\n*_xfm.*\n"  # as names: the validator passes over patterns that end in a slash
_IGNORED_BEFORE = "records/\nqc/\nlogs/\nmanifest.json\n"


def check_folder(out: Path, planned: Iterable[Job]) -> None:
    """Refuse a folder that ``prepare_cohort`` may not write to: there it removes and replaces what is no longer right.

    Raises:
        InputError: if it holds anything but a prepared cohort, a scan of the cases, or a link that leads out of it.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give a folder.")
    if not out.is_dir():
        return
    if not _is_prepared(out) and not _is_begun(out):
        raise InputError(f"{out} is not empty and holds no prepared cohort; choose another folder.")
    for job in planned:
        for path in filter(None, (job.case.t1, job.case.pet, job.case.mask, job.case.pet_to_t1)):
            if lies_in(path, out):
                raise InputError(f"{out} holds {path}, which is to be prepared; give another folder for what is made.")
    refuse_links(out)


def _is_prepared(out: Path) -> bool:
    return description_of(out).get("Name") == DERIVATIVE


def _is_begun(out: Path) -> bool:
    """Whether it holds nothing, or no more than a process leaves that is killed before it writes its first file."""
    for path in out.rglob("*"):
        place = path.relative_to(out).as_posix()
        if place not in ("logs", "logs/lock") and not TEMPORARY.fullmatch(path.name):
            return False
    return True


def check_files(out: Path, planned: Iterable[Job]) -> None:
    """Refuse to replace what somebody else has put in place of a file of the cohort, such as a mask drawn by hand.

    Raises:
        InputError: naming the first such file.
    """
    shared = ("manifest.json", "participants.tsv", "qc/index.html", "qc/contact_sheet.png")
    paths = [out / name for name in shared] + sorted(out.glob("sub-*/*_sessions.tsv"))
    paths += [path for job in planned for path in case_files(out, job.name, job.subject, job.session)]
    for path in paths:
        if path.exists() and not kind_of_file(path):
            raise InputError(
                f"{path} is damaged or was not written by DualGlow, which would replace it; move it away, or give "
                "another folder."
            )


def update(path: Path, text: str, force: bool = False) -> None:
    """Write a file if it doesn't have that content already."""
    make_folder(path.parent)
    try:
        if path.read_bytes() == text.encode("utf-8"):
            return
    except OSError:
        pass
    write_whole(path, text, force)


def _keep(path: Path, text: str, before: str = "") -> None:
    """Write a file that people may change, if there is none, or none but what an earlier DualGlow wrote."""
    if not path.exists():
        write_whole(path, text)
    elif before and path.read_bytes() == before.encode():
        update(path, text, force=True)


def _remove(path: Path, text: str) -> None:
    """Remove a file that people may change, if nobody has."""
    if path.is_file() and path.read_bytes() == text.encode():
        path.unlink()


def about_case(case: str, outcome: dict) -> dict:
    """What the manifest's overview says of a case."""
    about = {"case": case, "status": outcome["status"], "reasons": list(outcome.get("reasons", []))}
    return about | ({"notes": list(outcome["notes"])} if outcome.get("notes") else {})


def begin(out: Path, settings: Settings, simulated: bool, planned: list[Job]) -> None:
    """Remove temporary files of a killed process, and write what is known before the first case is done."""
    remove_temporary(out)
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
    _keep(out / "README", _README)
    _keep(out / ".bidsignore", _IGNORED, _IGNORED_BEFORE)
    # Before the first case, so that a directory that is used unfinished has no case without its covariates.
    write_tables(out, [(job, "n/a") for job in planned])


def write_tables(out: Path, rows: Iterable[tuple[Job, str]]) -> None:
    """``participants.tsv``, and ``*_sessions.tsv`` for subjects that have sessions; each with the verdict's word.

    The columns are described in the JSON files beside them.
    """
    rows = sorted(rows, key=lambda row: row[0].name)
    extra = sorted({key for job, _ in rows for key in job.case.columns} - {*_COVARIATES, "preparation"})
    columns = [*_COVARIATES, "preparation", *extra]

    def cells(job: Job, word: str) -> list[str]:
        known = {**job.case.columns, **job.case.covariates, "preparation": word}
        return [known.get(column, "") for column in columns]

    others = {column: {"Description": "As in the tables of the cohort that was prepared"} for column in extra}
    described = json_text(_DESCRIPTIONS | others)
    people, sessions = [], set()
    for subject, group in groupby(rows, key=lambda row: row[0].subject):
        visits = list(group)
        if visits[0][0].session:
            path = out / subject / f"{subject}_sessions.tsv"
            table = [[job.session, *cells(job, word)] for job, word in visits]
            update(path, table_text(["session_id", *columns], table))
            _keep(path.with_suffix(".json"), described)
            sessions.add(path)
            sexes = {job.case.covariates.get("sex", "") for job, _ in visits}
            sex = sexes.pop() if len(sexes) == 1 else ""
            people.append([subject, *(sex if column == "sex" else "" for column in columns)])
        else:
            people.append([subject, *cells(*visits[0])])
    update(out / "participants.tsv", table_text(["participant_id", *columns], people))
    _keep(out / "participants.json", described)
    for path in set(out.glob("sub-*/*_sessions.tsv")) - sessions:
        if kind_of_file(path):
            path.unlink()
            _remove(path.with_suffix(".json"), described)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


def finish(
    out: Path, found: Findings, settings: Settings, simulated: bool, planned: list[Job], cases: dict[str, dict]
) -> None:
    """Write tables of the prepared cases, the page of pictures, and last the manifest, which marks the end."""
    there = [(job, cases[job.name]["status"]) for job in planned if cases[job.name]["status"] in ("good", "doubtful")]
    write_tables(out, there)
    _draw_sheets(out, cases)
    statuses = [about["status"] for about in cases.values()]
    manifest = {
        "Name": DERIVATIVE,
        "GeneratedBy": generated_by("manifest"),
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
    from ..pictures.sheet import write_contact_sheet, write_sheet

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
        row = {"name": name, "verdict": about, "numbers": numbers, "pictures": pictures}
        rows.append(row | {"notes": about.get("notes", [])})
        every += pictures.values()
    (out / "qc").mkdir(exist_ok=True)
    write_sheet(rows, out / "qc" / "index.html", f"Preparation of {len(cases)} cases")
    if every:
        write_contact_sheet(every, out / "qc" / "contact_sheet.png")
    else:
        (out / "qc" / "contact_sheet.png").unlink(missing_ok=True)
