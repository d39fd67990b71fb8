"""Curves and bars in Slicer's plot view: one table, its series and a chart, which are not saved with the scene."""

from collections.abc import Mapping, Sequence

import numpy as np
import slicer

__all__ = ["showChart", "updateChart"]

_COLORS = ((0.0, 0.45, 0.70), (0.84, 0.37, 0.0), (0.0, 0.62, 0.45), (0.80, 0.47, 0.65), (0.34, 0.71, 0.91))
_MARK = "DualGlowTraining.Chart"


def _node(className: str, key: str, name: str):
    """The node of this key, made where there is none."""
    for node in slicer.util.getNodesByClass(className):
        if node.GetAttribute(_MARK) == key:
            return node
    node = slicer.mrmlScene.AddNewNodeByClass(className, name)
    node.SetAttribute(_MARK, key)
    node.SetSaveWithScene(False)
    return node


def updateChart(
    key: str, title: str, xTitle: str, yTitle: str, curves: Mapping[str, tuple[Sequence, Sequence]], bars: bool = False
):
    """Make the chart of this key show these curves (x and y by name); gives its node."""
    chart = _node("vtkMRMLPlotChartNode", key, title)
    with slicer.util.NodeModify(chart):
        chart.RemoveAllPlotSeriesNodeIDs()
        for number, (name, (x, y)) in enumerate(curves.items()):
            table = _node("vtkMRMLTableNode", f"{key}/{name}", f"{title}: {name}")
            columns = [np.asarray(x, float), np.asarray(y, float)]
            slicer.util.updateTableFromArray(table, columns, [xTitle, name])
            series = _node("vtkMRMLPlotSeriesNode", f"{key}/{name}", name)
            with slicer.util.NodeModify(series):
                series.SetAndObserveTableNodeID(table.GetID())
                series.SetXColumnName(xTitle)
                series.SetYColumnName(name)
                series.SetPlotType(series.PlotTypeScatterBar if bars else series.PlotTypeScatter)
                series.SetMarkerStyle(series.MarkerStyleCircle if len(x) < 30 else series.MarkerStyleNone)
                series.SetColor(*_COLORS[number % len(_COLORS)])
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
        chart.SetTitle(title)
        chart.SetXAxisTitle(xTitle)
        chart.SetYAxisTitle(yTitle)
    return chart


def showChart(chart) -> None:
    """In the layout's plot view; the layout gets one where it has none."""
    if getattr(slicer.modules, "plots", None):
        slicer.modules.plots.logic().ShowChartInLayout(chart)
