"""A result of the worker as nodes of the scene: beside the MRI, marked synthetic, the same nodes every time."""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from DualGlowLib import InputError
from DualGlowLib.worker.replies import Sampled
from DualGlowSlicerLib import volumes

from . import belonging, display

__all__ = ["RESULTS", "partsOf", "placeBeside", "resultOf", "showResult", "updateTable", "writeResult", "writeSample"]

RESULTS = ("mean", "sample", "sd", "below")
"""What can lie over the MRI; the mean is the output itself, which refers to the others."""

_REFERENCES = {"sample": "DualGlow.Sample", "sd": "DualGlow.SD", "below": "DualGlow.Below", "table": "DualGlow.Regions"}
_RESULT = "DualGlow.Result"  # from a part to its mean
_STYLES = {"sample": display.styleUptake, "sd": display.styleSpread, "below": display.styleProbability}


def resultOf(outputVolume, kind: str):
    """The node that holds this part of a result (``RESULTS`` or ``table``), or None.

    A copy of a result refers to the parts of the original, which are none of its own.
    """
    if outputVolume is None or kind == "mean":
        return outputVolume
    node = outputVolume.GetNodeReference(_REFERENCES[kind])
    if node is None or not node.GetAttribute(_RESULT):  # scenes of earlier versions
        return node
    return node if node.GetNodeReference(_RESULT) is outputVolume else None


def _setResultOf(outputVolume, kind: str, node) -> None:
    """Make a node the part of this kind, or let there be none."""
    outputVolume.SetNodeReferenceID(_REFERENCES[kind], node.GetID() if node is not None else None)
    if node is not None:
        node.SetAttribute(_RESULT, belonging.identityOf(outputVolume))  # stays when the mean is deleted
        node.SetNodeReferenceID(_RESULT, outputVolume.GetID())


def partsOf(outputVolume) -> list:
    """The volumes of a result that there are, the mean first."""
    return [node for node in (resultOf(outputVolume, kind) for kind in RESULTS) if node is not None]


def writeResult(inputVolume, outputVolume, made: Sampled, below: float | None, isOwned: bool = False):
    """Write what ``sample`` gave; nodes are made where there are none, and kept where there are.

    Args:
        outputVolume: the node for the mean: one without voxels, or a former result of the same input; a new one if
            None.
        made: with arrays on the input's lattice, indexed i, j, k; None for what there is not, whose node of an earlier
            result goes.
        below: the SUVR that the array ``below`` is about.
        isOwned: whether the arrays' memory may become the nodes', see ``volumes.imageOf``.

    Returns:
        The output volume.

    Raises:
        InputError: for an output that holds another image, or was made from another input; nothing was changed.
    """
    reason = belonging.reasonAgainstOutput(outputVolume, inputVolume)
    if reason:
        raise InputError(reason)
    name = _("{name} synthetic FDG").format(name=belonging.patientTitle(inputVolume))
    isNew = outputVolume is None or outputVolume.GetImageData() is None
    provenance = made.provenance
    outputVolume = _write(outputVolume, name, made.mean, inputVolume, provenance, isOwned)
    if isNew:
        display.styleUptake(outputVolume)
    titles = {"sd": _("{name} SD"), "below": _("{name} below threshold")}
    for kind, title in titles.items():
        partName = title.format(name=outputVolume.GetName())
        about = {**provenance, "BelowSUVR": below} if kind == "below" else provenance
        _writePart(outputVolume, kind, partName, getattr(made, kind), inputVolume, about, isOwned)
    _writePart(outputVolume, "sample", "", None, inputVolume, provenance)  # it was one of another result
    _writeRegions(outputVolume, made.regions, inputVolume, provenance)
    return outputVolume


def writeSample(inputVolume, outputVolume, array: np.ndarray, number: int, provenance: dict, isOwned: bool = False):
    """Write one sample of a result; gives its node. ``isOwned``: see ``volumes.imageOf``."""
    name = _("{name} sample").format(name=outputVolume.GetName())
    about = {**provenance, "SampleNumber": number}
    node = _writePart(outputVolume, "sample", name, array, inputVolume, about, isOwned)
    display.styleLike(node, outputVolume)
    return node


def showResult(outputVolume, inputVolume, kind: str, opacity: float | None = None) -> None:
    """Draw this part of a result over the MRI, with its legend; the mean if there is no such part."""
    node = resultOf(outputVolume, kind) or outputVolume
    display.showOverlay(node, inputVolume, opacity)
    threshold = volumes.provenanceOf(node).get("BelowSUVR")
    text = "?" if threshold is None else f"{threshold:g}"  # a scene of an earlier version
    units = {"sd": _("SD of SUVR"), "below": _("P(SUVR < {threshold})").format(threshold=text)}
    display.showLegend(node, units.get(kind, "SUVR") if node is not outputVolume else "SUVR")


def _writePart(outputVolume, kind: str, name: str, array, inputVolume, provenance: dict, isOwned: bool = False):
    node = resultOf(outputVolume, kind)
    if array is None:
        if node is not None:
            slicer.mrmlScene.RemoveNode(node)
        _setResultOf(outputVolume, kind, None)
        return None
    isNew = node is None
    node = _write(node, name, array, inputVolume, {**provenance, "Content": kind}, isOwned)
    if isNew:
        _STYLES[kind](node)
    _setResultOf(outputVolume, kind, node)
    return node


def _write(volume, name: str, array: np.ndarray, inputVolume, provenance: dict, isOwned: bool):
    if volume is None:
        unique = slicer.mrmlScene.GenerateUniqueName(name)
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", unique)
    volumes.updateVolumeFromArray(volume, array, inputVolume, isOwned)
    volumes.markSynthetic(volume, provenance)
    belonging.claim(volume, inputVolume)
    if provenance.get("Content") != "below":  # which is a probability
        volume.SetVoxelValueQuantity(_coded("C139818", "NCIt", "Standardized uptake value ratio (synthetic)"))
    volume.SetVoxelValueUnits(_coded("{ratio}", "UCUM", "ratio"))
    placeBeside(volume, inputVolume)
    return volume


def _coded(value: str, scheme: str, meaning: str):
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(value, scheme, meaning)
    return entry


def placeBeside(node, inputVolume) -> None:
    """Under the same parent in the subject hierarchy (the patient's study, for a DICOM series)."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None:
        return
    own, theirs = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(inputVolume)
    if own and theirs:
        hierarchy.SetItemParent(own, hierarchy.GetItemParent(theirs))


def _writeRegions(outputVolume, regions: list, inputVolume, provenance: dict) -> None:
    table = resultOf(outputVolume, "table")
    if table is None:
        name = _("{name} regions").format(name=outputVolume.GetName())
        table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", slicer.mrmlScene.GenerateUniqueName(name))
    _setResultOf(outputVolume, "table", table)
    rows = [[row["region"].replace("_", " "), *(row[key] for key in ("mean", "low", "high"))] for row in regions]
    updateTable(table, [_("Region"), _("SUVR"), _("5 %"), _("95 %")], rows)
    volumes.markSynthetic(table, {**provenance, "Content": "regions"})
    belonging.claim(table, inputVolume)
    placeBeside(table, outputVolume)


def updateTable(tableNode, titles: list[str], rows: list[list]) -> None:
    """Fill a table node: text columns as they are, numbers with three decimals, None as an empty cell."""
    table = vtk.vtkTable()
    for column, title in enumerate(titles):
        values = vtk.vtkStringArray()
        values.SetName(title)
        for row in rows:
            value = row[column]
            values.InsertNextValue("" if value is None else value if isinstance(value, str) else f"{value:.3f}")
        table.AddColumn(values)
    tableNode.SetAndObserveTable(table)
    tableNode.SetUseColumnTitleAsColumnHeader(True)
    tableNode.Modified()
