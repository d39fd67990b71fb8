"""Stand-ins of the qMRML widgets, on the real MRML scene, and the panel that a module's window lives in."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6.QtCore import Property, Signal, Slot
from PySide6.QtWidgets import QComboBox, QVBoxLayout, QWidget

from .pythonqt import StandIn
from .standins import row, stored

__all__ = ["QMRML", "qSlicerScriptedLoadableModuleWidget"]


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
        self.window = None  # the module's widget class's instance
        self.reloading: Callable[[], Any] | None = None  # makes another instance

    isEntered = Property(bool, lambda self: self.entered)

    @Slot()
    def reload(self) -> None:
        self.reloading()

    @Slot(result=object)
    def self(self) -> Any:
        return self.window


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
        row(self, self._box)
        self._scene, self._observers, self._id, self._known = None, [], "", []
        self._attributes: dict[tuple[str, str], Any] = {}

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
                if self._fits(node, kind):
                    found.append(node)
        return found

    def _fits(self, node: Any, kind: str) -> bool:
        return (
            (self.showChildNodeTypes or node.GetClassName() == kind)
            and not any(node.IsA(hidden) for hidden in self.hideChildNodeTypes)
            and (self.showHidden or not node.GetHideFromEditors())
            and all(
                node.GetAttribute(name) == value if value is not None else node.GetAttribute(name) is not None
                for (owner, name), value in self._attributes.items()
                if owner == kind
            )
        )

    @Slot(str, str)
    @Slot(str, str, object)
    def addAttribute(self, kind: str, name: str, value: Any = None) -> None:
        """Show only nodes of this class that have the attribute, with this value if one is given."""
        self._attributes[kind, name] = value
        self._refill()

    @Slot(str, str)
    def removeAttribute(self, kind: str, name: str) -> None:
        self._attributes.pop((kind, name), None)
        self._refill()

    @Slot(int)
    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self.nodeFromIndex(index))

    @Slot(int, result=object)
    def nodeFromIndex(self, index: int) -> Any:
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

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

    nodeTypes = stored("QStringList", [], _refill)
    noneEnabled = stored(bool, False, _refill)
    addEnabled = stored(bool, True, _refill)
    removeEnabled = stored(bool, True, _refill)
    renameEnabled = stored(bool, False, _refill)
    editEnabled = stored(bool, False)
    showHidden = stored(bool, False, _refill)
    showChildNodeTypes = stored(bool, True, _refill)
    hideChildNodeTypes = stored("QStringList", [], _refill)
    nodeTypeLabel = stored(str, "")
    sizeAdjustPolicy = stored(int, 1)
    selectNodeUponCreation = stored(bool, True)
    baseName = stored(str, "")
    noneDisplay = stored(str, "None", _refill)

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


class qMRMLColorTableComboBox(qMRMLNodeComboBox):
    """The scene's colour maps."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.nodeTypes = ["vtkMRMLColorNode"]
        self.addEnabled = self.removeEnabled = False
        self.showHidden = True


QMRML = (qMRMLColorTableComboBox, qMRMLNodeComboBox, qMRMLWidget, qSlicerScriptedLoadableModuleWidget)
