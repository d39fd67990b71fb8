"""One person under several names: the same scan twice, and visits whose names look like persons'.

All cases of a person belong to one fold; otherwise a model is tested on what it learned from.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from zlib import crc32

from .case import Finding
from .records import hash_input

__all__ = ["keep_doubles_together", "name_visits"]

_BLOCK = 1 << 16
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
            stems[found["person"] if found else item.name].append(item)
    for stem, group in stems.items():
        if len(group) < 2 or len(stems) < 2:
            continue
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
    for key_of in (_glance, hash_input):
        split = []
        for group in groups:
            by_key = defaultdict(list)
            for scan in group:
                try:
                    key = key_of(scan[2])
                except OSError:
                    continue
                if key is not None:
                    by_key[key].append(scan)
            split += [same for same in by_key.values() if len(same) > 1]
        groups = split
    return groups


def _glance(path: Path) -> tuple | None:
    """What scans of the same content have in common, from little reading; None for an empty one."""
    if path.is_dir():
        sizes = sorted(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
        return ("folder", *sizes) if sizes else None
    size = path.stat().st_size
    if not size:
        return None
    with path.open("rb") as file:
        parts = []
        for place in (0, size // 2, max(0, size - _BLOCK)):
            file.seek(place)
            parts.append(crc32(file.read(_BLOCK)))
    return (size, *parts)
