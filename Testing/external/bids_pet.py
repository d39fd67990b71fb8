"""The PET datasets of BIDS-examples, as ``validate --deep`` finds them.

FOLDER is a clone of https://github.com/bids-standard/bids-examples, whose PET datasets are ``pet001`` and so on (most
of their images are emptied). What must be found in a session is read from its files with nibabel and the JSON alone:
it can be used if T1 and PET are single volumes and the tracer is FDG. Sex must be that of ``participants.tsv``, and so
must the age of the first session; a later one, of which no file says when it was, has none.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import nibabel as nib

from DualGlowLib.cases.case import Finding
from DualGlowLib.cases.report import validate_cases
from suite_table import Row, attempt, run


def is_volume(path: Path) -> bool:
    """Whether nibabel reads one 3-D volume from a file."""
    try:
        data = nib.load(path).get_fdata()
    except Exception:  # whatever it makes of an emptied file
        return False
    return data.ndim == 3 and data.min() < data.max()


def is_fdg_volume(path: Path) -> bool:
    about = json.loads(path.with_name(path.name.split(".")[0] + ".json").read_text(encoding="utf-8"))
    tracer = about.get("TracerName", "").lower()
    return ("fdg" in tracer or "deoxyglucose" in tracer) and is_volume(path)


def people(dataset: Path) -> dict[str, dict[str, str]]:
    """Age in years and sex of each subject, as ``participants.tsv`` has them."""
    with (dataset / "participants.tsv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    names = {"age": "age", "sex": "sex", "gender": "sex"}
    return {row["participant_id"]: {names[key]: row[key] for key in row if key in names} for row in table}


def judged(session: Path, finding: Finding | None, known: dict[str, str]) -> tuple[str, str]:
    """Verdict on a session, of which ``known`` is all that may be said of the person."""
    if finding is None:
        return "wrong", "not found at all"
    can_be_used = any(map(is_volume, session.glob("anat/*_T1w.nii*"))) and any(
        map(is_fdg_volume, session.glob("pet/*_pet.nii*"))
    )
    said = "; ".join(finding.problems) or "can be used"
    if finding.is_usable() != can_be_used:
        return ("refused" if can_be_used else "wrong"), said
    if finding.case:
        covariates = {key: finding.case.covariates.get(key) for key in ("age", "sex")}
        wanted = {key: known.get(key) for key in covariates}
        ages = [float(one["age"] or 0) for one in (covariates, wanted)]
        if covariates["sex"] != wanted["sex"] or abs(ages[0] - ages[1]) > 0.01:
            return "wrong", f"{covariates} for {wanted}; {said}"
    return "right", said


def rows(folder: Path) -> Iterator[Row]:
    for dataset in sorted(path.parent for path in folder.glob("pet*/participants.tsv")):
        found = {item.name: item for item in validate_cases(dataset, deep=True).findings.items}
        known = people(dataset)
        for subject in sorted(dataset.glob("sub-*")):
            sessions = sorted({path.parent.parent for path in subject.glob("**/*_pet.nii*")})
            for session in sessions:
                person = dict(known.get(subject.name, {}))
                if session != sessions[0]:
                    person.pop("age", None)
                name = "_".join(session.relative_to(dataset).parts)
                yield attempt(f"{dataset.name} {name}", partial(judged, session, found.get(name), person))


if __name__ == "__main__":
    sys.exit(run(__doc__, rows))
