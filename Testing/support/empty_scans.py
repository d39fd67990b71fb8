"""Directories of empty scans and small tables: the names alone say what they are."""

from __future__ import annotations

from pathlib import Path


def tree(folder: Path, *names: str) -> Path:
    """Empty files; only their names matter."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def pair(subject: str, session: str = "", tracer: str = "18FFDG") -> tuple[str, str]:
    place, name = (f"{subject}/{session}", f"{subject}_{session}") if session else (subject, subject)
    return f"{place}/anat/{name}_T1w.nii.gz", f"{place}/pet/{name}_trc-{tracer}_pet.nii.gz"
