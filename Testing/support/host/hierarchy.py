"""Items of the subject hierarchy: in Slicer, plugins of its window make them when nodes come, and remove them again."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

__all__ = ["Hierarchy"]

_SHOWN = (
    "vtkMRMLVolumeNode", "vtkMRMLTransformNode", "vtkMRMLModelNode", "vtkMRMLSegmentationNode", "vtkMRMLMarkupsNode",
    "vtkMRMLTableNode", "vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode", "vtkMRMLTextNode",
)  # fmt: skip


class Hierarchy:
    """Keeps the scene's one vtkMRMLSubjectHierarchyNode complete: an item for each node that a plugin owns."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)  # made if there is none

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def added(caller: Any, event: str, node: Any) -> None:
            if not scene.IsImporting() and not scene.IsClosing():
                self._add(node)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def removed(caller: Any, event: str, node: Any) -> None:
            if not scene.IsClosing():
                self._remove(node)

        scene.AddObserver(scene.NodeAddedEvent, added)
        scene.AddObserver(scene.NodeAboutToBeRemovedEvent, removed)
        for event in (scene.EndImportEvent, scene.EndCloseEvent, scene.EndRestoreEvent):
            scene.AddObserver(event, lambda *_: self._complete())

    def _node(self) -> slicer.vtkMRMLSubjectHierarchyNode:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def _add(self, node: Any) -> None:
        if node.GetHideFromEditors() or not any(node.IsA(kind) for kind in _SHOWN):
            return
        hierarchy = self._node()
        if not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    def _remove(self, node: Any) -> None:
        hierarchy = self._scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
        item = hierarchy.GetItemByDataNode(node) if hierarchy is not None and hierarchy is not node else 0
        if item:
            hierarchy.RemoveItem(item, False, False)

    def _complete(self) -> None:
        """After a scene was read its hierarchy is merged into the one that was there."""
        slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(self._scene)
        for index in range(self._scene.GetNumberOfNodes()):
            self._add(self._scene.GetNthNode(index))
