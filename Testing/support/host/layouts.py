"""The layout manager and the widgets of the views, as ``slicer.app.layoutManager()`` gives them.

Slicer's own layout logic makes the view nodes; each slice view gets its vtkMRMLSliceLogic and an offscreen window
(``views.py``). The widgets are empty: what a slice view shows is drawn by ``views.render``.
"""

from __future__ import annotations

from typing import Any

import slicer
from PySide6.QtCore import Property, QObject, Signal, Slot
from PySide6.QtWidgets import QWidget

from . import probe, views
from .logics import Core
from .pythonqt import StandIn
from .tables import qMRMLTableView

__all__ = ["WIDGETS", "qSlicerLayoutManager"]


class _Member(StandIn, QWidget):
    """A part of a view that knows the whole: its node and logic."""

    def __init__(self, view: Any) -> None:
        super().__init__()
        self._view = view


class qMRMLSliceControllerWidget(_Member):
    @Slot(result=object)
    def mrmlSliceNode(self) -> Any:
        return self._view.logic.GetSliceNode()

    @Slot(result=object)
    def mrmlSliceCompositeNode(self) -> Any:
        return self._view.logic.GetSliceCompositeNode()

    @Slot(result=object)
    def sliceLogic(self) -> Any:
        return self._view.logic

    @Slot(float)
    def setSliceOffsetValue(self, offset: float) -> None:
        self._view.logic.SetSliceOffset(offset)

    @Slot(str)
    def setSliceOrientation(self, orientation: str) -> None:
        self.mrmlSliceNode().SetOrientation(orientation)

    @Slot(float)
    def setForegroundOpacity(self, opacity: float) -> None:
        self.mrmlSliceCompositeNode().SetForegroundOpacity(opacity)

    @Slot(bool)
    def setSliceLink(self, linked: bool) -> None:
        self.mrmlSliceCompositeNode().SetLinkedControl(linked)

    @Slot(bool)
    def setSliceVisible(self, visible: bool) -> None:
        self.mrmlSliceNode().SetSliceVisible(visible)

    @Slot()
    def fitSliceToBackground(self) -> None:
        self._view.logic.FitSliceToBackground()

    @Slot()
    def rotateSliceToLowestVolumeAxes(self) -> None:
        self._view.logic.RotateSliceToLowestVolumeAxes()


class qMRMLSliceView(_Member):
    @Slot(result=object)
    def mrmlSliceNode(self) -> Any:
        return self._view.logic.GetSliceNode()

    @Slot(result=object)
    def renderWindow(self) -> Any:
        return self._view.window

    @Slot(result=object)
    def interactor(self) -> Any:
        return self._view.interactor

    @Slot(result=object)
    def cornerAnnotation(self) -> Any:
        """Slicer's module DataProbe writes into it (``probe.py``)."""
        return self._view.annotation

    @Slot(result=object)
    def overlayCornerAnnotation(self) -> Any:
        return self._view.overlay

    @Slot()
    def scheduleRender(self) -> None:
        """Nothing is on a screen; ``views.render`` draws when it is asked."""

    @Slot()
    def forceRender(self) -> None:
        """See scheduleRender."""


class qMRMLSliceWidget(_Member):
    def __init__(self, view: Any) -> None:
        super().__init__(view)
        self._controller, self._slice_view = qMRMLSliceControllerWidget(view), qMRMLSliceView(view)

    @Slot(result=object)
    def mrmlSliceNode(self) -> Any:
        return self._view.logic.GetSliceNode()

    @Slot(result=object)
    def mrmlSliceCompositeNode(self) -> Any:
        return self._view.logic.GetSliceCompositeNode()

    @Slot(result=object)
    def sliceLogic(self) -> Any:
        return self._view.logic

    @Slot(result=object)
    def sliceController(self) -> Any:
        return self._controller

    @Slot(result=object)
    def sliceView(self) -> Any:
        return self._slice_view

    @Slot(result=object)
    def overlayCornerAnnotation(self) -> Any:
        return self._view.overlay

    @Slot()
    def fitSliceToBackground(self) -> None:
        self._view.logic.FitSliceToBackground()

    @Slot(str)
    def setSliceOrientation(self, orientation: str) -> None:
        self.mrmlSliceNode().SetOrientation(orientation)

    sliceViewName = Property(str, lambda self: self.mrmlSliceNode().GetLayoutName())
    sliceOrientation = Property(str, lambda self: self.mrmlSliceNode().GetOrientation())


class _NodeWidget(StandIn, QWidget):
    """A view that is its node: plot, table and 3-D views."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self._node = node


class qMRMLPlotView(_NodeWidget):
    @Slot()
    def fitToContent(self) -> None:
        """Nothing is drawn."""


class qMRMLPlotWidget(_NodeWidget):
    def __init__(self, node: Any) -> None:
        super().__init__(node)
        self._plot_view = qMRMLPlotView(node)

    @Slot(result=object)
    def mrmlPlotViewNode(self) -> Any:
        return self._node

    @Slot(result=object)
    def plotView(self) -> Any:
        return self._plot_view


class qMRMLTableWidget(_NodeWidget):
    """The table view of the layout; it shows the table that its view node names."""

    def __init__(self, node: Any) -> None:
        super().__init__(node)
        self._table_view = qMRMLTableView()
        self._table_view.setMRMLTableViewNode(node)

    @Slot(result=object)
    def mrmlTableViewNode(self) -> Any:
        return self._node

    @Slot(result=object)
    def tableView(self) -> Any:
        return self._table_view


class qMRMLThreeDView(_NodeWidget):
    @Slot()
    def forceRender(self) -> None:
        """Nothing is drawn."""

    @Slot()
    def resetFocalPoint(self) -> None:
        """Nothing is drawn."""


class qMRMLThreeDWidget(_NodeWidget):
    def __init__(self, node: Any) -> None:
        super().__init__(node)
        self._view = qMRMLThreeDView(node)

    @Slot(result=object)
    def mrmlViewNode(self) -> Any:
        return self._node

    @Slot(result=object)
    def threeDView(self) -> Any:
        return self._view


class qSlicerLayoutManager(StandIn, QObject):
    layoutChanged = Signal(int)

    def __init__(self, core: Core) -> None:
        super().__init__()
        self._core = core
        self._node = core.layout.GetLayoutNode()
        self._slices: dict[str, qMRMLSliceWidget] = {}
        self._others: dict[str, QWidget] = {}
        self._node.AddObserver("ModifiedEvent", lambda *_: self._update())
        for event in (core.scene.EndBatchProcessEvent, core.scene.EndCloseEvent, core.scene.EndRestoreEvent):
            core.scene.AddObserver(event, lambda *_: self._update())
        self._update()

    def _update(self) -> None:
        """Make the views that a layout shows for the first time, and say which are shown; later, during an import."""
        if self._core.scene.IsBatchProcessing():
            return
        nodes = self._core.layout.GetViewNodes()
        shown = [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]
        for node in shown:
            if node.IsA("vtkMRMLSliceNode") and node.GetLayoutName() not in self._slices:
                logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLApplicationLogic(self._core.application)
                self._core.application.GetSliceLogics().AddItem(logic)
                logic.SetMRMLScene(self._core.scene)
                logic.SetSliceNode(node)
                view = views.add(logic, self._core.application)
                probe.annotate(view)
                self._slices[node.GetLayoutName()] = qMRMLSliceWidget(view)
        for kind in ("vtkMRMLSliceNode", "vtkMRMLViewNode", "vtkMRMLPlotViewNode", "vtkMRMLTableViewNode"):
            for node in slicer.util.getNodesByClass(kind, self._core.scene):
                node.SetMappedInLayout(node in shown)
        self.layoutChanged.emit(self._node.GetViewArrangement())

    def _views(self, kind: str) -> list:
        nodes = self._core.layout.GetViewNodes()
        all_nodes = (nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems()))
        return [node for node in all_nodes if node.IsA(kind)]

    def _widget(self, kind: str, index: int, widget: type) -> Any:
        nodes = self._views(kind)
        if not 0 <= index < len(nodes):
            return None
        name = nodes[index].GetID()
        if name not in self._others:
            self._others[name] = widget(nodes[index])
        return self._others[name]

    @Slot(result=object)
    def sliceViewNames(self) -> list[str]:
        return list(self._slices)

    @Slot(str, result=object)
    def sliceWidget(self, name: str) -> Any:
        return self._slices.get(name)

    @Slot(result=object)
    def mrmlSliceLogics(self) -> Any:
        return self._core.application.GetSliceLogics()

    @Slot(result=object)
    def layoutLogic(self) -> Any:
        return self._core.layout

    @Slot(result=object)
    def mrmlScene(self) -> Any:
        return self._core.scene

    @Slot(int)
    def setLayout(self, layout: int) -> None:
        self._node.SetViewArrangement(layout)

    @Slot()
    def pauseRender(self) -> None:
        """Nothing is drawn before it is asked for."""

    @Slot()
    def resumeRender(self) -> None:
        """See pauseRender."""

    @Slot()
    def resetSliceViews(self) -> None:
        for widget in self._slices.values():
            widget.sliceLogic().FitSliceToBackground()

    @Slot()
    def resetThreeDViews(self) -> None:
        """Nothing is drawn in 3-D views."""

    @Slot(int, result=object)
    def plotWidget(self, index: int) -> Any:
        return self._widget("vtkMRMLPlotViewNode", index, qMRMLPlotWidget)

    @Slot(int, result=object)
    def tableWidget(self, index: int) -> Any:
        return self._widget("vtkMRMLTableViewNode", index, qMRMLTableWidget)

    @Slot(int, result=object)
    def threeDWidget(self, index: int) -> Any:
        return self._widget("vtkMRMLViewNode", index, qMRMLThreeDWidget)

    plotViewCount = Property(int, lambda self: len(self._views("vtkMRMLPlotViewNode")))
    tableViewCount = Property(int, lambda self: len(self._views("vtkMRMLTableViewNode")))
    threeDViewCount = Property(int, lambda self: len(self._views("vtkMRMLViewNode")))
    layout = Property(int, lambda self: self._node.GetViewArrangement(), lambda self, layout: self.setLayout(layout))


WIDGETS = (
    qMRMLPlotView, qMRMLPlotWidget, qMRMLSliceControllerWidget, qMRMLSliceWidget, qMRMLThreeDWidget,
    qSlicerLayoutManager,
)  # fmt: skip
