"""Stand-ins of the CTK and qMRML widgets that our windows use; the qMRML ones live on the real MRML scene.

Each shows the properties, signals and slots that Slicer's class has under the same names. A widget that a window needs
and that is not here is refused by the loader of .ui files, so that it gets a stand-in first.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6.QtCore import Property, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLineEdit,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from .pythonqt import StandIn

__all__ = ["CTK", "QMRML"]


def _row(parent: QWidget, *children: QWidget) -> None:
    layout = QHBoxLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    for child in children:
        layout.addWidget(child)


def _stored(kind: str | type, initial: Any, changed: Callable[[Any], None] | None = None) -> Property:
    """A Qt property that is merely kept, per widget; ``changed(widget)`` runs after it is set."""
    values: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

    def write(self: Any, value: Any) -> None:
        values[self] = value
        if changed is not None:
            changed(self)

    return Property(kind, lambda self: values.get(self, initial), write)


class ctkCollapsibleButton(StandIn, QWidget):
    contentsCollapsed = Signal(bool)
    clicked = Signal(bool)

    def __init__(self, parent: QWidget | str | None = None) -> None:
        super().__init__(None if isinstance(parent, str) else parent)
        self._header = QToolButton(self)
        self._header.setCheckable(True)
        self._header.setChecked(True)
        self._header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._header.setArrowType(Qt.ArrowType.DownArrow)
        self._header.setText(parent if isinstance(parent, str) else "")
        self._header.toggled.connect(self._toggled)
        self._header.clicked.connect(self.clicked)
        self.setContentsMargins(6, self._header.sizeHint().height() + 2, 2, 2)

    def resizeEvent(self, event: Any) -> None:
        self._header.setGeometry(0, 0, self.width(), self._header.sizeHint().height())

    def showEvent(self, event: Any) -> None:
        self._show_contents()

    def _toggled(self, opened: bool) -> None:
        self._show_contents()
        self.contentsCollapsed.emit(not opened)

    def _show_contents(self) -> None:
        opened = self._header.isChecked()
        self._header.setArrowType(Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow)
        for child in self.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly):
            if child is not self._header:
                child.setVisible(opened)
        self.setMaximumHeight(16777215 if opened else self._header.sizeHint().height() + 4)

    text = Property(str, lambda self: self._header.text(), lambda self, value: self._header.setText(value))
    collapsed = Property(
        bool, lambda self: not self._header.isChecked(), lambda self, value: self._header.setChecked(not value)
    )
    checked = Property(bool, lambda self: self._header.isChecked(), lambda self, value: self._header.setChecked(value))


def _of_spin_box(kind: type, name: str) -> Property:
    setter = f"set{name[0].upper()}{name[1:]}"
    return Property(
        kind, lambda self: getattr(self._spin, name)(), lambda self, value: getattr(self._spin, setter)(value)
    )


class ctkSliderWidget(StandIn, QWidget):
    valueChanged = Signal(float)

    _STEPS = 1000

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider, self._spin = QSlider(Qt.Orientation.Horizontal), QDoubleSpinBox()
        self._slider.setRange(0, self._STEPS)
        self._slider.valueChanged.connect(self._slid)
        self._spin.valueChanged.connect(self._spun)
        _row(self, self._slider, self._spin)

    def _slid(self, position: int) -> None:
        low, high, step = self._spin.minimum(), self._spin.maximum(), self._spin.singleStep()
        self._spin.setValue(low + round((high - low) * position / self._STEPS / step) * step)

    def _spun(self, value: float) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        blocked = self._slider.blockSignals(True)
        self._slider.setValue(round((value - low) / (high - low or 1) * self._STEPS))
        self._slider.blockSignals(blocked)
        self.valueChanged.emit(value)

    value = _of_spin_box(float, "value")
    minimum = _of_spin_box(float, "minimum")
    maximum = _of_spin_box(float, "maximum")
    singleStep = _of_spin_box(float, "singleStep")
    decimals = _of_spin_box(int, "decimals")
    suffix = _of_spin_box(str, "suffix")
    prefix = _of_spin_box(str, "prefix")
    pageStep = _stored(float, 10.0)
    tracking = _stored(bool, True)

    @Slot(float)
    def setValue(self, value: float) -> None:
        self._spin.setValue(value)


class ctkPathLineEdit(StandIn, QWidget):
    currentPathChanged = Signal(str)

    constants = dict(  # noqa: C408, RUF012
        Dirs=0x1, Files=0x2, Drives=0x4, NoSymLinks=0x8, Readable=0x10, Writable=0x20, Executable=0x40,
        NoDot=0x2000, NoDotDot=0x4000, NoDotAndDotDot=0x6000,
    )  # fmt: skip

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._line, self._browse = QLineEdit(), QToolButton()
        self._browse.setText("...")
        self._line.textChanged.connect(self.currentPathChanged)
        _row(self, self._line, self._browse)

    currentPath = Property(str, lambda self: self._line.text(), lambda self, value: self._line.setText(value))
    filters = _stored(int, 0x6013)
    settingKey = _stored(str, "")

    @Slot(str)
    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)

    @Slot()
    def addCurrentPathToHistory(self) -> None:
        """Slicer keeps it in its settings; the host has none."""


class qMRMLWidget(StandIn, QWidget):
    mrmlSceneChanged = Signal(object)
    signatures = {"mrmlSceneChanged": "mrmlSceneChanged(vtkMRMLScene*)"}  # noqa: RUF012

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    @Slot(result=object)
    def mrmlScene(self) -> Any:
        return self._scene


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The panel that Slicer hands to a module's widget class."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        QVBoxLayout(self)
        self.entered = False

    isEntered = Property(bool, lambda self: self.entered)


class qMRMLNodeComboBox(StandIn, QWidget):
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)
    signatures = {  # noqa: RUF012
        "currentNodeChanged": "currentNodeChanged(vtkMRMLNode*)",
        "nodeAddedByUser": "nodeAddedByUser(vtkMRMLNode*)",
    }

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QComboBox()
        self._box.activated.connect(self._activated)
        _row(self, self._box)
        self._scene, self._observers, self._id, self._known = None, [], "", []

    def _refill(self) -> None:
        self._box.clear()
        if self._scene is None:
            return
        nodes = self._nodes()
        if self.noneEnabled:
            self._box.addItem(self.noneDisplay, ("node", ""))
        for node in nodes:
            self._box.addItem(node.GetName(), ("node", node.GetID()))
        if self.addEnabled:
            for kind in self.nodeTypes:
                self._box.addItem(f"Create new {self._tag(kind)}", ("add", kind))
        for enabled, label, action in (
            (self.renameEnabled, "Rename current node", "rename"),
            (self.removeEnabled, "Delete current node", "remove"),
        ):
            if enabled:
                self._box.addItem(label, (action, ""))
        ids = [node.GetID() for node in nodes]
        if self._id not in ids:
            first = ids[0] if ids and not self._known and not self.noneEnabled else ""  # as an empty QComboBox does
            self._select(first)
        self._known = ids
        self._show_current()

    def _nodes(self) -> list:
        found = []
        for kind in self.nodeTypes:
            for index in range(self._scene.GetNumberOfNodesByClass(kind)):
                node = self._scene.GetNthNodeByClass(index, kind)
                if (self.showChildNodeTypes or node.GetClassName() == kind) and (
                    self.showHidden or not node.GetHideFromEditors()
                ):
                    found.append(node)
        return found

    def _tag(self, kind: str) -> str:
        return self._scene.CreateNodeByClass(kind).GetNodeTagName()

    def _activated(self, index: int) -> None:
        action, value = self._box.itemData(index)
        if action == "node":
            self._select(value)
        elif action == "add":
            self._add(value)
        elif action == "remove":
            self.removeCurrentNode()
        self._show_current()

    def _add(self, kind: str) -> Any:
        name = self._scene.GenerateUniqueName(self.baseName or self._tag(kind))
        node = self._scene.AddNewNodeByClass(kind, name)
        if self.selectNodeUponCreation:
            self._select(node.GetID())
        self.nodeAddedByUser.emit(node)
        return node

    def _select(self, node_id: str) -> None:
        if node_id != self._id:
            self._id = node_id
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(node_id)

    def _show_current(self) -> None:
        for index in range(self._box.count()):
            if tuple(self._box.itemData(index)) == ("node", self._id):
                self._box.setCurrentIndex(index)
                return
        self._box.setCurrentIndex(-1)

    nodeTypes = _stored("QStringList", [], _refill)
    noneEnabled = _stored(bool, False, _refill)
    addEnabled = _stored(bool, True, _refill)
    removeEnabled = _stored(bool, True, _refill)
    renameEnabled = _stored(bool, False, _refill)
    editEnabled = _stored(bool, False)
    showHidden = _stored(bool, False, _refill)
    showChildNodeTypes = _stored(bool, True, _refill)
    selectNodeUponCreation = _stored(bool, True)
    baseName = _stored(str, "")
    noneDisplay = _stored(str, "None", _refill)

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        for observer in self._observers:
            self._scene.RemoveObserver(observer)
        self._observers, self._scene = [], scene
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent, scene.EndCloseEvent)
            reference = weakref.ref(self)

            def changed(*_: Any) -> None:
                box = reference()
                if box is not None and shiboken6.isValid(box) and not scene.IsBatchProcessing():
                    box._refill()

            self._observers = [scene.AddObserver(event, changed) for event in events]
        self._refill()

    @Slot(result=object)
    def mrmlScene(self) -> Any:
        return self._scene

    @Slot(result=object)
    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._id) if self._scene is not None and self._id else None

    @Slot(object)
    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    @Slot(str)
    def setCurrentNodeID(self, node_id: str) -> None:
        known = self._scene is not None and node_id in [node.GetID() for node in self._nodes()]
        self._select(node_id if known else "")
        self._show_current()

    @Slot(result=object)
    def addNode(self) -> Any:
        return self._add(self.nodeTypes[0])

    @Slot()
    def removeCurrentNode(self) -> None:
        if self.currentNode() is not None:
            self._scene.RemoveNode(self.currentNode())

    @Slot(result=int)
    def nodeCount(self) -> int:
        return len(self._nodes())

    currentNodeID = Property(str, lambda self: self._id, lambda self, value: self.setCurrentNodeID(value))


CTK = (ctkCollapsibleButton, ctkPathLineEdit, ctkSliderWidget)
QMRML = (qMRMLNodeComboBox, qMRMLWidget, qSlicerScriptedLoadableModuleWidget)
