"""What belongs to which MRI: a result, and what the user said of the patient, belong to one input volume for ever."""

import json
import re
import uuid

import slicer
from slicer.i18n import tr as _

from DualGlowSlicerLib import volumes

from ..parameters import UNSAID

__all__ = [
    "belongsTo",
    "choose",
    "claim",
    "identityOf",
    "inputOf",
    "isAbout",
    "isClaimed",
    "patientTitle",
    "reasonAgainstOutput",
    "recall",
    "remember",
    "resultFor",
    "scanName",
    "setAbout",
]

_IDENTITY = "DualGlow.Identity"
_INPUT = "DualGlow.Input"
_INPUT_IDENTITY = "DualGlow.InputIdentity"
_INPUT_NAME = "DualGlow.InputName"
_PATIENT = "DualGlow.Patient"
_COVARIATES = "DualGlow.Covariates"
_NODES = {"maskVolume": "DualGlow.Mask", "petVolume": "DualGlow.Pet", "outputVolume": "DualGlow.Output"}


def identityOf(volumeNode) -> str:
    """Its identity, which it gets when first asked for and which is saved with it; "" for None.

    A node's ID is none: after the scene was closed, and in another scene, other nodes have the same. A copy of a node
    has the original's, and so has the node of a scene that was added twice: within a scene compare nodes too.
    """
    if volumeNode is None:
        return ""
    if not volumeNode.GetAttribute(_IDENTITY):
        volumeNode.SetAttribute(_IDENTITY, uuid.uuid4().hex)
    return volumeNode.GetAttribute(_IDENTITY)


def claim(node, inputVolume) -> None:
    """Write on a node which input it was made from."""
    with slicer.util.NodeModify(node):
        node.SetNodeReferenceID(_INPUT, inputVolume.GetID())
        node.SetAttribute(_INPUT_IDENTITY, identityOf(inputVolume))
        node.SetAttribute(_INPUT_NAME, patientTitle(inputVolume))


def isClaimed(node) -> bool:
    """Whether it is written on a node which input it was made from."""
    return node.GetNodeReferenceID(_INPUT) is not None or node.GetAttribute(_INPUT_IDENTITY) is not None


def inputOf(node):
    """The input that a node was made from; None if it was made from none, or that one is no longer in the scene."""
    inputVolume = node.GetNodeReference(_INPUT) if node is not None else None
    if inputVolume is None:
        return None
    known = node.GetAttribute(_INPUT_IDENTITY)  # scenes of earlier versions have none
    return inputVolume if not known or known == inputVolume.GetAttribute(_IDENTITY) else None


def belongsTo(node, inputVolume) -> bool:
    """Whether a node was made from this input."""
    return node is not None and inputVolume is not None and inputOf(node) is inputVolume


def scanName(node) -> str:
    """Of whom a node made by DualGlow is: its input's title, also after the input was deleted."""
    inputVolume = inputOf(node)
    if inputVolume is not None:
        return patientTitle(inputVolume)
    return node.GetAttribute(_INPUT_NAME) or volumes.provenanceOf(node).get("Source") or node.GetName()


def patientTitle(inputVolume) -> str:
    """The volume's name; with the patient's before it where the subject hierarchy has one, as it has for DICOM."""
    name = inputVolume.GetName() or ""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(inputVolume) if hierarchy is not None else 0
    patient = hierarchy.GetItemAncestorAtLevel(item, "Patient") if item else 0
    patientName = hierarchy.GetItemName(patient) if patient else ""
    isNamed = re.search(rf"(?<!\w){re.escape(patientName)}(?!\w)", name)  # the patient "1" isn't named in "T1"
    return f"{patientName}, {name}" if patientName and not isNamed else name


def resultFor(inputVolume):
    """The result that the input's next one is written to: the one last used, else its newest; None if it has none."""
    if inputVolume is None:
        return None
    last = inputVolume.GetNodeReference(_NODES["outputVolume"])
    if last is not None and _isResult(last, inputVolume):
        return last
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next((node for node in reversed(nodes) if _isResult(node, inputVolume)), None)


def choose(inputVolume, outputVolume) -> None:
    """Make a result the one that ``resultFor`` gives."""
    inputVolume.SetNodeReferenceID(_NODES["outputVolume"], outputVolume.GetID())


def _isResult(node, inputVolume) -> bool:
    """Whether it is a mean that was made from this input: no part of a result, and not what a sweep shows."""
    if not volumes.isSynthetic(node) or not belongsTo(node, inputVolume):
        return False
    isSwept = inputVolume.GetNodeReference("DualGlow.SweepPet") is node
    return not isSwept and volumes.provenanceOf(node).get("Content", "mean") == "mean"


def reasonAgainstOutput(outputVolume, inputVolume) -> str:
    """Why a result of this input can't be written to a volume, in one sentence; "" if it can.

    Only a volume without voxels, or a former result of the same input, may be written to.
    """
    if outputVolume is None or _isResult(outputVolume, inputVolume):
        return ""
    if outputVolume is inputVolume:
        return _("Choose an output other than the input, which would be overwritten.")
    name = outputVolume.GetName()
    if volumes.isSynthetic(outputVolume):
        if belongsTo(outputVolume, inputVolume):
            return _("{name} is a part of another result; choose a new volume as output.").format(name=name)
        text = _("{name} was made from {other}, not from this MRI; choose a new volume as output.")
        return text.format(name=name, other=scanName(outputVolume))
    if outputVolume.GetImageData() is not None:
        return _("{name} holds another image, which would be overwritten; choose a new volume.").format(name=name)
    return ""


def isAbout(parameters, inputVolume) -> bool:
    """Whether what the parameter node says of a patient is said of this input."""
    known = parameters.parameterNode.GetNodeReference(_PATIENT)  # scenes of earlier versions have none
    return parameters.patient == identityOf(inputVolume) and (known is None or known is inputVolume)


def setAbout(parameters, inputVolume) -> None:
    """What the parameter node says of a patient is said of this input, or of none."""
    parameters.patient = identityOf(inputVolume)
    identity = inputVolume.GetID() if inputVolume is not None else None
    parameters.parameterNode.SetNodeReferenceID(_PATIENT, identity)


def remember(parameters) -> None:
    """Keep what the parameter node says of a patient on the input that it is said of."""
    inputVolume = parameters.parameterNode.GetNodeReference(_PATIENT)
    if inputVolume is None:
        return
    values = {name: getattr(parameters, name) for name in UNSAID}
    with slicer.util.NodeModify(inputVolume):
        inputVolume.SetAttribute(_COVARIATES, json.dumps(values))
        for name, role in _NODES.items():
            node = getattr(parameters, name)
            inputVolume.SetNodeReferenceID(role, node.GetID() if node is not None else None)


def recall(parameters) -> dict:
    """Make the parameter node say of the input's patient what was said before, which it gives.

    All is unknown where nothing was said.
    """
    inputVolume = parameters.inputVolume
    said = _said(inputVolume)
    with slicer.util.NodeModify(parameters):
        for name, unsaid in UNSAID.items():
            try:
                setattr(parameters, name, said.get(name, unsaid))
            except (TypeError, ValueError):  # written by something else
                setattr(parameters, name, unsaid)
        for name, role in _NODES.items():
            setattr(parameters, name, inputVolume.GetNodeReference(role) if inputVolume is not None else None)
        parameters.outputVolume = resultFor(inputVolume)
        setAbout(parameters, inputVolume)
    return said


def _said(inputVolume) -> dict:
    try:
        said = json.loads((inputVolume.GetAttribute(_COVARIATES) if inputVolume is not None else None) or "{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
