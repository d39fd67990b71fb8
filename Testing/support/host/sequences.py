"""``slicer.modules.sequences`` with its tool bar, which plays the sequence that its selector names."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import QToolBar

from . import pythonqt
from .nodes import qMRMLNodeComboBox
from .pythonqt import StandIn

__all__ = ["WIDGETS", "Sequences"]

_PERIOD = 20  # ms, of the module's own timer


class qMRMLSequenceBrowserToolBar(StandIn, QToolBar):
    """Hidden until someone shows it; the choice of a browser does not."""

    activeBrowserNodeChanged = Signal(object)
    signatures = {"activeBrowserNodeChanged": "activeBrowserNodeChanged(vtkMRMLNode*)"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen)
        self.setVisible(False)
        self._selector = qMRMLNodeComboBox()
        self._selector.nodeTypes, self._selector.addEnabled = ["vtkMRMLSequenceBrowserNode"], False
        self._selector.renameEnabled = True
        self._selector.currentNodeChanged.connect(self.activeBrowserNodeChanged)
        self.addWidget(self._selector)

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        self._selector.setMRMLScene(scene)

    @Slot(object)
    def setActiveBrowserNode(self, node: Any) -> None:
        self._selector.setCurrentNode(node)

    @Slot(result=object)
    def activeBrowserNode(self) -> Any:
        return self._selector.currentNode()


class Sequences:
    """The module; shows its tool bar for a browser that comes with a scene, as long as ``autoShowToolBar`` is true."""

    __slots__ = ("_coming", "_logic", "_tool_bar", "autoShowToolBar", "name", "path", "title")

    def __init__(self, logic: Any, scene: slicer.vtkMRMLScene) -> None:
        self.name = self.title = "Sequences"
        self.path, self._logic, self._coming, self.autoShowToolBar = "", logic, None, True
        self._tool_bar = qMRMLSequenceBrowserToolBar()
        self._tool_bar.setMRMLScene(scene)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def added(caller: Any, event: str, node: Any) -> None:
            if node.IsA("vtkMRMLSequenceBrowserNode") and scene.IsImporting() and self.autoShowToolBar:
                self._coming = node
                QTimer.singleShot(_PERIOD, self._show_what_came)

        scene.AddObserver(scene.NodeAddedEvent, added)

    def _show_what_came(self) -> None:
        node, self._coming = self._coming, None
        if node is not None and node.GetScene() is not None:
            self.showSequenceBrowser(node)

    def logic(self) -> Any:
        return self._logic

    def toolBar(self) -> Any:
        return pythonqt.wrap(self._tool_bar)

    def setToolBarActiveBrowserNode(self, node: Any) -> None:
        self._tool_bar.setActiveBrowserNode(node)

    @property
    def toolBarVisible(self) -> bool:
        return self.isToolBarVisible()

    @toolBarVisible.setter
    def toolBarVisible(self, visible: bool) -> None:
        self.setToolBarVisible(visible)

    def isToolBarVisible(self) -> bool:
        return self._tool_bar.isVisible()

    def setToolBarVisible(self, visible: bool) -> None:
        self._tool_bar.setVisible(visible)

    def setAutoShowToolBar(self, show: bool) -> None:
        self.autoShowToolBar = show

    def showSequenceBrowser(self, node: Any) -> bool:
        """Choose a browser in the tool bar and show it, unless the tool bar is not to show itself."""
        if self.autoShowToolBar:
            self.setToolBarActiveBrowserNode(node)
            self.setToolBarVisible(True)
        return True


WIDGETS = (qMRMLSequenceBrowserToolBar,)
