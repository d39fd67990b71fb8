"""What tests of the modules' results need of a scene: an oblique T1 under a transform, and where things lie."""

from __future__ import annotations

import numpy as np
import pytest
import vtk

from loaded import host, slicer

__all__ = ["OBLIQUE", "SHAPE", "clean_scene", "geometry", "item_of", "t1", "turn", "voxels"]

SHAPE = (10, 9, 8)
OBLIQUE = np.array([[0.0, -0.8, 0.6, 10.0], [0.0, 0.6, 0.8, -20.0], [-1.5, 0.0, 0.0, 30.0], [0.0, 0.0, 0.0, 1.0]])


@pytest.fixture
def clean_scene():
    """An empty scene."""
    slicer.mrmlScene.Clear(0)
    host.slot_errors.clear()
    yield
    assert host.slot_errors == []


def turn() -> np.ndarray:
    """4×4 of the transform that ``t1`` puts its volume under."""
    transform = vtk.vtkTransform()
    transform.Translate(3, -2, 1)
    transform.RotateZ(30)
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix())


def t1(name: str = "T1"):
    """A volume of 10×9×8 voxels on oblique axes, under a linear transform, in a study of the subject hierarchy."""
    values = np.random.default_rng(3).integers(0, 900, SHAPE[::-1]).astype(np.int16)
    volume = slicer.util.addVolumeFromArray(values, OBLIQUE, name)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "turned")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turn()))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(item_of(volume), study)
    return volume


def item_of(node) -> int:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene).GetItemByDataNode(node)


def geometry(volume) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def voxels(volume) -> np.ndarray:
    """Indexed i, j, k."""
    return slicer.util.arrayFromVolume(volume).transpose(2, 1, 0)
