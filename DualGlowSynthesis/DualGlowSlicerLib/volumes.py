"""Between MRML volume nodes and the library's scans, and how a synthetic PET is marked and shown."""

import json
from collections.abc import Mapping

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

from DualGlowLib import InputError

__all__ = [
    "affineIn",
    "affineOf",
    "firstAcquired",
    "imageOf",
    "isSynthetic",
    "markSynthetic",
    "maskOn",
    "provenanceOf",
    "scanFromVolume",
    "stateOf",
    "updateVolumeFromArray",
    "updateVolumeFromScan",
    "usableVoxels",
]


def affineOf(volumeNode) -> np.ndarray:
    """4x4, voxels to the node's own RAS space."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def affineIn(volumeNode, referenceNode) -> np.ndarray:
    """4x4, voxels to the reference volume's own RAS space, through the linear transforms that both lie under.

    Raises:
        InputError: if one of the transforms is not linear.
    """
    toWorld = []
    for node in (volumeNode, referenceNode):
        matrix = vtk.vtkMatrix4x4()
        transform = node.GetParentTransformNode()
        if transform is not None and not transform.IsTransformToWorldLinear():
            text = _("{name} lies under a transform that is not linear; harden it first (Transforms module).")
            raise InputError(text.format(name=node.GetName()))
        if transform is not None:
            transform.GetMatrixTransformToWorld(matrix)
        toWorld.append(slicer.util.arrayFromVTKMatrix(matrix))
    return np.linalg.inv(toWorld[1]) @ toWorld[0] @ affineOf(volumeNode)


def isSynthetic(volumeNode) -> bool:
    """Whether DualGlow made it."""
    return volumeNode.GetAttribute("DualGlow.Synthetic") == "true"


def firstAcquired():
    """The scene's first grey-scale volume that is offered to users and not DualGlow's; None if there is none."""
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):  # label maps and colour images too
        isOffered = node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors()
        if isOffered and not isSynthetic(node) and node.GetAttribute("DualGlow.ResampledFrom") is None:
            return node
    return None


def usableVoxels(volumeNode) -> np.ndarray:
    """The node's own voxels (no copy), indexed i, j, k.

    Raises:
        InputError: if the node has no voxels, or not one number in each, or is synthetic itself.
    """
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
    return slicer.util.arrayFromVolume(volumeNode).transpose(2, 1, 0)


def scanFromVolume(volumeNode):
    """A copy of the node's voxels as a ``Scan`` (float32, indexed i, j, k) in the node's own RAS space.

    A parent transform is left out: the result gets the same parent, so both move together.

    Raises:
        InputError: see ``usableVoxels``.
    """
    from DualGlowLib.volumes.scan import Scan

    data = np.array(usableVoxels(volumeNode), dtype=np.float32, order="C")
    return Scan(data, affineOf(volumeNode), source=volumeNode.GetName())


def maskOn(maskVolume, inputVolume) -> np.ndarray:
    """A brain mask on the input's voxels, uint8.

    Raises:
        InputError: if it lies elsewhere.
    """
    voxels = usableVoxels(maskVolume)
    lies = np.allclose(affineOf(maskVolume), affineOf(inputVolume), atol=1e-3)
    if voxels.shape != inputVolume.GetImageData().GetDimensions() or not lies:
        text = _("The brain mask {mask} does not lie on the voxels of {name}; resample it there, or choose none.")
        raise InputError(text.format(mask=maskVolume.GetName(), name=inputVolume.GetName()))
    return np.asarray(voxels > 0, dtype=np.uint8)


def stateOf(volumeNode) -> tuple | None:
    """Changes when the voxels or where they lie change; cheap."""
    if volumeNode is None or volumeNode.GetImageData() is None:
        return None
    return volumeNode.GetID(), volumeNode.GetImageData().GetMTime(), affineOf(volumeNode).tobytes()


def updateVolumeFromScan(volumeNode, scan, referenceNode) -> None:
    """Write a scan that lies on the reference volume's lattice into a node, which gets that geometry and parent.

    Raises:
        ValueError: if the scan lies elsewhere; its voxels would be shown in the wrong place.
    """
    if not np.allclose(scan.affine, affineOf(referenceNode), atol=1e-3):
        raise ValueError(f"The result does not lie on the lattice of {referenceNode.GetName()}.")
    updateVolumeFromArray(volumeNode, scan.data, referenceNode)


def updateVolumeFromArray(volumeNode, data: np.ndarray, referenceNode, isOwned: bool = False) -> None:
    """Write an array (i, j, k) on the reference volume's lattice into a node, which gets that geometry and parent.

    Args:
        isOwned: see ``imageOf``.

    Raises:
        ValueError: if it has another shape.
    """
    if data.shape != referenceNode.GetImageData().GetDimensions():
        raise ValueError(f"The result does not lie on the lattice of {referenceNode.GetName()}.")
    matrix = vtk.vtkMatrix4x4()
    referenceNode.GetIJKToRASMatrix(matrix)
    with slicer.util.NodeModify(volumeNode):
        volumeNode.SetAndObserveImageData(imageOf(data, isOwned))
        volumeNode.SetIJKToRASMatrix(matrix)
        volumeNode.SetAndObserveTransformNodeID(referenceNode.GetTransformNodeID())


def imageOf(data: np.ndarray, isOwned: bool = False) -> vtk.vtkImageData:
    """An array (i, j, k) as VTK's float32 voxels.

    Args:
        isOwned: nobody else will use the array: if it is float32 in Fortran order, i fastest, as VTK keeps voxels, its
            memory becomes the image's. For large volumes the copy takes long enough to be felt in a window.
    """
    voxels = np.ascontiguousarray(data.transpose(2, 1, 0), dtype=np.float32)
    scalars = numpy_support.numpy_to_vtk(voxels.reshape(-1), deep=not (isOwned and np.shares_memory(voxels, data)))
    scalars.SetName("ImageScalars")
    image = vtk.vtkImageData()
    image.SetDimensions(data.shape)
    image.GetPointData().SetScalars(scalars)
    return image


def markSynthetic(volumeNode, provenance: Mapping) -> None:
    """Write on the node that it is synthetic and how it was made.

    The attributes ``DualGlow.Synthetic``, ``DualGlow.Age``, … are saved with the scene. Keys become CamelCase, lists
    and mappings JSON; ``DualGlow.Provenance`` holds all of it as JSON, for ``provenanceOf``.
    """
    with slicer.util.NodeModify(volumeNode):
        volumeNode.SetAttribute("DualGlow.Synthetic", "true")
        volumeNode.SetAttribute("DualGlow.Provenance", json.dumps(dict(provenance), default=_plain))
        for key, value in provenance.items():
            name = "".join(part[:1].upper() + part[1:] for part in str(key).split("_"))
            volumeNode.SetAttribute(f"DualGlow.{name}", _attributeText(value))


def provenanceOf(node) -> dict:
    """What ``markSynthetic`` wrote on it, numbers as numbers and lists as lists; empty if it wrote nothing."""
    return json.loads(node.GetAttribute("DualGlow.Provenance") or "{}")


def _plain(value):
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _attributeText(value) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:.10g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)
