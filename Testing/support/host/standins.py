"""What the stand-ins share: a property that is merely kept, a row of widgets."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Property
from PySide6.QtWidgets import QHBoxLayout, QWidget

__all__ = ["observe", "row", "stored"]

_callbacks: list[Callable] = []


def observe(node: Any, event: int | str, owner: Any, method: Callable[[Any], None]) -> int:
    """Call ``method(owner)`` at each such event of a VTK object, as long as the owner lives; gives the observer's tag.

    The callback is kept for ever. Python's garbage collector takes an observer for a part of the VTK object's wrapper,
    and clears it with a cycle through the wrapper, although the object itself lives on and calls it: a crash.
    """
    reference = weakref.ref(owner)

    def changed(*_: Any) -> None:
        if reference() is not None:
            method(reference())

    _callbacks.append(changed)
    return node.AddObserver(event, changed)


def row(parent: QWidget, *children: QWidget) -> None:
    """Lay the children out in a row that fills the parent."""
    layout = QHBoxLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    for child in children:
        layout.addWidget(child)


def stored(kind: str | type, initial: Any, changed: Callable[[Any], None] | None = None) -> Property:
    """A Qt property that is merely kept, per widget; ``changed(widget)`` runs after it is set."""
    values: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

    def write(self: Any, value: Any) -> None:
        values[self] = value
        if changed is not None:
            changed(self)

    return Property(kind, lambda self: values.get(self, initial), write)
