"""Records of prepared cases: what was made from what, so that no work is repeated and no unfinished case is used.

A case's record is written after all its files and removed before any of them; it holds their sizes and hashes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..files import description_of, hash_file, write_json
from ..outputs import files_in
from .case import Case, Finding

__all__ = [
    "DERIVATIVE",
    "check_records",
    "digest",
    "hash_file",
    "hash_input",
    "is_whole",
    "read_record",
    "record_names",
    "record_path",
    "shared_pet",
    "write_record",
]

DERIVATIVE = "DualGlow preparation"
"""What ``dataset_description.json`` says of a directory that ``prepare`` wrote."""
_FOLDER = "records"


def hash_input(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files in a folder (a DICOM series)."""
    if not path.is_dir():
        return hash_file(path)
    files = sorted(Path(child).relative_to(path).as_posix() for child in files_in(path) if os.path.isfile(child))
    return digest([[name, hash_file(path / name)] for name in files])


def shared_pet(cases: Sequence[Case], others: Sequence[Case]) -> tuple[str, str] | None:
    """Names of the first case whose PET one of the others has too, and of that one; None if there is none."""
    known = {hash_input(case.pet): case.name for case in others}
    found = ((case.name, known.get(hash_input(case.pet))) for case in cases)
    return next((pair for pair in found if pair[1]), None)


def digest(values: object) -> str:
    """SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def record_path(out: Path, name: str) -> Path:
    return out / _FOLDER / f"{name}.json"


def record_names(out: Path) -> list[str]:
    return sorted(path.stem for path in (out / _FOLDER).glob("[!.]*.json"))


def read_record(out: Path, name: str) -> dict | None:
    """A case's record, or None if there is none that can be read."""
    try:
        record = json.loads(record_path(out, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and {"key", "status", "outputs"} <= record.keys() else None


def write_record(out: Path, name: str, record: dict, outputs: Iterable[str]) -> dict:
    """Add the outputs' sizes and hashes to a record and write it; ``outputs`` are paths relative to ``out``."""
    record["outputs"] = {
        path: {"bytes": (out / path).stat().st_size, "sha256": hash_file(out / path)} for path in sorted(outputs)
    }
    record_path(out, name).parent.mkdir(exist_ok=True)
    write_json(record_path(out, name), record, force=True)
    return record


def is_whole(out: Path, record: dict, contents: bool = True) -> bool:
    """Whether all files of a record are there with the sizes, and ``contents`` too, that it states."""
    for path, known in record["outputs"].items():
        try:
            if (out / path).stat().st_size != known["bytes"]:
                return False
        except OSError:
            return False
    return not contents or all(hash_file(out / path) == known["sha256"] for path, known in record["outputs"].items())


def check_records(folder: Path, items: Iterable[Finding]) -> None:
    """In a directory that ``prepare`` wrote, only cases with a record whose files are whole are usable."""
    for item in items if description_of(folder).get("Name") == DERIVATIVE else ():
        record = read_record(folder, item.name)
        if record is None:
            item.reasons.append("its preparation is not finished; run prepare again")
        elif not is_whole(folder, record, contents=False):
            item.reasons.append("its files are not those that prepare wrote; run prepare again")
        elif record["status"] == "doubtful":
            item.notes.append("doubtful: " + "; ".join(record.get("reasons", [])))
