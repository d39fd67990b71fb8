"""Folds of subjects for cross-validation, and the file that keeps them; who is one person under several names.

All cases of a person belong to one fold; otherwise a model is tested on what it learned from.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from ..errors import InputError
from ..files import write_json, write_whole
from ..outputs import FOLD_TABLE, FOLDS, Output, generated_by
from ..volumes.headers import NIFTI_1, NIFTI_2, first_bytes, of_nifti, unpacked
from .case import Case, Finding
from .records import hash_input
from .tables import read_table, table_text

__all__ = [
    "Splits",
    "fold_numbers",
    "keep_doubles_together",
    "make_splits",
    "name_visits",
    "read_splits",
    "sides_of",
    "splits_output",
    "write_splits",
]

_THIRDS = ("youngest third", "middle third", "oldest third")


@dataclass(frozen=True)
class Splits:
    """Which fold each subject belongs to.

    Attributes:
        cases: all of them.
        folds: how many folds.
        assignment: subject to fold, 0 to folds − 1.
        strata: subject to the words for diagnosis and age that it was balanced by.
        seed: of the draw.
    """

    cases: tuple[Case, ...]
    folds: int
    assignment: dict[str, int]
    strata: dict[str, str]
    seed: int = 0

    def fold(self, index: int) -> tuple[list[Case], list[Case]]:
        """Cases to train on and to test on when fold ``index`` is held out.

        Raises:
            InputError: if there is no such fold.
        """
        if not 0 <= index < self.folds:
            raise InputError(f"There is no fold {index}; the folds are 0 to {self.folds - 1}.")
        sides: tuple[list[Case], list[Case]] = ([], [])
        for case in self.cases:
            sides[self.assignment[case.subject] == index].append(case)
        return sides


def make_splits(cases: Sequence[Case], folds: int = 5, seed: int = 0) -> Splits:
    """Divide subjects into folds alike in diagnosis and age; all sessions of a subject fall into one.

    So do subjects that are one person (``Case.fold_group``).

    Within each diagnosis the subjects are sorted by age and cut into groups of ``folds`` neighbours, whose members are
    dealt one to each fold, the youngest to the fold that is oldest so far (at random among equals); the last, smaller
    group goes to the folds that have the fewest cases. A subject counts with the diagnosis of its first session and its
    mean age. The same cases and seed give the same folds, whatever order the cases come in.

    Raises:
        InputError: for fewer than 2 folds, or fewer subjects than folds.
    """
    people: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.name):
        people.setdefault(case.fold_group, []).append(case)
    if folds < 2:
        raise InputError(f"{folds} folds leave nothing to test on; make at least 2.")
    if len(people) < folds:
        raise InputError(f"{len(people)} subjects can't be divided into {folds} folds; make fewer folds.")
    diagnosis = {name: own[0].covariates.get("diagnosis", "no diagnosis") for name, own in people.items()}
    age = {name: _mean_age(own) for name, own in people.items()}

    rng = random.Random(seed)
    assignment: dict[str, int] = {}
    strata: dict[str, str] = {}
    load, older = [0] * folds, [0.0] * folds  # cases of each fold, and years above the cohort's mean age
    ages = [own for own in age.values() if own is not None]
    middle = fmean(ages) if ages else 0.0
    for word in sorted(set(diagnosis.values())):
        group = sorted((name for name in people if diagnosis[name] == word), key=lambda name: (age[name] or 0, name))
        known = [name for name in group if age[name] is not None]
        strata.update(dict.fromkeys(group, f"{word}, age unknown"))
        strata.update({name: f"{word}, {_THIRDS[3 * i // len(known)]}" for i, name in enumerate(known)})
        for start in range(0, len(group), folds):
            block = group[start : start + folds]
            order = list(range(folds))
            rng.shuffle(order)
            order = sorted(order, key=lambda fold: load[fold])[: len(block)]
            order.sort(key=lambda fold: -older[fold])
            for name, fold in zip(block, order, strict=True):
                assignment[name] = fold
                load[fold] += len(people[name])
                older[fold] += 0.0 if age[name] is None else age[name] - middle
    groups = sorted({(case.subject, case.fold_group) for case in cases})
    return Splits(
        tuple(cases),
        folds,
        {subject: assignment[group] for subject, group in groups},
        {subject: strata[group] for subject, group in groups},
        seed,
    )


def _mean_age(cases: Sequence[Case]) -> float | None:
    ages = [float(case.covariates["age"]) for case in cases if "age" in case.covariates]
    return fmean(ages) if ages else None


def splits_output(path: Path | str) -> Output:
    """The file that ``write_splits`` writes, for ``outputs.check_outputs``.

    Raises:
        InputError: if its name ends neither in .json nor in .tsv.
    """
    return Output.by_ending(path, {".json": FOLDS, ".tsv": FOLD_TABLE}, "Folds")


def write_splits(splits: Splits, path: Path | str, force: bool = False) -> Path:
    """Save folds as JSON, or as a table (subject, fold, stratum) if the name ends in .tsv.

    Args:
        splits: of ``make_splits``.
        path: where to.
        force: also replace a file that DualGlow did not write.

    Raises:
        InputError: if the file can't be written, or may not be replaced (``outputs.check_outputs``).
    """
    path = Path(path)
    if splits_output(path).kind == FOLD_TABLE:
        rows = [[name, str(fold), splits.strata.get(name, "")] for name, fold in splits.assignment.items()]
        return write_whole(path, table_text(["subject", "fold", "stratum"], rows), force)
    subjects = {
        name: {"fold": fold, "stratum": splits.strata.get(name, "")} for name, fold in splits.assignment.items()
    }
    about = {"GeneratedBy": generated_by(FOLDS), "folds": splits.folds, "seed": splits.seed}
    return write_json(path, {**about, "subjects": subjects}, force)


def read_splits(path: Path | str, cases: Sequence[Case]) -> Splits:
    """Folds that ``write_splits`` wrote, or a table with the columns subject and fold, for these cases.

    Raises:
        InputError: if the file can't be understood, a subject or person is in two folds, is not among the cases, or is
            missing, or a fold is empty.
    """
    path = Path(path)
    pairs, seed = _read(path)
    assignment: dict[str, int] = {}
    strata: dict[str, str] = {}
    for subject, number, stratum in pairs:
        if assignment.get(subject, number) != number:
            raise InputError(f"{path} has {subject} in two folds ({assignment[subject]} and {number}); keep one.")
        assignment[subject], strata[subject] = number, stratum
    subjects = {case.subject for case in cases}
    _complain(path, sorted(assignment.keys() - subjects), "names {}, which is no subject of these cases; remove it")
    _complain(path, sorted(subjects - assignment.keys()), "does not say which fold {} belongs to; add it")
    fold_of: dict[str, str] = {}
    for case in cases:
        first = fold_of.setdefault(case.fold_group, case.subject)
        if assignment[first] != assignment[case.subject]:
            raise InputError(
                f"{path} has {first} and {case.subject} in two folds, but they are one person: they share a scan, or "
                "are visits by their names; put them into one."
            )
    folds = max(assignment.values(), default=-1) + 1
    empty = set(range(folds)) - set(assignment.values())
    if folds < 2 or empty or min(assignment.values()) < 0:
        raise InputError(f"{path} must number its folds 0, 1, 2, … without a gap, and have at least 2; correct it.")
    return Splits(tuple(cases), folds, assignment, strata, seed)


def fold_numbers(path: Path | str) -> set[int]:
    """The folds that a file of folds names, whatever cases they are of.

    Raises:
        InputError: if the file can't be understood.
    """
    return {fold for _, fold, _ in _read(Path(path))[0]}


def sides_of(path: Path | str | None, fold: int | None, cases: Sequence[Case]) -> tuple[list[Case], list[Case]] | None:
    """Cases to train on and to test on, by a file of folds and the fold that is held out; None if neither is given.

    Raises:
        InputError: if one is given without the other, or as ``read_splits`` and ``Splits.fold``.
    """
    if (path is None) != (fold is None):
        raise InputError("--splits and --fold go together: the file of folds, and which of them is held out.")
    return None if path is None else read_splits(path, cases).fold(fold)


def _read(path: Path) -> tuple[list[tuple[str, int, str]], int]:
    """Subjects with fold and stratum, and the seed."""
    if path.suffix.lower() in (".tsv", ".csv"):
        pairs = [(row.get("subject", ""), (row.get("fold", ""), row.get("stratum", ""))) for row in read_table(path)]
        seed = 0
    else:
        pairs, seed = _from_json(path)
    found = []
    for subject, (fold, stratum) in pairs:
        try:
            found.append((subject, int(fold), stratum))
        except (TypeError, ValueError):
            raise InputError(f"{path} puts {subject!r} into the fold {fold!r}; folds are the numbers from 0.") from None
    return found, seed


def _from_json(path: Path) -> tuple[list[tuple[str, tuple[object, str]]], int]:
    def pairs_of(pairs: list[tuple[str, object]]) -> dict | list:
        # A name twice in one object is a subject in two folds, which a dict would hide.
        return pairs if len({key for key, _ in pairs}) < len(pairs) else dict(pairs)

    try:
        values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=pairs_of)
        subjects = values["subjects"]
        pairs = subjects if isinstance(subjects, list) else list(subjects.items())
        return [(name, (own["fold"], str(own.get("stratum", "")))) for name, own in pairs], int(values.get("seed", 0))
    except FileNotFoundError:
        raise InputError(f"There is no file {path}; write the folds first.") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is no file of folds; write it anew with write_splits.") from None


def _complain(path: Path, names: list[str], text: str) -> None:
    if names:
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        raise InputError(f"{path} {text.format(names[0] + more)}.")


# ------------------------------------------------------------------------------- one person under several names

_BLOCK = 1 << 16
_ZEROS = bytes(1 << 20)
_COUNTED = "ses|session|visit|v|tp|timepoint|t|m|mo|month|y|yr|year|d|day|w|week|fu|followup|scan|exam"
_VISIT = re.compile(
    rf"(?P<person>.+?)(?:[_\-. ]+(?:(?:{_COUNTED})[_-]?\d+|bl|baseline|sc|screening|fu|follow[_-]?up|pre|post"
    r"|test|retest|(?:19|20)\d\d[-_]?\d\d[-_]?\d\d)|(?<=\d)(?:[mM]\d{2,3}|[vV]\d{1,2}|bl|BL))",
    re.IGNORECASE,
)


def name_visits(items: Sequence[Finding], whole: bool = True) -> None:
    """Take cases for visits of one person where their names are the same but for a visit's suffix: S01_M00, S01_M12.

    A note says so. It takes two names with one stem, and another stem in the cohort. Cases whose subject a table
    states, and those with sessions, are left alone.

    Args:
        items: of one directory; their subjects and sessions are changed.
        whole: whether stem and suffix become subject and session; else the cases only stay in one fold.
    """
    stems: dict[str, list[Finding]] = defaultdict(list)
    for item in items:
        if item.subject == item.name and not item.session:
            found = _VISIT.fullmatch(item.name)
            stems[(found["person"] if found else item.name).lower()].append(item)
    for key, group in stems.items():
        if len(group) < 2 or len(stems) < 2:
            continue
        stem = group[0].name[: len(key)]
        for item in group:
            label = re.sub(r"[^A-Za-z0-9]", "", item.name[len(stem) :])
            others = ", ".join(one.name for one in group if one is not item)
            item.notes.append(
                f"{item.name} and {others} are taken for visits of one person ({stem}) by their names; a table's "
                "column subject would say otherwise"
            )
            if whole:
                item.subject, item.session = stem, label or "first"
            changes = {"subject": stem, "session": item.session} if whole else {"person": stem}
            item.case = item.case and replace(item.case, **changes)


def keep_doubles_together(items: Sequence[Finding]) -> list[str]:
    """Note scans that have the same content as another's; subjects that share one count as one person in folds.

    Returns:
        A clause on each such person.
    """
    scans = [
        (item, role, path)
        for item in items
        if item.case is not None
        for role, path in (("T1", item.case.t1), ("PET", item.case.pet))
        if path is not None
    ]
    persons = {item.subject: (item.case.person or item.subject) if item.case else item.subject for item in items}
    for group in _alike(scans):
        for item, role, _ in group:
            others = [f"{one.name}'s {what}" for one, what, _ in group if one is not item]
            if not others and role == "PET":
                others = ["its T1"]
            if others:
                more = f" and {len(others) - 1} more" if len(others) > 1 else ""
                item.notes.append(f"its {role} has the same content as {others[0]}{more}")
        joined = {persons[item.subject] for item, *_ in group}
        if len(joined) > 1:
            persons = {subject: min(joined) if one in joined else one for subject, one in persons.items()}
    shared = [one for one in set(persons.values()) if sum(other == one for other in persons.values()) > 1]
    for item in items:
        if item.case is not None and persons[item.subject] in shared:
            item.case = replace(item.case, person=persons[item.subject])
    names = {one: sorted(subject for subject, other in persons.items() if other == one) for one in sorted(shared)}
    return [f"{' and '.join(own)} count as one person in folds" for own in names.values()]


def _alike(scans: Iterable[tuple[Finding, str, Path]]) -> list[list[tuple[Finding, str, Path]]]:
    """Groups of at least two scans with the same content. Whole files are read only where it may well be so."""
    groups = [list(scans)]
    for key_of in (_glance, _content):
        split = []
        for group in groups:
            by_key = defaultdict(list)
            for scan in group:
                try:
                    key = key_of(scan[2])
                except (OSError, zlib.error, InputError):
                    continue
                if key is not None:
                    by_key[key].append(scan)
            split += [same for same in by_key.values() if len(same) > 1]
        groups = split
    return groups


def _glance(path: Path) -> tuple | None:
    """What scans of the same content have in common, from little reading; None for an empty one.

    Of a NIfTI file the voxels are its content, whatever its header says of name, place and day, and however it was
    packed.
    """
    if path.is_dir():
        sizes = sorted(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
        return ("folder", *sizes) if sizes else None
    size, start = path.stat().st_size, _first_voxel(path)
    if not size:
        return None
    with path.open("rb") as file:
        if start and file.read(2) == b"\x1f\x8b":
            file.seek(-8, os.SEEK_END)
            checksum, length = struct.unpack("<2I", file.read(8))
            return ("packed", length - start, checksum ^ _carried(zlib.crc32(first_bytes(path, start)), length - start))
        parts = []
        for place in (start, (start + size) // 2, max(start, size - _BLOCK)):
            file.seek(place)
            parts.append(zlib.crc32(file.read(_BLOCK)))
    return (size - start, *parts)


def _content(path: Path) -> str:
    """SHA-256 of a scan's content, see ``_glance``."""
    start = 0 if path.is_dir() else _first_voxel(path)
    if not start:
        return hash_input(path)
    return hashlib.sha256(unpacked(path, of_nifti(first_bytes(path), path).end).getbuffer()[start:]).hexdigest()


def _first_voxel(path: Path) -> int:
    """Where in the unpacked content of a NIfTI file its voxels begin; 0 for any other file."""
    head = first_bytes(path)
    try:
        return of_nifti(head, path).start if head[:4] in (*NIFTI_1, *NIFTI_2) else 0
    except InputError:
        return 0


def _carried(checksum: int, length: int) -> int:
    """What the CRC-32 of the bytes before it adds to that of ``length`` bytes: gzip has it of header and voxels."""
    with_it, without = checksum, 0
    for done in range(0, length, len(_ZEROS)):
        part = _ZEROS[: length - done]
        with_it, without = zlib.crc32(part, with_it), zlib.crc32(part, without)
    return with_it ^ without
