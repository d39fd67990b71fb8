"""Stand-ins of the qMRML widgets, on the real MRML scene, and the panel that a module's window lives in."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import shiboken6
import vtk
from PySide6.QtCore import Property, Qt, Signal, Slot
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QComboBox, QVBoxLayout, QWidget

from .pythonqt import StandIn
from .standins import observe, row, stored

__all__ = ["QMRML", "qSlicerScriptedLoadableModuleWidget"]

_ACTION, _VALUE = Qt.ItemDataRole.UserRole, Qt.ItemDataRole.UserRole + 1  # of a row: what it is, and of which node
_CHOOSABLE = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable


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
        QVBoxLayout(self).setContentsMargins(0, 0, 0, 0)
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


def _unobserve(scene: Any, tags: list[int], *_: Any) -> None:
    """Undo the observers of a scene, of which the list has none then."""
    while tags:
        scene.RemoveObserver(tags.pop())


class qMRMLNodeComboBox(StandIn, QWidget):
    """The nodes of a scene that fit, in the scene's order, as rows of a combo box.

    Rows come and go one by one with the nodes, also while a scene is imported, and Qt's own combo box decides what that
    does to the current row: an empty box takes the first that comes; where the current row goes, the one that takes its
    place follows, else the last. Only a scene that is closed takes its nodes all at once.
    """

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)
    signatures = {  # noqa: RUF012
        "currentNodeChanged": "currentNodeChanged(vtkMRMLNode*)",
        "nodeAddedByUser": "nodeAddedByUser(vtkMRMLNode*)",
    }

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene, self._observers, self._requested = None, [], ""
        self._attributes: dict[tuple[str, str], Any] = {}
        self._before = self._after = 0  # rows that are no nodes
        self._isSwitching = False
        self._model = QStandardItemModel(self)
        self._rows = QStandardItem("Scene")  # the rows lie below it, as in Slicer
        self._model.appendRow(self._rows)
        self._box = QComboBox()
        self._box.setModel(self._model)
        self._box.setRootModelIndex(self._rows.index())
        self._box.activated.connect(self._activated)
        self._box.currentIndexChanged.connect(self._row_changed)
        self._model.rowsRemoved.connect(self._leave_what_is_no_node)  # after the combo box has chosen another row
        self.setEnabled(False)
        row(self, self._box)

    # ---- rows

    def _insert(self, place: int, text: str, action: str, value: str, flags: Any = _CHOOSABLE) -> None:
        item = QStandardItem(text)
        item.setData(action, _ACTION)
        item.setData(value, _VALUE)
        item.setFlags(flags)
        self._rows.insertRow(place, [item])  # a single item would stay Python's and vanish

    def _set_none(self) -> None:
        """The row before the nodes."""
        if self._scene is None:
            return
        self._rows.removeRows(0, self._before)
        self._before = int(self.noneEnabled)
        if self._before:
            self._insert(0, self.noneDisplay, "none", "")

    def _set_actions(self) -> None:
        """The rows after the nodes; they can't be chosen, only pressed."""
        if self._scene is None:
            return
        current = self._box.currentIndex()
        self._rows.removeRows(self._rows.rowCount() - self._after, self._after)
        actions = [("Rename current node", "rename", "")] if self.renameEnabled else []
        actions += [(f"Create new {self._tag(kind)}", "add", kind) for kind in self.nodeTypes] * self.addEnabled
        actions += [("Delete current node", "remove", "")] if self.removeEnabled else []
        if self.addEnabled or actions:
            actions.insert(0, ("", "separator", ""))
        self._after = len(actions)
        for action in actions:
            self._insert(self._rows.rowCount(), *action, Qt.ItemFlag.ItemIsEnabled)
        self._box.setCurrentIndex(current)

    def _set_nodes(self) -> None:
        """Rows go whose nodes do not fit any more, and come for those that do now."""
        wanted = [node.GetID() for node in self._nodes()]
        for place in reversed(range(self._before, self._rows.rowCount() - self._after)):
            if self._value(place) not in wanted:
                self._rows.removeRow(place)
        for place, node_id in enumerate(wanted, self._before):
            if place >= self._rows.rowCount() - self._after or self._value(place) != node_id:
                node = self._scene.GetNodeByID(node_id)
                observe(node, "ModifiedEvent", self, lambda box, node_id=node_id: box._renamed(node_id))
                self._insert(place, node.GetName(), "node", node_id)

    def _value(self, place: int) -> str:
        return self._rows.child(place).data(_VALUE)

    def _place(self, node_id: str) -> int:
        """The row of a node, -1 if it has none."""
        places = range(self._before, self._rows.rowCount() - self._after)
        return next((place for place in places if self._value(place) == node_id), -1)

    def _node(self, place: int) -> Any:
        item = self._rows.child(place) if place >= 0 else None
        if item is None or item.data(_ACTION) != "node":
            return None
        return self._scene.GetNodeByID(item.data(_VALUE))

    # ---- the current row

    def _row_changed(self) -> None:
        if self._isSwitching:
            return
        place, node = self._box.currentIndex(), self.currentNode()
        if node is None and place != self._before - 1:  # an action's row took the place of a node's
            last = self.nodeFromIndex(self.nodeCount() - 1)
            if last is not None:
                self.setCurrentNode(last)
            return
        self.currentNodeChanged.emit(node)
        self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")

    def _leave_what_is_no_node(self) -> None:
        if self.currentNode() is None:
            self.setCurrentNode(None)

    # ---- what the scene tells

    def _observe_scene(self) -> None:
        scene, reference = self._scene, weakref.ref(self)

        def told(method: Callable[[Any, Any], None]) -> Callable:
            @vtk.calldata_type(vtk.VTK_OBJECT)
            def called(caller: Any, event: str, node: Any) -> None:
                box = reference()
                if box is not None and shiboken6.isValid(box):
                    method(box, node)

            return called

        def closed(*_: Any) -> None:
            box = reference()
            if box is not None and shiboken6.isValid(box):
                box._closed()

        added, removed = told(qMRMLNodeComboBox._added), told(qMRMLNodeComboBox._about_to_be_removed)
        self._observers = [
            scene.AddObserver(scene.NodeAddedEvent, added, 10.0),  # before other observers, as in Slicer
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, removed, -10.0),
            scene.AddObserver(scene.EndCloseEvent, closed),
        ]
        self.destroyed.connect(partial(_unobserve, scene, self._observers))

    def _added(self, node: Any) -> None:
        if any(node.IsA(kind) for kind in self.nodeTypes):
            self._set_nodes()

    def _renamed(self, node_id: str) -> None:
        if not shiboken6.isValid(self) or self._scene is None or self._scene.IsClosing():
            return
        place = self._place(node_id)
        if place >= 0 and self._node(place) is not None:
            self._rows.child(place).setText(self._node(place).GetName())

    def _about_to_be_removed(self, node: Any) -> None:
        place = self._place(node.GetID())
        if place >= 0 and not self._scene.IsClosing():
            self._rows.removeRow(place)

    def _closed(self) -> None:
        self._rows.removeRows(self._before, self.nodeCount())
        self._set_nodes()

    # ---- properties and slots

    def _nodes(self) -> list:
        """Those that fit, in the scene's order."""
        nodes = self._scene.GetNodes() if self._scene is not None else ()
        return [node for node in nodes if any(self._fits(node, kind) for kind in self.nodeTypes)]

    def _fits(self, node: Any, kind: str) -> bool:
        return (
            (node.IsA(kind) if self.showChildNodeTypes else node.GetClassName() == kind)
            and not any(node.IsA(hidden) for hidden in self.hideChildNodeTypes)
            and (self.showHidden or not node.GetHideFromEditors())
            and all(
                node.GetAttribute(name) == value if value is not None else node.GetAttribute(name) is not None
                for (owner, name), value in self._attributes.items()
                if owner == kind
            )
        )

    def _types_changed(self) -> None:
        self._set_nodes()
        self._set_actions()

    nodeTypes = stored("QStringList", [], _types_changed)
    noneEnabled = stored(bool, False, _set_none)
    addEnabled = stored(bool, True, _set_actions)
    removeEnabled = stored(bool, True, _set_actions)
    renameEnabled = stored(bool, False, _set_actions)
    editEnabled = stored(bool, False)
    showHidden = stored(bool, False, _set_nodes)
    showChildNodeTypes = stored(bool, True, _set_nodes)
    hideChildNodeTypes = stored("QStringList", [], _set_nodes)
    nodeTypeLabel = stored(str, "")
    sizeAdjustPolicy = stored(int, 1)
    selectNodeUponCreation = stored(bool, True)
    baseName = stored(str, "")
    noneDisplay = stored(str, "None", _set_none)

    @Slot(str, str)
    @Slot(str, str, object)
    def addAttribute(self, kind: str, name: str, value: Any = None) -> None:
        """Show only nodes of this class that have the attribute, with this value if one is given."""
        self._attributes[kind, name] = value
        self._set_nodes()

    @Slot(str, str)
    def removeAttribute(self, kind: str, name: str) -> None:
        self._attributes.pop((kind, name), None)
        self._set_nodes()

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        """Take a scene's nodes; the chosen one stays, else None, or the first where None can't be chosen."""
        if scene is self._scene:
            return
        wanted = self.currentNodeID or self._requested
        _unobserve(self._scene, self._observers)
        self._isSwitching = True
        self._rows.removeRows(0, self._rows.rowCount())
        self._before = self._after = 0
        self._observers, self._scene, self._requested = [], scene, ""
        if scene is not None:
            self._observe_scene()
            self._set_none()
            self._set_nodes()
            self._set_actions()
        self._box.setCurrentIndex(-1)
        self._isSwitching = False
        first = self.nodeFromIndex(0) if not self.noneEnabled else None
        self.setCurrentNodeID(wanted or (first.GetID() if first is not None else ""))
        self.setEnabled(scene is not None)

    @Slot(result=object)
    def mrmlScene(self) -> Any:
        return self._scene

    @Slot(result=object)
    def currentNode(self) -> Any:
        return self._node(self._box.currentIndex())

    @Slot(object)
    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    @Slot(str)
    def setCurrentNodeID(self, node_id: str) -> None:
        """None where the node has no row; without a scene, kept until there is one."""
        if self._scene is None:
            self._requested = node_id
        place, view = self._place(node_id), self._box.view()
        index = self._model.index(place if place >= 0 else self._before - 1, 0, self._rows.index())
        if place < 0 or view.currentIndex() != index:
            view.setCurrentIndex(index)
            self._box.setCurrentIndex(index.row())

    @Slot(int)
    def setCurrentNodeIndex(self, index: int) -> None:
        self._box.setCurrentIndex((index if index < self.nodeCount() else -1) + self._before)

    @Slot(int, result=object)
    def nodeFromIndex(self, index: int) -> Any:
        return self._node(index + self._before)

    @Slot(result=int)
    def nodeCount(self) -> int:
        return self._rows.rowCount() - self._before - self._after

    currentNodeID = Property(
        str,
        lambda self: self.currentNode().GetID() if self.currentNode() is not None else "",
        lambda self, value: self.setCurrentNodeID(value),
    )

    # ---- actions

    def _activated(self, place: int) -> None:
        item = self._rows.child(place)
        if item.data(_ACTION) == "add":
            self._add(item.data(_VALUE))
        elif item.data(_ACTION) == "remove":
            self.removeCurrentNode()

    def _tag(self, kind: str) -> str:
        return self._scene.GetTagByClassName(kind)

    def _add(self, kind: str) -> Any:
        name = self._scene.GenerateUniqueName(self.baseName or self._tag(kind))
        node = self._scene.AddNewNodeByClass(kind, name)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    @Slot(result=object)
    def addNode(self) -> Any:
        return self._add(self.nodeTypes[0])

    @Slot()
    def removeCurrentNode(self) -> None:
        if self.currentNode() is not None:
            self._scene.RemoveNode(self.currentNode())


class qMRMLColorTableComboBox(qMRMLNodeComboBox):
    """The scene's colour maps."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.nodeTypes = ["vtkMRMLColorNode"]
        self.addEnabled = self.removeEnabled = False
        self.showHidden = True


QMRML = (qMRMLColorTableComboBox, qMRMLNodeComboBox, qMRMLWidget, qSlicerScriptedLoadableModuleWidget)
