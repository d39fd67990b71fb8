"""A result of the worker as nodes of the scene: beside the MRI, marked synthetic, the same nodes every time."""

from functools import partial

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from DualGlowLib import InputError
from DualGlowLib.worker.replies import Changed, Sampled
from DualGlowSlicerLib import volumes

from . import belonging, display

__all__ = [
    "BOUNDS",
    "CHANGE_WINDOWS",
    "RESULTS",
    "partsOf",
    "placeBeside",
    "resultOf",
    "showResult",
    "updateTable",
    "writeChange",
    "writeResult",
    "writeSample",
]

RESULTS = ("mean", "sample", "sd", "below", "change", "percent")
"""The volumes of a result; the mean is the output itself, which refers to the others."""

BOUNDS = {"low": "5 %", "high": "95 %"}
"""Two more that can be shown: the sample nearest to a bound of a region's interval."""

CHANGE_WINDOWS = {"change": 0.2, "percent": 15.0}
"""SUVR and per cent: changes from minus to plus this are told apart by colour."""

_REFERENCES = {
    **dict.fromkeys(("sample", *BOUNDS), "DualGlow.Sample"), "sd": "DualGlow.SD", "below": "DualGlow.Below",
    "change": "DualGlow.Change", "percent": "DualGlow.ChangePercent", "table": "DualGlow.Regions",
    "changeTable": "DualGlow.ChangeRegions",
}  # fmt: skip
_RESULT = "DualGlow.Result"  # from a part to its mean
_STYLES = {
    "sample": display.styleUptake,
    "sd": display.styleSpread,
    "below": display.styleProbability,
    **{kind: partial(display.styleChange, window=window) for kind, window in CHANGE_WINDOWS.items()},
}


def resultOf(outputVolume, kind: str):
    """The node that holds this part of a result (``RESULTS``, ``BOUNDS``, ``table`` or ``changeTable``), or None.

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
    for kind in ("sample", "change", "percent"):  # they were those of another result
        _writePart(outputVolume, kind, "", None, inputVolume, provenance)
    _removeChangeTable(outputVolume)
    _writeRegions(outputVolume, made.regions, inputVolume, provenance)
    return outputVolume


def writeSample(
    inputVolume,
    outputVolume,
    array: np.ndarray,
    number: int,
    provenance: dict,
    isOwned: bool = False,
    near: dict | None = None,
):
    """Write one sample of a result; gives its node.

    Args:
        isOwned: see ``volumes.imageOf``.
        near: provenance's keys ``NearestTo`` and ``Region``, if that is why this sample was chosen.
    """
    name = _("{name} sample").format(name=outputVolume.GetName())
    about = {**provenance, "SampleNumber": number, **(near or {})}
    node = _writePart(outputVolume, "sample", name, array, inputVolume, about, isOwned)
    display.styleLike(node, outputVolume)
    return node


def writeChange(inputVolume, outputVolume, made: Changed, isOwned: bool = False) -> None:
    """Write what has changed since another age, in SUVR and in per cent, and the regions' means as a table."""
    about = made.provenance
    titles = {"change": _("{name} change since {age:g}"), "percent": _("{name} change since {age:g} (%)")}
    for kind, array in (("change", made.difference), ("percent", made.percent)):
        name = titles[kind].format(name=outputVolume.GetName(), age=about["SinceAge"])
        units = {**about, "Units": "SUVR" if kind == "change" else "%"}
        _writePart(outputVolume, kind, name, array, inputVolume, units, isOwned).SetName(name)
    rows = [
        [row["region"].replace("_", " "), row["mean"], *(_signed(row[key], form) for key, form in _CHANGES.items())]
        for row in made.regions
    ]
    titles = [_("Region"), _("SUVR"), _("change"), "%"]
    _writeTable(outputVolume, "changeTable", _("{name} regions, change"), titles, rows, inputVolume, about)


_CHANGES = {"change": "+.3f", "percent": "+.1f"}


def _signed(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def showResult(outputVolume, inputVolume, kind: str, opacity: float | None = None) -> None:
    """Draw this part of a result over the MRI, with its legend; the mean if there is no such part."""
    node = resultOf(outputVolume, kind) or outputVolume
    display.showOverlay(node, inputVolume, opacity)
    threshold = volumes.provenanceOf(node).get("BelowSUVR")
    text = "?" if threshold is None else f"{threshold:g}"  # a scene of an earlier version
    units = {"sd": _("SD"), "below": _("P(<{threshold})").format(threshold=text)}
    units |= {"change": _("change"), "percent": "%"}
    display.showLegend(node, units.get(kind, "SUVR") if node is not outputVolume else "SUVR")


def _removeChangeTable(outputVolume) -> None:
    table = resultOf(outputVolume, "changeTable")
    if table is not None:
        slicer.mrmlScene.RemoveNode(table)
    _setResultOf(outputVolume, "changeTable", None)


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
    if provenance.get("Content") not in ("below", "percent"):  # a probability, and per cent
        volume.SetVoxelValueQuantity(_coded("C139818", "NCIt", "Standardized uptake value ratio (synthetic)"))
    isPercent = provenance.get("Content") == "percent"
    volume.SetVoxelValueUnits(_coded("%", "UCUM", "percent") if isPercent else _coded("{ratio}", "UCUM", "ratio"))
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
    keys, titles = ["mean", "low", "high"], [_("Region"), _("SUVR"), *BOUNDS.values()]
    if any(row.get("low_all") is not None for row in regions):  # of a calibrated model
        keys, titles = (
            [*keys, "low_all", "high_all"],
            [*titles, *(_("all {bound}").format(bound=b) for b in BOUNDS.values())],
        )
    rows = [[row["region"].replace("_", " "), *(row.get(key) for key in keys)] for row in regions]
    _writeTable(outputVolume, "table", _("{name} regions"), titles, rows, inputVolume, provenance)


def _writeTable(outputVolume, kind: str, title: str, titles: list, rows: list, inputVolume, provenance: dict) -> None:
    table = resultOf(outputVolume, kind)
    if table is None:
        name = title.format(name=outputVolume.GetName())
        table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", slicer.mrmlScene.GenerateUniqueName(name))
    _setResultOf(outputVolume, kind, table)
    updateTable(table, titles, rows)
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
