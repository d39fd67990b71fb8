"""What a user's hands do: pressing buttons, dragging sliders, choosing in lists, typing; with real events of Qt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PySide6.QtCore import QEvent, QPointF, Qt, QTimer
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QAbstractSlider, QApplication, QComboBox, QMessageBox, QWidget

from .pythonqt import unwrap

__all__ = ["answering", "choose", "click", "drag", "type_text"]


@contextmanager
def answering(button: str) -> Iterator[list[str]]:
    """While the block runs message boxes are shown, not skipped as in tests, and this button is pressed in each.

    Args:
        button: its text, such as "Cancel"; a box without such a button is closed, which is an error afterwards.

    Yields:
        The texts of the boxes that were shown.

    Raises:
        ValueError: if a box had no such button.
    """
    import slicer

    asked, wrong = [], []

    def answer() -> None:
        box = QApplication.activeModalWidget()
        if not isinstance(box, QMessageBox):
            return
        buttons = {one.text().replace("&", ""): one for one in box.buttons()}
        asked.append(box.text())
        if button in buttons:
            buttons[button].click()
        else:
            wrong.append(f"{box.text()!r} has no button {button!r}; it has {sorted(buttons)}.")
            box.done(0)

    timer = QTimer()
    timer.timeout.connect(answer)
    timer.start(1)
    was, slicer.app._testing = slicer.app._testing, False
    try:
        yield asked
    finally:
        timer.stop()
        slicer.app._testing = was
    if wrong:
        raise ValueError(" ".join(wrong))


def _mouse(widget: QWidget, kind: QEvent.Type, buttons: Qt.MouseButton) -> None:
    place = QPointF(widget.rect().center())
    event = QMouseEvent(
        kind, place, widget.mapToGlobal(place), Qt.MouseButton.LeftButton, buttons, Qt.KeyboardModifier.NoModifier
    )
    QApplication.sendEvent(widget, event)


def click(button: Any) -> None:
    """Press and release the left mouse button on a widget; nothing happens where it is disabled, as in Slicer.

    Raises:
        ValueError: if the widget can't be seen, for its section is closed or its window not open.
    """
    widget = unwrap(button)
    if not widget.isVisible():
        raise ValueError(f"{widget.objectName() or type(widget).__name__} can't be clicked: it is not shown.")
    QApplication.sendPostedEvents(None, QEvent.Type.LayoutRequest.value)  # where it lies
    _mouse(widget, QEvent.Type.MouseButtonPress, Qt.MouseButton.LeftButton)
    _mouse(widget, QEvent.Type.MouseButtonRelease, Qt.MouseButton.NoButton)


def drag(slider: Any, *values: float) -> None:
    """Take a slider's handle, move it through these values, and let it go; events are processed after each.

    Args:
        slider: a ctkSliderWidget (its values), or a QSlider.
    """
    widget = unwrap(slider)
    handle = widget if isinstance(widget, QAbstractSlider) else widget.findChild(QAbstractSlider)
    low, high = (0.0, 0.0) if handle is widget else (widget.minimum, widget.maximum)
    handle.setSliderDown(True)
    for value in values:
        position = value if handle is widget else (value - low) / (high - low) * handle.maximum()
        handle.setSliderPosition(round(position))
        QApplication.processEvents()
    handle.setSliderDown(False)
    QApplication.processEvents()


def choose(box: Any, text: str) -> None:
    """Choose the entry with this text in a combo box, or in a node selector, as the user does.

    Raises:
        ValueError: if there is no such entry.
    """
    widget = unwrap(box)
    combo = widget if isinstance(widget, QComboBox) else widget.findChild(QComboBox)
    index = combo.findText(text)
    if index < 0:
        raise ValueError(f"There is no entry {text!r}; there are {[combo.itemText(i) for i in range(combo.count())]}.")
    row = combo.model().index(index, combo.modelColumn(), combo.rootModelIndex())
    if row.flags() & Qt.ItemFlag.ItemIsSelectable:  # else it is pressed like a button
        combo.view().setCurrentIndex(row)
        combo.setCurrentIndex(index)
    combo.activated.emit(index)


def type_text(editor: Any, text: str, enter: bool = True) -> None:
    """Replace an editor's text by typing; ``enter`` ends it with the Return key."""
    widget = unwrap(editor)
    widget.setFocus()
    if hasattr(widget, "selectAll"):
        widget.selectAll()
    keys = [(0, letter) for letter in text] + ([(Qt.Key.Key_Return, "\r")] if enter else [])
    for key, letter in keys:
        for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
            QApplication.sendEvent(widget, QKeyEvent(kind, int(key), Qt.KeyboardModifier.NoModifier, letter))
