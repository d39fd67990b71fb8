"""An age sweep in the scene: the synthetic PETs as a sequence, their region means as a table and a chart."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from DualGlowLib.provenance import with_covariates
from DualGlowLib.worker.replies import Step
from DualGlowSlicerLib import volumes

from . import belonging, display
from .companions import companion, companionOf, removeCompanion
from .results import placeBeside

__all__ = ["SweepNodes", "install", "makeSweep", "mendCharts", "sweepOf"]

PLOTTED = ("posterior_cingulate_precuneus", "medial_frontal", "lateral_temporal_L", "medial_temporal_L")
"""Regions that the chart shows where the model reports them; the table has all."""

_COLORS = ((0.0, 0.45, 0.70), (0.84, 0.37, 0.0), (0.0, 0.62, 0.45), (0.80, 0.47, 0.65))
_ROLES = ("Sweep", "SweepBrowser", "SweepPet", "SweepTable", "SweepChart")


class SweepNodes(NamedTuple):
    """``sequence`` of volumes by age, its ``browser``, the ``proxy`` volume that shows the browser's age, the ``table``
    of region means (a row for each age), and the ``chart`` of some of them.
    """

    sequence: Any
    browser: Any
    proxy: Any
    table: Any
    chart: Any


def sweepOf(inputVolume) -> SweepNodes | None:
    """The sweep that was made for this input, or None if any of its nodes is gone."""
    nodes = SweepNodes(*(companionOf(inputVolume, role) for role in _ROLES))
    return nodes if all(nodes) else None


def makeSweep(
    inputVolume, steps: Iterable[Step], provenance: Mapping, montage: np.ndarray | None = None, isOwned: bool = False
) -> SweepNodes:
    """Write an age sweep into the scene, into the same nodes as the input's last one.

    The proxy and each volume of the sequence are marked synthetic; the proxy has the input's parent transform and takes
    the marks of the age that it shows.

    Args:
        inputVolume: the T1.
        steps: one for each age (years), its ``mean`` an array on the input's lattice, indexed i, j, k; in Fortran order
            it is read fastest.
        provenance: what holds for all ages.
        montage: of all ages, RGB, uint8 (rows from the top, columns, 3): becomes the colour volume that the input
            refers to as ``DualGlow.SweepMontage``.
        isOwned: whether the memory of the steps' arrays may become the sequence's, see ``volumes.imageOf``.

    Raises:
        ValueError: if there is no step, or one lies on another lattice; the scene is as it was.
    """
    steps = sorted(steps, key=lambda step: step.age)
    shape = inputVolume.GetImageData().GetDimensions()
    if not steps or any(step.mean.shape != shape for step in steps):
        raise ValueError(f"A sweep needs ages, each on the lattice of {inputVolume.GetName()}.")
    if montage is not None and (montage.dtype != np.uint8 or montage.ndim != 3 or montage.shape[2] != 3):
        raise ValueError("The montage is no picture of 8-bit colours.")
    name = belonging.patientTitle(inputVolume)
    sequence = companion(inputVolume, "Sweep", "vtkMRMLSequenceNode", _("{name} age sweep").format(name=name))
    browser = companion(
        inputVolume, "SweepBrowser", "vtkMRMLSequenceBrowserNode", _("{name} age sweep browser").format(name=name)
    )
    shown = _shownAge(browser, sequence)
    with slicer.util.NodeModify(browser), slicer.util.NodeModify(sequence):
        _fillSequence(sequence, inputVolume, steps, provenance, isOwned)
        age = provenance.get("Age") if shown is None else shown
        nearest = 0 if age is None else int(np.argmin(np.abs(np.array(_ages(steps)) - age)))
        proxy = _showThrough(browser, sequence, inputVolume, nearest)
    table = companion(inputVolume, "SweepTable", "vtkMRMLTableNode", _("{name} age sweep regions").format(name=name))
    regions = _fillTable(table, steps)
    volumes.markSynthetic(table, {**_atAges(provenance, steps), "Content": "regions"})
    chart = companion(inputVolume, "SweepChart", "vtkMRMLPlotChartNode", _("{name} age sweep chart").format(name=name))
    _fillChart(chart, table, regions, inputVolume)
    _writeMontage(inputVolume, montage, _atAges(provenance, steps))
    return SweepNodes(sequence, browser, proxy, table, chart)


def _ages(steps: list) -> list[float]:
    return [float(step.age) for step in steps]


def _atAges(provenance: Mapping, steps: list) -> dict:
    return with_covariates(provenance, {"age": _ages(steps)})


def _shownAge(browser, sequence) -> float | None:
    """The age that the browser shows, to be shown again."""
    number = browser.GetSelectedItemNumber()
    return float(sequence.GetNthIndexValue(number)) if 0 <= number < sequence.GetNumberOfDataNodes() else None


def _fillSequence(sequence, inputVolume, steps: list, provenance: Mapping, isOwned: bool) -> None:
    sequence.SetIndexName("age")
    sequence.SetIndexUnit("year")
    sequence.SetIndexTypeFromString("numeric")
    volumes.markSynthetic(sequence, {**_atAges(provenance, steps), "Content": "sweep"})
    matrix = vtk.vtkMatrix4x4()
    inputVolume.GetIJKToRASMatrix(matrix)
    wanted = {f"{step.age:g}": step for step in steps}
    known = [sequence.GetNthIndexValue(number) for number in range(sequence.GetNumberOfDataNodes())]
    for value in known:
        if value not in wanted:
            sequence.RemoveDataNodeAtValue(value)
    for value, step in wanted.items():
        # The sequence copies what it is given, so it gets an empty node, and the voxels go into its copy.
        empty = slicer.vtkMRMLScalarVolumeNode()
        empty.SetName(_("{name} synthetic FDG at {age}").format(name=belonging.patientTitle(inputVolume), age=value))
        empty.SetIJKToRASMatrix(matrix)
        volumes.markSynthetic(empty, {**step.provenance, "Content": "sweep"})
        belonging.claim(empty, inputVolume)
        sequence.SetDataNodeAtValue(empty, value).SetAndObserveImageData(volumes.imageOf(step.mean, isOwned))


def _showThrough(browser, sequence, inputVolume, number: int):
    """The proxy volume, which is to show item ``number``.

    It is there and styled before the browser is done with: Slicer would make another one, with a histogram of all
    voxels for its window.
    """
    name = _("{name} synthetic FDG by age").format(name=belonging.patientTitle(inputVolume))
    proxy = companion(inputVolume, "SweepPet", "vtkMRMLScalarVolumeNode", name)
    if proxy.GetDisplayNode() is None:
        display.styleUptake(proxy)
    if not browser.IsSynchronizedSequenceNode(sequence, True):
        browser.AddSynchronizedSequenceNode(sequence)
        browser.SetPlaybackRateFps(2.0)
        browser.SetIndexDisplayFormat("%.4g")
    if browser.GetProxyNode(sequence) is not proxy:
        browser.AddProxyNode(proxy, sequence, False)
    proxy.SetAndObserveTransformNodeID(inputVolume.GetTransformNodeID())
    browser.SetSelectedItemNumber(number)
    placeBeside(proxy, inputVolume)
    return proxy


def _fillTable(table, steps: list) -> list[str]:
    """A row for each age; gives the regions. Intervals that no step has get no column."""
    rows = [{row["region"]: row for row in step.regions} for step in steps]
    regions = list(dict.fromkeys(name for row in rows for name in row))
    columns = {_("Age"): _ages(steps)}
    for region in regions:
        for part in ("mean", "low", "high"):
            values = [row.get(region, {}).get(part) for row in rows]
            if any(value is not None for value in values):
                columns[_column(region, part)] = values
    with slicer.util.NodeModify(table):
        slicer.util.updateTableFromArray(
            table, [np.array(v, dtype=np.float64) for v in columns.values()], list(columns)
        )
    return regions


def _column(region: str, part: str) -> str:
    name = region.replace("_", " ")
    titles = {"mean": name, "low": _("{name} 5 %").format(name=name), "high": _("{name} 95 %").format(name=name)}
    return titles[part]


def mendCharts() -> None:
    """Build every sweep's chart anew that has lost a series, as Slicer loses one when it reads a scene."""
    for inputVolume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        chart, table = companionOf(inputVolume, "SweepChart"), companionOf(inputVolume, "SweepTable")
        if chart is None or table is None or table.GetNumberOfColumns() == 0:
            continue
        columns = [table.GetColumnName(number) for number in range(1, table.GetNumberOfColumns())]
        regions = [name.replace(" ", "_") for name in columns if not name.endswith(" %")]
        series = [chart.GetNthPlotSeriesNode(number) for number in range(chart.GetNumberOfPlotSeriesNodes())]
        shown = [one.GetYColumnName() for one in series if one is not None]
        if shown != [column for column, _color, _isMean in _plotted(table, regions)]:
            _fillChart(chart, table, regions, inputVolume)


_mending = None


def install() -> None:
    """Have charts mended whenever a scene was read, whichever module is shown; once for the application."""
    global _mending
    scene = slicer.mrmlScene
    if _mending is None:
        _mending = scene.AddObserver(scene.EndImportEvent, lambda *_: mendCharts())


def _plotted(table, regions: list[str]) -> list[tuple[str, tuple, bool]]:
    """Of each series its column, its colour, and whether it is a mean."""
    chosen = [region for region in PLOTTED if region in regions]
    chosen = (chosen + [region for region in regions if region not in chosen])[: len(PLOTTED)]
    return [
        (_column(region, part), color, part == "mean")
        for region, color in zip(chosen, _COLORS, strict=False)
        for part in ("mean", "low", "high")
        if table.GetColumnIndex(_column(region, part)) >= 0
    ]


def _fillChart(chart, table, regions: list[str], inputVolume) -> None:
    wanted = _plotted(table, regions)
    existing = [chart.GetNthPlotSeriesNode(number) for number in range(chart.GetNumberOfPlotSeriesNodes())]
    existing = [series for series in existing if series is not None]
    for surplus in existing[len(wanted) :]:
        slicer.mrmlScene.RemoveNode(surplus)
    with slicer.util.NodeModify(chart):
        chart.RemoveAllPlotSeriesNodeIDs()
        for number, (column, color, isMean) in enumerate(wanted):
            series = existing[number] if number < len(existing) else None
            if series is None:
                series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", column)
                belonging.claim(series, inputVolume)
                placeBeside(series, inputVolume)
            _styleSeries(series, table, column, color, isMean)
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
        title = _("{name}: synthetic FDG by age, mean and 90 % interval (dashed)")
        if all(isMean for _title, _color, isMean in wanted):
            title = _("{name}: synthetic FDG by age")
        chart.SetTitle(title.format(name=belonging.patientTitle(inputVolume)))
        chart.SetXAxisTitle(_("Age (years)"))
        chart.SetYAxisTitle(_("Region mean (SUVR)"))
        chart.SetLegendFontSize(9)  # a line for each series, over the chart's upper right


def _styleSeries(series, table, column: str, color: tuple, isMean: bool) -> None:
    with slicer.util.NodeModify(series):
        series.SetName(column)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetPlotType(series.PlotTypeScatter)
        series.SetXColumnName(_("Age"))
        series.SetYColumnName(column)
        series.SetColor(*color)
        series.SetLineStyle(series.LineStyleSolid if isMean else series.LineStyleDash)
        series.SetLineWidth(2.5 if isMean else 1.0)
        series.SetMarkerStyle(series.MarkerStyleCircle if isMean else series.MarkerStyleNone)


def _writeMontage(inputVolume, pixels: np.ndarray | None, provenance: Mapping) -> None:
    if pixels is None:
        removeCompanion(inputVolume, "SweepMontage")  # it would be that of another sweep
        return
    name = _("{name} age sweep montage").format(name=belonging.patientTitle(inputVolume))
    montage = companion(inputVolume, "SweepMontage", "vtkMRMLVectorVolumeNode", name)
    slicer.util.updateVolumeFromArray(montage, pixels[None])
    montage.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)  # upright in an axial view, as pictures are loaded
    volumes.markSynthetic(montage, {**provenance, "Content": "montage"})
