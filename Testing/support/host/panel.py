"""The module panel: how wide it is in Slicer, and how a window is laid out in it, unseen."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QApplication, QWidget

from .pythonqt import unwrap

__all__ = ["PANEL_WIDTH", "lay_out"]

PANEL_WIDTH = 383  # px, by default; what needs more widens it


def lay_out(widget: Any, width: int = PANEL_WIDTH) -> QWidget:
    """Show a widget, though not on the screen, this wide and as high as it needs; gives Qt's own object."""
    target: QWidget = unwrap(widget)
    target.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen)
    target.show()
    for _ in range(3):  # children that show or hide others change the height
        QApplication.sendPostedEvents(None, QEvent.Type.LayoutRequest.value)
        layout = target.layout()
        height = layout.totalHeightForWidth(width) if layout is not None and layout.hasHeightForWidth() else 0
        target.resize(width, max(height, target.sizeHint().height(), target.minimumSizeHint().height()))
    return target
