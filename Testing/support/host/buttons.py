"""Stand-ins of CTK's boxes, buttons, combo boxes, path editors and texts."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Property, Qt, QThread, Signal, Slot
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGroupBox,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QTextBrowser,
    QToolButton,
    QWidget,
)

from .pythonqt import StandIn
from .standins import row, stored

__all__ = ["CTK"]

_UNLIMITED = 16777215  # QWIDGETSIZE_MAX


def _titled(parent: Any) -> tuple[str, QWidget | None]:
    """CTK's constructors take a title or a parent."""
    return (parent, None) if isinstance(parent, str) else ("", parent)


class ctkCollapsibleButton(StandIn, QWidget):
    contentsCollapsed = Signal(bool)
    clicked = Signal(bool)
    toggled = Signal(bool)

    def __init__(self, parent: QWidget | str | None = None) -> None:
        title, parent = _titled(parent)
        super().__init__(parent)
        self._header = QToolButton(self)
        self._header.setCheckable(True)
        self._header.setChecked(True)
        self._header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._header.setArrowType(Qt.ArrowType.DownArrow)
        self._header.setText(title)
        self._header.toggled.connect(self._toggled)
        self._header.clicked.connect(self.clicked)
        self.setContentsMargins(6, self._header.sizeHint().height() + 2, 2, 2)

    def resizeEvent(self, event: Any) -> None:
        self._header.setGeometry(0, 0, self.width(), self._header.sizeHint().height())

    def showEvent(self, event: Any) -> None:
        self._show_contents()

    def _toggled(self, opened: bool) -> None:
        self._show_contents()
        self.toggled.emit(opened)
        self.contentsCollapsed.emit(not opened)

    def _show_contents(self) -> None:
        opened = self._header.isChecked()
        self._header.setArrowType(Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow)
        _show_children(self, opened, self._header)
        self.setMaximumHeight(_UNLIMITED if opened else self._header.sizeHint().height() + 4)

    @Slot()
    def click(self) -> None:
        self._header.click()

    @Slot()
    def toggle(self) -> None:
        self._header.toggle()

    text = Property(str, lambda self: self._header.text(), lambda self, value: self._header.setText(value))
    collapsed = Property(
        bool, lambda self: not self._header.isChecked(), lambda self, value: self._header.setChecked(not value)
    )
    checked = Property(bool, lambda self: self._header.isChecked(), lambda self, value: self._header.setChecked(value))
    flat = stored(bool, False)
    collapsedHeight = stored(int, 10)
    contentsFrameShape = stored(int, 6)
    contentsFrameShadow = stored(int, 16)
    contentsLineWidth = stored(int, 1)
    contentsMidLineWidth = stored(int, 0)


def _show_children(parent: QWidget, shown: bool, *spared: QWidget) -> None:
    """Hide the direct children that are visible, and later show those again that were hidden thus."""
    for child in parent.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly):
        if child in spared:
            continue
        if shown and child.property("_collapsed"):
            child.setProperty("_collapsed", False)
            child.show()
        elif not shown and not child.isHidden():
            child.setProperty("_collapsed", True)
            child.hide()


class ctkCollapsibleGroupBox(StandIn, QGroupBox):
    def __init__(self, parent: QWidget | str | None = None) -> None:
        title, parent = _titled(parent)
        super().__init__(title, parent)
        self.setCheckable(True)
        self.toggled.connect(self._show_contents)

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self._show_contents()

    def _show_contents(self) -> None:
        opened = self.isChecked()
        _show_children(self, opened)
        self.setMaximumHeight(_UNLIMITED if opened else self.fontMetrics().height() + self.collapsedHeight)

    collapsed = Property(bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value))
    collapsedHeight = stored(int, 14)


class ctkComboBox(StandIn, QComboBox):
    defaultText = stored(str, "")
    forceDefault = stored(bool, False)
    scrollWheelEffect = stored(int, 2)
    constants = dict(NeverScroll=0, AlwaysScroll=1, ScrollWithFocus=2, ScrollWithNoVScrollBar=3)  # noqa: C408, RUF012
    currentUserDataAsString = Property(
        str, lambda self: str(self.currentData() or ""), lambda self, value: self.setCurrentIndex(self.findData(value))
    )

    @Slot(str)
    def setCurrentUserDataAsString(self, value: str) -> None:
        self.setCurrentIndex(self.findData(value))


class ctkCheckBox(StandIn, QCheckBox):
    """The same as Qt's, but for an icon in place of the box."""


class ctkPushButton(StandIn, QPushButton):
    """The same as Qt's, but for the alignment of text and icon."""


class ctkExpandButton(StandIn, QToolButton):
    orientation = stored(int, 1)
    mirrorOnExpand = stored(bool, False)


class ctkMenuButton(StandIn, QPushButton):
    """A push button with a part that opens its menu."""


class ctkPathLineEdit(StandIn, QWidget):
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    constants = dict(  # noqa: C408, RUF012
        Dirs=0x1, Files=0x2, Drives=0x4, NoSymLinks=0x8, Readable=0x10, Writable=0x20, Executable=0x40,
        NoDot=0x2000, NoDotDot=0x4000, NoDotAndDotDot=0x6000,
    )  # fmt: skip

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._line, self._browse = QLineEdit(), QToolButton()
        self._browse.setText("...")
        self._browse.clicked.connect(self.browse)
        self._line.textChanged.connect(self.currentPathChanged)
        row(self, self._line, self._browse)

    currentPath = Property(str, lambda self: self._line.text(), lambda self, value: self._line.setText(value))
    filters = stored(int, 0x6013)
    label = stored(str, "")
    nameFilters = stored("QStringList", [])
    options = stored(int, 0)
    settingKey = stored(str, "")
    showBrowseButton = Property(
        bool, lambda self: not self._browse.isHidden(), lambda self, value: self._browse.setVisible(value)
    )
    showHistoryButton = stored(bool, True)

    @Slot(str)
    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)

    @Slot()
    def browse(self) -> None:
        """Ask for a folder or a file, as ``filters`` says."""
        if self.filters & self.constants["Files"]:
            path, _ = QFileDialog.getOpenFileName(self, self.label, self.currentPath, ";;".join(self.nameFilters))
        else:
            path = QFileDialog.getExistingDirectory(self, self.label, self.currentPath)
        if path:
            self._line.setText(path)

    @Slot()
    def addCurrentPathToHistory(self) -> None:
        """Slicer keeps it in its settings; the host shows no history."""

    @Slot()
    def retrieveHistory(self) -> None:
        """See addCurrentPathToHistory."""


class ctkDirectoryButton(StandIn, QWidget):
    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._button = QPushButton()
        self._button.clicked.connect(self.browse)
        row(self, self._button)

    def _set(self, path: str) -> None:
        if path != self._button.text():
            self._button.setText(path)
            self.directoryChanged.emit(path)

    @Slot()
    def browse(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self.caption, self.directory)
        if path:
            self._set(path)
            self.directorySelected.emit(path)

    directory = Property(str, lambda self: self._button.text(), _set)
    caption = stored(str, "")
    text = stored(str, "")


class ctkFittedTextBrowser(StandIn, QTextBrowser):
    """A text as high as it is long."""

    collapsed = stored(bool, False)

    @Slot(str)
    def setCollapsibleText(self, text: str) -> None:
        self.setText(text)

    @Slot(str)
    def setCollapsibleHtml(self, text: str) -> None:
        self.setHtml(text)


class ctkMessageBox(StandIn, QMessageBox):
    def deleteLater(self) -> None:
        """Slicer's helpers call it before they show the box: Qt waits until the running event loop is left.

        In tests there may be none, and Qt would not wait.
        """
        if QThread.currentThread().loopLevel():
            super().deleteLater()
        else:
            self.finished.connect(super().deleteLater)

    dontShowAgain = stored(bool, False)
    dontShowAgainSettingsKey = stored(str, "")


CTK = (
    ctkCheckBox, ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkComboBox, ctkDirectoryButton, ctkExpandButton,
    ctkFittedTextBrowser, ctkMenuButton, ctkMessageBox, ctkPathLineEdit, ctkPushButton,
)  # fmt: skip
