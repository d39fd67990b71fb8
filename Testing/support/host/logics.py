"""The scene and Slicer's own logic classes around it: application, layout, slice views, and ``slicer.modules``."""

from __future__ import annotations

import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import vtk

from .hierarchy import Hierarchy
from .sequences import Sequences

__all__ = ["Core", "Module", "make_core", "make_modules"]

_LOGICS = {  # name of the module in the application: class of its logic
    "Colors": "vtkSlicerColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
}


@dataclass
class Core:
    """The objects of C++ that the application keeps.

    Attributes:
        logics: of the modules, by the module's name.
        hierarchy: makes the items of the subject hierarchy.
    """

    scene: slicer.vtkMRMLScene
    application: slicer.vtkSlicerApplicationLogic
    layout: slicer.vtkMRMLLayoutLogic
    logics: dict[str, Any]
    hierarchy: Hierarchy


def make_core(folder: Path) -> Core:
    """A scene with everything that Slicer's start attaches to it; ``folder`` holds what they write."""
    scene = slicer.vtkMRMLScene()
    cache, transfers = slicer.vtkCacheManager(), slicer.vtkDataIOManager()  # bundles can't be read without them
    (folder / "RemoteIO").mkdir(exist_ok=True)
    cache.SetRemoteCacheDirectory(str(folder / "RemoteIO"))
    transfers.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(transfers)

    application = slicer.vtkSlicerApplicationLogic()
    application.SetHomeDirectory(str(folder))
    application.SetShareDirectory("share")  # under the home directory
    _write_color_files(folder / "share" / "ColorFiles")
    application.SetTemporaryPath(str(folder))
    logics = {name: getattr(slicer, kind)() for name, kind in _LOGICS.items()}
    for name, logic in logics.items():
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logic)
    application.SetColorLogic(logics["Colors"])
    logics["Colors"].SetMRMLScene(scene)  # before all: it registers the legend's node class
    application.SetMRMLScene(scene)
    for logic in logics.values():
        if logic is not logics["Colors"]:
            logic.SetMRMLScene(scene)

    layout = slicer.vtkMRMLLayoutLogic()
    layout.SetMRMLApplicationLogic(application)
    layout.SetMRMLScene(scene)
    layout.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    application.SetSliceLogics(vtk.vtkCollection())
    return Core(scene, application, layout, logics, Hierarchy(scene))


def _write_color_files(folder: Path) -> None:
    """Colour maps that Slicer ships as files, so that their nodes have the same IDs here; none without matplotlib."""
    folder.mkdir(parents=True)
    try:
        from matplotlib import colormaps
    except ImportError:
        return
    for name in ("Inferno", "Plasma", "Viridis"):
        colors = colormaps[name.lower()](range(256))
        lines = (f"{index} {index} {r:.0f} {g:.0f} {b:.0f} 255" for index, (r, g, b, _) in enumerate(colors * 255))
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


class Module:
    """A loadable module of Slicer in ``slicer.modules``: name, title and logic; it has no window here."""

    __slots__ = ("_logic", "name", "path", "title")

    def __init__(self, name: str, logic: Any) -> None:
        self.name, self.title, self.path, self._logic = name, name, "", logic

    def logic(self) -> Any:
        return self._logic


def make_modules(core: Core) -> types.ModuleType:
    """``slicer.modules`` with the modules of Slicer that have a logic here."""
    modules = types.ModuleType("slicer.modules")
    for name, logic in core.logics.items():
        module = Sequences(logic, core.scene) if name == "Sequences" else Module(name, logic)
        setattr(modules, name.lower(), module)
    return modules
