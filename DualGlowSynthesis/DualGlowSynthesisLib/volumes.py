"""Between MRML volume nodes and the library's scans, and how a synthetic PET is marked and shown."""

import json
from collections.abc import Mapping

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from DualGlowLib import InputError

__all__ = ["firstAcquired", "isSynthetic", "markSynthetic", "scanFromVolume", "showOverlay", "updateVolumeFromScan"]

SUVR_WINDOW = (0.0, 2.5)
"""Shown from black to white; the grey matter of a healthy brain lies near 1.5 over the pons."""

BACKGROUND = 0.1
"""SUVR below this is drawn transparent: outside the head the result is 0."""


def _geometry(volumeNode) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def isSynthetic(volumeNode) -> bool:
    """Whether DualGlow made it."""
    return volumeNode.GetAttribute("DualGlow.Synthetic") == "true"


def firstAcquired():
    """The scene's first grey-scale volume that DualGlow has not made; None if there is none."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")  # label maps and colour images too
    return next((n for n in nodes if n.GetClassName() == "vtkMRMLScalarVolumeNode" and not isSynthetic(n)), None)


def scanFromVolume(volumeNode):
    """A copy of the node's voxels as a ``Scan`` (float32, indexed i, j, k) in the node's own RAS space.

    A parent transform is left out: the result gets the same parent, so both move together.

    Raises:
        InputError: if the node has no voxels, or not one number in each, or is synthetic itself.
    """
    from DualGlowLib.scans import Scan

    image = volumeNode.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        text = _("{name} has no voxels; choose a volume that holds a T1-weighted MRI of the brain.")
        raise InputError(text.format(name=volumeNode.GetName()))
    if image.GetNumberOfScalarComponents() != 1:
        text = _("{name} has several numbers in each voxel; choose a grey-scale T1-weighted MRI of the brain.")
        raise InputError(text.format(name=volumeNode.GetName()))
    if isSynthetic(volumeNode):
        text = _("{name} is synthetic; choose an acquired T1-weighted MRI of the brain.")
        raise InputError(text.format(name=volumeNode.GetName()))
    voxels = slicer.util.arrayFromVolume(volumeNode)  # a view, indexed k, j, i
    data = np.array(voxels.transpose(2, 1, 0), dtype=np.float32, order="C")
    return Scan(data, _geometry(volumeNode), source=volumeNode.GetName())


def updateVolumeFromScan(volumeNode, scan, referenceNode) -> None:
    """Write a scan that lies on the reference volume's lattice into a node, which gets that geometry and parent.

    Raises:
        ValueError: if the scan lies elsewhere; its voxels would be shown in the wrong place.
    """
    dimensions = referenceNode.GetImageData().GetDimensions()
    if scan.shape != dimensions or not np.allclose(scan.affine, _geometry(referenceNode), atol=1e-3):
        raise ValueError(f"The result does not lie on the lattice of {referenceNode.GetName()}.")
    matrix = vtk.vtkMatrix4x4()
    referenceNode.GetIJKToRASMatrix(matrix)
    with slicer.util.NodeModify(volumeNode):
        voxels = np.ascontiguousarray(scan.data.transpose(2, 1, 0), dtype=np.float32)
        slicer.util.updateVolumeFromArray(volumeNode, voxels)
        volumeNode.SetIJKToRASMatrix(matrix)
        volumeNode.SetAndObserveTransformNodeID(referenceNode.GetTransformNodeID())


def markSynthetic(volumeNode, provenance: Mapping) -> None:
    """Write on the node that it is synthetic and how it was made.

    The attributes ``DualGlow.Synthetic``, ``DualGlow.Age``, … are saved with the scene. Keys become CamelCase, lists
    and mappings JSON.
    """
    volumeNode.SetAttribute("DualGlow.Synthetic", "true")
    for key, value in provenance.items():
        name = "".join(part[:1].upper() + part[1:] for part in str(key).split("_"))
        volumeNode.SetAttribute(f"DualGlow.{name}", _attributeText(value))


def _attributeText(value) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:.10g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def showOverlay(petNode, t1Node) -> None:
    """Draw the PET in hot colours, half transparent, over the T1 in every slice view."""
    petNode.CreateDefaultDisplayNodes()
    display = petNode.GetDisplayNode()
    with slicer.util.NodeModify(display):
        display.SetAndObserveColorNodeID("vtkMRMLPETProceduralColorNodePET-Heat")
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(*SUVR_WINDOW)
        display.SetThreshold(BACKGROUND, max(petNode.GetImageData().GetScalarRange()[1], SUVR_WINDOW[1]))
        display.ApplyThresholdOn()
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    alreadyShown = any(view.GetBackgroundVolumeID() == t1Node.GetID() for view in views)
    slicer.util.setSliceViewerLayers(background=t1Node, foreground=petNode, foregroundOpacity=0.5, fit=not alreadyShown)
