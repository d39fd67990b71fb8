"""Nodes that are made for an input volume and updated when they are made again: found through its references."""

import slicer

from . import belonging
from .results import placeBeside

__all__ = ["companion", "companionOf", "removeCompanion"]


def companionOf(inputVolume, role: str):
    """The input's node of this role, or None; not one that a copy of an input took over from the original."""
    reference = f"DualGlow.{role}"
    node = inputVolume.GetNodeReference(reference)
    if node is not None and not belonging.isClaimed(node):  # scenes of earlier versions
        owners = slicer.util.getNodesByClass("vtkMRMLVolumeNode")  # the original before its copies
        return node if next(one for one in owners if one.GetNodeReference(reference) is node) is inputVolume else None
    return node if belonging.belongsTo(node, inputVolume) else None


def companion(inputVolume, role: str, className: str, name: str):
    """The input's node of this role; made beside it in the subject hierarchy where there is none."""
    node = companionOf(inputVolume, role)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass(className, slicer.mrmlScene.GenerateUniqueName(name))
        inputVolume.SetNodeReferenceID(f"DualGlow.{role}", node.GetID())
        placeBeside(node, inputVolume)
    belonging.claim(node, inputVolume)
    return node


def removeCompanion(inputVolume, role: str) -> None:
    """Remove the input's node of this role, if there is one."""
    node = companionOf(inputVolume, role)
    if node is not None:
        slicer.mrmlScene.RemoveNode(node)
    inputVolume.SetNodeReferenceID(f"DualGlow.{role}", None)
