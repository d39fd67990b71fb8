"""The window's section on the result: which of its images lies over the MRI, its colours, the table of regions."""

import slicer
from slicer.i18n import tr as _

from DualGlowSlicerLib.choosers import Chooser

from ..nodes import display, results
from . import agreement

__all__ = ["ResultPanel"]

_TITLES = {
    "mean": lambda: _("mean"),
    "sample": lambda: _("sample number"),
    "sd": lambda: _("standard deviation"),
    "below": lambda: _("probability below SUVR …"),
    "low": lambda: _("sample at a region's 5 %"),
    "high": lambda: _("sample at a region's 95 %"),
    "change": lambda: _("change since age … (SUVR)"),
    "percent": lambda: _("change since age … (%)"),
}

_UPTAKE = ("mean", "sample", *results.BOUNDS)
"""What is shown in the colours and the window that the user chooses."""


class ResultPanel:
    def __init__(self, window) -> None:
        self._window, self._ui = window, window.ui
        self._shown = Chooser(self._ui.shownBox, lambda value: window.choose("shown", value))
        self._region = Chooser(self._ui.regionBox, lambda value: window.choose("region", value))
        self._colors = Chooser(self._ui.colorBox, self._onStyle)
        self._ui.opacitySlider.connect("valueChanged(double)", self._onOpacity)
        self._ui.thresholdSlider.connect("valueChanged(double)", self._onStyle)
        self._ui.windowWidget.connect("valuesChanged(double,double)", self._onStyle)
        self._isShowing = False
        self._table = self._content = None
        self._ui.regionsView.verticalHeader().visible = False  # numbers of rows say nothing, and need room
        styles = (self._ui.opacitySlider, self._ui.colorBox, self._ui.windowWidget, self._ui.thresholdSlider)
        self._styles = [(widget, widget.toolTip) for widget in styles]

    def show(self, parameters) -> None:
        """Follow the nodes: what the output's display says, and which parts there are."""
        output, shown = parameters.outputVolume, parameters.shown
        there = output is not None and output.GetImageData() is not None
        self.showStyles(parameters)
        self._shown.fill([(title(), kind) for kind, title in _TITLES.items() if self._isOffered(kind)])
        self._shown.show(shown)
        self._region.fill((name.replace("_", " "), name) for name in self._window.run.regions())
        self._region.show(parameters.region)
        ui = self._ui
        ui.sampleLabel.visible = ui.sampleBox.visible = shown == "sample"
        ui.sampleBox.maximum = max(parameters.samples, 1)
        ui.regionLabel.visible = ui.regionBox.visible = shown in results.BOUNDS
        ui.sinceLabel.visible = ui.sinceBox.visible = shown in results.CHANGE_WINDOWS
        ui.belowLabel.visible = ui.belowBox.visible = shown == "below"
        table = results.resultOf(output, "changeTable") if shown in results.CHANGE_WINDOWS else None
        self._showTable(table or results.resultOf(output, "table"))
        if not there or output.GetDisplayNode() is None:
            return
        style = output.GetDisplayNode()
        self._isShowing = True
        try:
            self._colors.fill(display.colorMaps().items())
            self._colors.show(style.GetColorNodeID())
            self._ui.windowWidget.setValues(style.GetWindowLevelMin(), style.GetWindowLevelMax())
            self._ui.thresholdSlider.value = style.GetLowerThreshold()
            views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
            over = [view.GetForegroundOpacity() for view in views if display.isOurs(view)]
            if over:
                self._ui.opacitySlider.value = over[0]
        finally:
            self._isShowing = False

    def showStyles(self, parameters) -> None:
        """What acts on nothing that is shown is disabled, with the reason."""
        output, nodes = parameters.outputVolume, self._window.shownNodes()
        why = ""
        if output is None or output.GetImageData() is None:
            why = _("Press Apply first; there is no synthetic PET yet.")
        elif nodes and agreement.elsewhere(output, nodes):
            why = _("The views show something else.")
        elif parameters.shown not in _UPTAKE:
            why = _("What is shown is no SUVR, and has colours of its own.")
        (opacity, tip), *others = self._styles
        opacity.enabled, opacity.toolTip = bool(nodes) or not why, tip if nodes or not why else why
        for widget, tip in others:
            widget.enabled, widget.toolTip = not why, why or tip

    def _isOffered(self, kind: str) -> bool:
        return kind not in results.CHANGE_WINDOWS or "age" in self._window.model.covariates()

    def forget(self) -> None:
        """The scene is about to be closed."""
        self._showTable(None)

    def _showTable(self, node) -> None:
        """Set only another one: the view would lose its place, and take its time, at each move of a slider."""
        if node is not self._table:
            self._table = node
            self._ui.regionsView.setMRMLTableNode(node)
        content = node.GetTable() if node is not None else None
        if content is not self._content:  # other numbers are wider
            self._content = content
            self._ui.regionsView.resizeColumnsToContents()

    def _onOpacity(self, value: float) -> None:
        if not self._isShowing:
            for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
                if display.isOurs(view):
                    view.SetForegroundOpacity(value)

    def _onStyle(self, *_values) -> None:
        parameters = self._window.parameters
        if self._isShowing or parameters is None or parameters.outputVolume is None:
            return
        window = (self._ui.windowWidget.minimumValue, self._ui.windowWidget.maximumValue)
        output = parameters.outputVolume
        display.styleUptake(output, self._colors.value, window, self._ui.thresholdSlider.value)
        for node in (results.resultOf(output, "sample"), self._window.run.preview.node):
            if node is not None:
                display.styleLike(node, output)
