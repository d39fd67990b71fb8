"""How results are shown: colours, window, threshold, legend, and what lies over the MRI in the slice views."""

import numpy as np
import slicer
from slicer.i18n import tr as _

__all__ = [
    "BACKGROUND",
    "SUVR_WINDOW",
    "addLegend",
    "colorMaps",
    "divergingColors",
    "fitLegends",
    "hideLegends",
    "isOurs",
    "isOver",
    "showLegend",
    "showOverlay",
    "styleChange",
    "styleLike",
    "styleMap",
    "styleProbability",
    "styleSpread",
    "styleUptake",
]

SUVR_WINDOW = (0.0, 2.5)
"""Shown from black to white; the grey matter of a healthy brain lies near 1.5 over the pons."""

BACKGROUND = 0.1
"""SUVR below this is drawn transparent: outside the head the result is 0."""

_LEGEND = (26, 110)
"""Width and height of a legend, pixels: its bar and its letters are to be read, and to leave the brain free."""

_HEAT = "vtkMRMLPETProceduralColorNodePET-Heat"
_COLOR_MAPS = (
    ("Inferno", "vtkMRMLColorTableNodeFileInferno.txt"),
    ("PET-Heat", _HEAT),
    ("PET-Rainbow", "vtkMRMLPETProceduralColorNodePET-Rainbow"),
    ("Grey", "vtkMRMLColorTableNodeGrey"),
)


def colorMaps() -> dict[str, str]:
    """Title and node ID of each colour map that is offered and that this scene has."""
    return {title: identity for title, identity in _COLOR_MAPS if slicer.mrmlScene.GetNodeByID(identity)}


def _default() -> str:
    return next(iter(colorMaps().values()), _HEAT)


def _displayOf(volumeNode):
    """Its display node; a new one without automatic window, whose histogram of all voxels would be felt."""
    if volumeNode.GetDisplayNode() is None:
        display = slicer.vtkMRMLScalarVolumeDisplayNode()
        display.SetSaveWithScene(volumeNode.GetSaveWithScene())
        display.AutoWindowLevelOff()
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
        volumeNode.SetAndObserveDisplayNodeID(slicer.mrmlScene.AddNode(display).GetID())
    return volumeNode.GetDisplayNode()


def _style(volumeNode, colorNodeID: str, window: tuple[float, float], threshold: float) -> None:
    display = _displayOf(volumeNode)
    with slicer.util.NodeModify(display):
        display.SetAndObserveColorNodeID(colorNodeID)
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(*window)
        display.SetThreshold(threshold, 1e6)  # only the lower end hides anything
        display.ApplyThresholdOn()


def styleUptake(volumeNode, colorNodeID: str | None = None, window=SUVR_WINDOW, threshold: float = BACKGROUND) -> None:
    """As a PET in SUVR.

    Inferno by default where the scene has it: PET-Heat spends its red and orange below SUVR 0.7, so that grey and white
    matter look alike.
    """
    _style(volumeNode, colorNodeID or _default(), window, threshold)


def styleSpread(volumeNode) -> None:
    """As a standard deviation in SUVR: a fifth of the uptake's window."""
    _style(volumeNode, _default(), (0.0, SUVR_WINDOW[1] / 5), 0.005)


def styleProbability(volumeNode) -> None:
    """As a probability, 0 to 1; what is never below the threshold is transparent."""
    _style(volumeNode, _default(), (0.0, 1.0), 0.01)


def styleMap(volumeNode, colorNodeID: str, window: float) -> None:
    """As a map of differences, from minus to plus ``window``; what is not drawn is up to the colours."""
    display = _displayOf(volumeNode)
    with slicer.util.NodeModify(display):
        display.SetAndObserveColorNodeID(colorNodeID)
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(-window, window)
        display.ApplyThresholdOff()


_WHITE = (1.0, 1.0, 1.0)
_BLUE_RED = ((0.0, 0.0, 1.0), _WHITE, _WHITE, (1.0, 0.0, 0.0))
_SATURATED = ((0.0, 0.05, 0.85), (0.55, 0.9, 1.0), (1.0, 0.9, 0.5), (0.85, 0.0, 0.0))  # over grey, small changes show


def divergingColors(tag: str, name: str, transparent: float, colors=_BLUE_RED):
    """From one colour to another, and nothing about the middle; saved with the scene.

    A table, as procedural colours have no opacity; of a table's, slice views know two: none, and any.

    Args:
        tag: by which the scene's only node is found.
        name: of a new one.
        transparent: share of the window, around 0, that is not drawn.
        colors: at the lower end, just below the middle, just above it, at the upper end.
    """
    node = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLColorTableNode")
    if node is None:
        node = slicer.vtkMRMLColorTableNode()
        node.SetSingletonTag(tag)
        node.SetName(name)
        node.SetTypeToUser()
        node.SetNumberOfColors(256)
        for number, place in enumerate(np.linspace(-1, 1, 256).tolist()):
            end, middle = (colors[3], colors[2]) if place > 0 else (colors[0], colors[1])
            color = [abs(place) * at + (1 - abs(place)) * from_ for at, from_ in zip(end, middle, strict=True)]
            node.SetColor(number, f"{place:+.2f}", *color, float(abs(place) >= transparent))
        node = slicer.mrmlScene.AddNode(node)
    return node


def styleChange(volumeNode, window: float) -> None:
    """As a change between ages: colours of its own, that also draw a tenth of the window."""
    colors = divergingColors("DualGlowChange", _("DualGlow change since an age"), 0.1, _SATURATED)
    styleMap(volumeNode, colors.GetID(), window)


def styleLike(volumeNode, other) -> None:
    """With the colours, window and threshold of another volume."""
    display = _displayOf(other)
    window = (display.GetWindowLevelMin(), display.GetWindowLevelMax())
    _style(volumeNode, display.GetColorNodeID(), window, display.GetLowerThreshold())


def showOverlay(volumeNode, t1Node, opacity: float | None = None) -> None:
    """Draw a volume over the T1 in every slice view; ``opacity`` None keeps that of a synthetic one, or takes 0.5.

    Views that show the T1 already keep their place and zoom.
    """
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    shown = [view for view in views if view.GetBackgroundVolumeID() == t1Node.GetID()]
    if opacity is None:
        over = [view.GetForegroundOpacity() for view in shown if isOurs(view)]
        opacity = over[0] if over else 0.5
    slicer.util.setSliceViewerLayers(
        background=t1Node, foreground=volumeNode, foregroundOpacity=opacity, fit=len(shown) < len(views)
    )


def isOver(volumeNode) -> bool:
    """Whether a slice view has the volume in its foreground."""
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return any(view.GetForegroundVolumeID() == volumeNode.GetID() for view in views)


def isOurs(view) -> bool:
    """Whether what a slice view has in its foreground is synthetic."""
    node = slicer.mrmlScene.GetNodeByID(view.GetForegroundVolumeID() or "")
    return node is not None and node.GetAttribute("DualGlow.Synthetic") == "true"


def _colorLogic():
    colors = getattr(slicer.modules, "colors", None)
    return colors.logic() if colors else None


def showLegend(volumeNode, unit: str) -> None:
    """A colour legend with the unit over the slice views, for this volume alone."""
    hideLegends()
    addLegend(volumeNode, unit)


def addLegend(volumeNode, unit: str) -> None:
    """The same beside those of other volumes; a view draws those of the volumes that it shows.

    One for each slice view: Slicer gives sizes, and with them those of letters, as shares of a view.
    """
    logic = _colorLogic()
    if logic is None:
        return
    shown = _displayOf(volumeNode)
    hasFullTenths = all(abs(10 * end - round(10 * end)) < 1e-6 for end in (shown.GetWindow() / 2, shown.GetLevel()))
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        legend = _legendIn(view, volumeNode, logic)
        with slicer.util.NodeModify(legend):
            legend.SetTitleText(unit)  # that it is synthetic, the view says at its top
            legend.SetLabelFormat("%.1f" if hasFullTenths else "%.2f")
            legend.SetNumberOfLabels(3)
            legend.SetPosition(0.99, 0.02)
            legend.SetSaveWithScene(volumeNode.GetSaveWithScene())
            legend.SetVisibility(True)
            _fit(legend, view)


def _legendIn(view, volumeNode, logic):
    """The volume's legend for this view alone."""
    others = [volumeNode.GetNthDisplayNode(number) for number in range(volumeNode.GetNumberOfDisplayNodes())]
    legends = [node for node in others if node is not None and node.IsA("vtkMRMLColorLegendDisplayNode")]
    free = [node for node in legends if node.GetNumberOfViewNodeIDs() == 0]  # a scene of an earlier version
    legend = next((node for node in legends if view.GetID() in node.GetViewNodeIDs()), free[0] if free else None)
    if legend is None and not legends:
        legend = logic.AddDefaultColorLegendDisplayNode(volumeNode)
    elif legend is None:
        legend = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorLegendDisplayNode")
        legend.SetAndObservePrimaryDisplayNode(_displayOf(volumeNode))
        volumeNode.AddAndObserveDisplayNodeID(legend.GetID())
    if not legend.GetNumberOfViewNodeIDs():
        legend.AddViewNodeID(view.GetID())
    return legend


def _fit(legend, view) -> None:
    width, height, _slices = view.GetDimensions()
    legend.SetSize(_LEGEND[0] / max(width, 150), _LEGEND[1] / max(height, 150))


def fitLegends(view) -> None:
    """Legends of synthetic volumes in a slice view that has another size now."""
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
        if view.GetID() in legend.GetViewNodeIDs() and _isOfOurs(legend):
            _fit(legend, view)


def _isOfOurs(legend) -> bool:
    shown = legend.GetDisplayableNode()
    return shown is not None and shown.GetAttribute("DualGlow.Synthetic") == "true"


def hideLegends() -> None:
    """Those of synthetic volumes; two on one view cover each other."""
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
        if _isOfOurs(legend):
            legend.SetVisibility(False)
