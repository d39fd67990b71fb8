"""What each slice view says of a synthetic overlay: of whom it is, at which age and temperature, and what it shows."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from DualGlowLib.provenance import covariates_of
from DualGlowSlicerLib import volumes

from . import belonging, display

__all__ = ["Marks", "describe", "held", "install", "layersOf", "shownIn"]

_WIDTH = 44
"""Characters in a line of a mark, which has as many as it needs; longer names are cut in the middle."""

_HIDDEN = "DualGlow.Hidden"

_COLOR = (1.0, 0.85, 0.3)


def describe(node) -> str:
    """Lines about a volume that DualGlow made, from what is written on the volume itself; "" for any other."""
    if node is None or not volumes.isSynthetic(node):
        return ""
    about = volumes.provenanceOf(node)
    content, covariates = _content(about), [*_nearest(about), *_covariates(about)]
    said = _filled([content, *covariates])
    said = said if len(said) == 1 else [content, *_filled(covariates)]
    lines = [_("SYNTHETIC FDG, research use only"), belonging.scanName(node), *said]
    return "\n".join(_cut(line) for line in lines if line)


def _content(about: dict) -> str:
    content, samples = about.get("Content", "mean"), about.get("Samples") or 1
    number, below = about.get("SampleNumber"), about.get("BelowSUVR")
    titles = {
        "mean": _("mean of {samples} samples, SUVR").format(samples=samples) if samples > 1 else _("SUVR"),
        "sample": _("sample, SUVR") if number is None else _("sample {number}, SUVR").format(number=number),
        "sd": _("SD of {samples} samples, SUVR").format(samples=samples),
        "below": _("probability of SUVR below {below}").format(below="?" if below is None else f"{below:g}"),
        "change": _("change since age {age}, SUVR").format(age=_plainAge(about)),
        "percent": _("change since age {age}, %").format(age=_plainAge(about)),
        "preview": _("preview, SUVR"),
        "sweep": _("age sweep, SUVR"),
        "montage": _("age sweep, SUVR"),
        "difference": _("acquired PET minus synthetic, SUVR"),
        "z": _("acquired PET minus synthetic, in SD"),
    }
    return titles.get(content, content)


def _plainAge(about: dict) -> str:
    return f"{about['SinceAge']:g}" if "SinceAge" in about else "?"


def _nearest(about: dict) -> list[str]:
    """Why a sample was chosen, if not by its number."""
    if "NearestTo" not in about:
        return []
    text = _("at {bound} of {region}")
    return [text.format(bound=about["NearestTo"], region=about.get("Region", "").replace("_", " "))]


def _covariates(about: dict) -> list[str]:
    """What was said of the person, and the temperature; only the age is named where it is unknown."""
    known = covariates_of(about)
    parts = []
    if "age" in known:
        age = known.pop("age")
        parts.append(_("age unknown") if age is None else _ages(age))
    for name, value in known.items():
        if value is not None:
            text = f"{value:g}" if isinstance(value, float | int) else str(value)
            parts.append(text if name in ("sex", "diagnosis") else f"{name} {text}")
    temperature = about.get("Temperature")
    if temperature is not None:
        values = temperature if isinstance(temperature, list) else [temperature]
        parts.append(_("temperature {value}").format(value=", ".join(f"{value:g}" for value in values)))
    return parts


def _filled(parts: list[str]) -> list[str]:
    """Parts in as few lines as hold them, in their order."""
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}, {part}" if lines else part
        lines[-1:] = [longer] if len(longer) <= _WIDTH or not lines else [lines[-1], part]
    return lines


def _ages(age) -> str:
    if isinstance(age, list):
        return _("ages {first} to {last}").format(first=f"{min(age):g}", last=f"{max(age):g}")
    return _("age {age}").format(age=f"{age:g}")


def _cut(line: str) -> str:
    if len(line) <= _WIDTH:
        return line
    half = (_WIDTH - 1) // 2
    return f"{line[:half]}…{line[-half:]}"


def layersOf(composite) -> list:
    """The volumes that a slice view shows, the foreground before the background."""
    identities = [composite.GetForegroundVolumeID() if composite.GetForegroundOpacity() > 0 else None]
    identities.append(composite.GetBackgroundVolumeID())
    nodes = [slicer.mrmlScene.GetNodeByID(identity) for identity in dict.fromkeys(identities) if identity]
    return [node for node in nodes if node is not None]


def shownIn(composite):
    """The uppermost volume made by DualGlow that a slice view shows; None if none."""
    return next((node for node in layersOf(composite) if volumes.isSynthetic(node)), None)


def _textOver(layers: list) -> str:
    """About the uppermost volume of ours, and about what is shown with it but is not of the same MRI."""
    made = [node for node in layers if volumes.isSynthetic(node)]
    if not made:
        return ""
    lines, inputVolume = [describe(made[0])], belonging.inputOf(made[0])
    for other in layers:
        if volumes.isSynthetic(other):
            lines += describe(other).split("\n")[1:] if other is not made[0] else []
        elif other is not inputVolume and (inputVolume is None or not belonging.belongsTo(other, inputVolume)):
            lines.append(_cut(_("NOT made from {name} shown with it").format(name=belonging.patientTitle(other))))
    if any(other is inputVolume for other in layers) and _isElsewhere(made[0], inputVolume):
        lines.append(_("NOT where the MRI lies now"))
    return "\n".join(lines)


def _isElsewhere(node, inputVolume) -> bool:
    """Whether the MRI was moved after a volume was made from it; previews lie on a grid of their own."""
    if node.GetTransformNodeID() != inputVolume.GetTransformNodeID():
        return True
    isOnLattice = volumes.provenanceOf(node).get("Content") != "preview"
    return isOnLattice and not np.allclose(volumes.affineOf(node), volumes.affineOf(inputVolume), atol=1e-3)


class Marks:
    """Keeps a text at the top of each slice view true, and the colour legends where their volumes are.

    Lives as long as the application, whichever module is shown: a scene may bring an overlay at any time.
    ``onShown()``: called when what the views show, or what is written on it, has changed.
    """

    def __init__(self) -> None:
        self.onShown = None
        self._actors: dict = {}
        self._observed: dict = {}
        self._texts: dict = {}
        self._sizes: dict = {}
        self._isUpdating = False
        self._holders = 0
        self._isStale = False
        scene = slicer.mrmlScene
        events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndImportEvent, scene.EndCloseEvent)
        for event in (*events, scene.EndBatchProcessEvent):
            scene.AddObserver(event, lambda *_: self.update())
        manager = slicer.app.layoutManager()
        if manager is not None:
            manager.connect("layoutChanged(int)", lambda *_: self.update())
        self.update()

    def textIn(self, viewName: str) -> str:
        """What a view says now."""
        return self._texts.get(viewName, "")

    def update(self) -> None:
        """Look at all views, but wait while marks are held."""
        self._isStale = self._holders > 0
        if self._isStale:
            return
        scene, manager = slicer.mrmlScene, slicer.app.layoutManager()
        if self._isUpdating or manager is None or scene.IsBatchProcessing() or scene.IsClosing():
            return
        self._isUpdating = True
        try:
            views = {name: manager.sliceWidget(name) for name in manager.sliceViewNames()}
            composites = {name: view.sliceLogic().GetSliceCompositeNode() for name, view in views.items()}
            composites = {name: node for name, node in composites.items() if node is not None}
            layers = {name: layersOf(node) for name, node in composites.items()}
            shown = {node for nodes in layers.values() for node in nodes}
            made = [node for node in shown if volumes.isSynthetic(node)]
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
            slices = [view.sliceLogic().GetSliceNode() for view in views.values()]
            self._observe([hierarchy, *slices, *composites.values(), *shown, *map(belonging.inputOf, made)])
            texts = {name: _textOver(nodes) for name, nodes in layers.items()}
            self._showLegends(made)
            changed = [name for name, text in texts.items() if self._texts.get(name) != text]
            self._texts = texts
            for name in changed:
                self._write(name, views[name].sliceView(), texts[name])
            if changed:
                # A view looks for its legends only when its own controls change what it shows; this makes it look.
                for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
                    legend.Modified()
        finally:
            self._isUpdating = False
        if changed and self.onShown:
            self.onShown()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Look once, at the end of the block, whatever is written in it; nothing is drawn before that."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if self._isStale:
                self.update()

    def _showLegends(self, made: list) -> None:
        """A view draws the legend of a layer also where its opacity is 0: hide that until the layer is seen."""
        for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
            node = legend.GetDisplayableNode()
            if node is None or not volumes.isSynthetic(node):
                continue
            if node not in made and legend.GetVisibility():
                legend.SetVisibility(False)
                legend.SetAttribute(_HIDDEN, "true")
            elif node in made and legend.GetAttribute(_HIDDEN):
                legend.SetVisibility(True)
                legend.RemoveAttribute(_HIDDEN)

    def _observe(self, nodes: list) -> None:
        wanted = {node.GetID(): node for node in nodes if node is not None and node.GetID()}
        for identity in list(self._observed):
            node, tags = self._observed[identity]
            if wanted.get(identity) is not node:
                for tag in tags:
                    node.RemoveObserver(tag)
                del self._observed[identity]
        for identity, node in wanted.items():
            if identity not in self._observed:
                events = [vtk.vtkCommand.ModifiedEvent]
                if node.IsA("vtkMRMLSubjectHierarchyNode"):  # which has the patients' names
                    events = [node.SubjectHierarchyItemModifiedEvent, node.SubjectHierarchyItemReparentedEvent]
                changed = lambda *_: self.update()  # noqa: E731
                if node.IsA("vtkMRMLSliceNode"):  # which moves with the mouse
                    changed = lambda *_, node=node: self._resized(node)  # noqa: E731
                tags = [node.AddObserver(event, changed) for event in events]
                self._observed[identity] = node, tags

    def _resized(self, view) -> None:
        size = view.GetDimensions()[:2]
        if self._sizes.get(view.GetID()) != size:
            self._sizes[view.GetID()] = size
            display.fitLegends(view)

    def _write(self, name: str, view, text: str) -> None:
        actor = self._actors.get(name)
        if actor is None:
            actor = self._actors[name] = _newActor()
            view.renderWindow().GetRenderers().GetFirstRenderer().AddViewProp(actor)
        actor.SetInput(text)
        actor.SetVisibility(bool(text))
        view.scheduleRender()


def _newActor() -> vtk.vtkTextActor:
    """At the top in the middle: Slicer's own annotations are in the corners."""
    actor = vtk.vtkTextActor()
    actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
    actor.SetPosition(0.5, 0.99)
    style = actor.GetTextProperty()
    style.SetFontSize(12)
    style.SetColor(*_COLOR)
    style.ShadowOn()
    style.SetJustificationToCentered()
    style.SetVerticalJustificationToTop()
    return actor


_installed = None


def install() -> Marks:
    """The application's marks; made when first asked for."""
    global _installed
    if _installed is None:
        _installed = Marks()
    return _installed


def held() -> AbstractContextManager:
    """``Marks.hold`` of the application's marks, if it has any."""
    return _installed.hold() if _installed is not None else nullcontext()
