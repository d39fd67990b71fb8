"""Stand-ins that show tables of the scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6.QtCore import Signal, Slot
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QTableView

from .pythonqt import StandIn
from .standins import observe

__all__ = ["qMRMLTableView"]


class qMRMLTableView(StandIn, QTableView):
    """The cells of a vtkMRMLTableNode; follows the node, and the table that a table view node names."""

    mrmlSceneChanged = Signal(object)
    signatures = {"mrmlSceneChanged": "mrmlSceneChanged(vtkMRMLScene*)"}  # noqa: RUF012

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene = self._table = self._view = None
        self._observers: list[tuple[Any, int]] = []
        self.setModel(QStandardItemModel(self))

    def _observe(self, node: Any, method: Callable[[qMRMLTableView], None]) -> None:
        def changed(view: qMRMLTableView) -> None:
            if shiboken6.isValid(view):
                method(view)

        if node is not None:
            self._observers.append((node, observe(node, "ModifiedEvent", self, changed)))

    def _follow(self) -> None:
        for node, observer in self._observers:
            node.RemoveObserver(observer)
        self._observers = []
        self._observe(self._table, qMRMLTableView._fill)
        self._observe(self._view, qMRMLTableView._follow_view)
        self._fill()

    def _follow_view(self) -> None:
        if self._view.GetTableNode() is not self._table:
            self.setMRMLTableNode(self._view.GetTableNode())

    def _fill(self) -> None:
        model, table = self.model(), self._table.GetTable() if self._table is not None else None
        model.clear()
        if table is None:
            return
        columns, rows = table.GetNumberOfColumns(), table.GetNumberOfRows()
        if self._table.GetUseColumnTitleAsColumnHeader():
            model.setHorizontalHeaderLabels([table.GetColumnName(column) or "" for column in range(columns)])
        for row in range(rows):
            items = [QStandardItem(table.GetValue(row, column).ToString()) for column in range(columns)]
            for item in items:
                item.setEditable(not self._table.GetLocked())
            model.appendRow(items)

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    @Slot(result=object)
    def mrmlScene(self) -> Any:
        return self._scene

    @Slot(object)
    def setMRMLTableNode(self, node: Any) -> None:
        self._table = node
        self._follow()

    @Slot(result=object)
    def mrmlTableNode(self) -> Any:
        return self._table

    @Slot(object)
    def setMRMLTableViewNode(self, node: Any) -> None:
        self._view = node
        self._table = node.GetTableNode() if node is not None else None
        self._follow()

    @Slot(result=object)
    def mrmlTableViewNode(self) -> Any:
        return self._view

    @Slot(result=object)
    def tableModel(self) -> Any:
        return self.model()
