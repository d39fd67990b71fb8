"""Which members PythonQt really exposes, as recorded in Slicer 5.12 (Qt 5.15); the record lies beside the checkout."""

from __future__ import annotations

import json
from functools import cache

from places import SHARED

__all__ = ["RECORD", "members"]

RECORD = SHARED / "notes" / "pythonqt-members.json"


@cache
def _record() -> dict[str, frozenset[str]]:
    """Class name to its members, those of QWidget or QObject included; empty when the record is absent."""
    if not RECORD.is_file():
        return {}
    namespaces = json.loads(RECORD.read_text(encoding="utf-8"))
    qobject, qwidget = set(namespaces["qt"]["QObject"]), set(namespaces["qt"]["QWidget"])
    inherited = qobject | qwidget | {"name", "exec_"}
    return {
        name: frozenset(inherited.union(own))
        for namespace in ("qt", "ctk", "slicer")
        for name, own in namespaces[namespace].items()
    }


def members(class_name: str) -> frozenset[str] | None:
    """The members of a Qt, CTK or qMRML class in Slicer, or None when nothing is recorded about it."""
    return _record().get(class_name)
