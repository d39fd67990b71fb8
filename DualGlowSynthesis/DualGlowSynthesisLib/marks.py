"""What each slice view says of a synthetic overlay: of whom it is, at which age and temperature, and what it shows."""

import slicer
import vtk
from slicer.i18n import tr as _

from . import belonging, volumes

__all__ = ["Marks", "describe", "install", "shownIn"]

_WIDTH = 44
"""Characters in a line of a mark; longer names are cut in the middle."""

_COLOR = (1.0, 0.85, 0.3)


def describe(node) -> str:
    """Lines about a volume that DualGlow made, from what is written on the volume itself; "" for any other."""
    if node is None or not volumes.isSynthetic(node):
        return ""
    about = volumes.provenanceOf(node)
    said = ", ".join(part for part in (_content(about), _covariates(about)) if part)
    said = [said] if len(said) <= _WIDTH else [_content(about), _covariates(about)]
    lines = [_("SYNTHETIC FDG, research use only"), belonging.scanName(node), *said]
    return "\n".join(_cut(line) for line in lines if line)


def _content(about: dict) -> str:
    content, samples = about.get("Content", "mean"), about.get("Samples") or 1
    number, below = about.get("SampleNumber"), about.get("BelowSUVR")
    titles = {
        "mean": _("mean of {samples} samples, SUVR").format(samples=samples) if samples > 1 else _("SUVR"),
        "sample": _("sample {number}, SUVR").format(number=number),
        "sd": _("SD of {samples} samples, SUVR").format(samples=samples),
        "below": _("probability of SUVR below {below}").format(below="?" if below is None else f"{below:g}"),
        "preview": _("preview, SUVR"),
        "sweep": _("age sweep, SUVR"),
        "montage": _("age sweep, SUVR"),
        "difference": _("real PET minus synthetic, SUVR"),
        "z": _("real PET minus synthetic, in SD"),
    }
    return titles.get(content, content)


def _covariates(about: dict) -> str:
    """Age, sex, diagnosis and temperature; only the age is named where it is unknown."""
    if "Age" not in about:
        return ""
    age = about["Age"]
    parts = [_("age unknown") if age is None else _ages(age)]
    parts += [str(about[name]) for name in ("Sex", "Diagnosis") if about.get(name) is not None]
    temperature = about.get("Temperature")
    if temperature is not None:
        values = temperature if isinstance(temperature, list) else [temperature]
        parts.append(_("temperature {value}").format(value=", ".join(f"{value:g}" for value in values)))
    return ", ".join(parts)


def _ages(age) -> str:
    if isinstance(age, list):
        return _("ages {first} to {last}").format(first=f"{min(age):g}", last=f"{max(age):g}")
    return _("age {age}").format(age=f"{age:g}")


def _cut(line: str) -> str:
    if len(line) <= _WIDTH:
        return line
    half = (_WIDTH - 1) // 2
    return f"{line[:half]}…{line[-half:]}"


def shownIn(composite):
    """The volume made by DualGlow that a slice view shows, the foreground before the background; None if none."""
    for identity in (composite.GetForegroundVolumeID(), composite.GetBackgroundVolumeID()):
        node = slicer.mrmlScene.GetNodeByID(identity or "")
        if node is not None and volumes.isSynthetic(node):
            return node
    return None


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
        self._isUpdating = False
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
        """Look at all views; cheap where nothing changed."""
        scene, manager = slicer.mrmlScene, slicer.app.layoutManager()
        if self._isUpdating or manager is None or scene.IsBatchProcessing() or scene.IsClosing():
            return
        self._isUpdating = True
        try:
            views = {name: manager.sliceWidget(name) for name in manager.sliceViewNames()}
            composites = {name: view.sliceLogic().GetSliceCompositeNode() for name, view in views.items()}
            composites = {name: node for name, node in composites.items() if node is not None}
            shown = {name: shownIn(node) for name, node in composites.items()}
            inputs = [belonging.inputOf(node) for node in shown.values() if node is not None]
            self._observe([*composites.values(), *shown.values(), *inputs])
            texts = {name: self._text(composites[name], node) for name, node in shown.items()}
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

    @staticmethod
    def _text(composite, node) -> str:
        text = describe(node)
        below = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        isOver = text and below is not None and below is not node
        if isOver and not volumes.isSynthetic(below) and not belonging.belongsTo(node, below):
            text += "\n" + _cut(_("NOT made from {name} below it").format(name=belonging.patientTitle(below)))
        return text

    def _observe(self, nodes: list) -> None:
        wanted = {node.GetID(): node for node in nodes if node is not None and node.GetID()}
        for identity in list(self._observed):
            node, tag = self._observed[identity]
            if wanted.get(identity) is not node:
                node.RemoveObserver(tag)
                del self._observed[identity]
        for identity, node in wanted.items():
            if identity not in self._observed:
                tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self.update())
                self._observed[identity] = node, tag

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
