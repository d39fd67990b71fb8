"""What the stand-ins share: a property that is merely kept, a row of widgets."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Property
from PySide6.QtWidgets import QHBoxLayout, QWidget

__all__ = ["row", "stored"]


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
