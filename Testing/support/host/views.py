"""The slice views as Slicer draws them, offscreen: pixels for tests and screenshots.

``render`` gives what a view shows now; ``position`` moves its slice; ``rasToPixel`` and ``pixelToRas`` say which pixel
of the last rendering shows which point. Layers are blended by the view's own vtkMRMLSliceLogic; legend, ruler and
orientation marker are drawn by Slicer's displayable managers. Needs EGL (on Debian: libegl1 libegl-mesa0
libgl1-mesa-dri libglx-mesa0 libgl1).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import slicer
import vtk
from vtkmodules.util.numpy_support import vtk_to_numpy

__all__ = ["View", "names", "pixelToRas", "position", "rasToPixel", "render", "unavailable"]

_MANAGERS = (
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
)
_PROBE = """
import vtk
window = vtk.vtkRenderWindow()
window.SetOffScreenRendering(1)
window.AddRenderer(vtk.vtkRenderer())
window.SetSize(8, 8)
window.Render()
print(window.GetClassName(), window.ReportCapabilities().count("OpenGL version"))
"""
_views: dict[str, View] = {}
if sys.platform.startswith("linux") and not os.environ.get("VTK_DEFAULT_OPENGL_WINDOW"):
    os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = "vtkEGLRenderWindow"  # no screen is needed; an empty value crashes


class View:
    """One slice view: its logic, and a window that nobody sees.

    Attributes:
        logic: the view's vtkMRMLSliceLogic.
        window: the vtkRenderWindow.
        annotation: the text in the corners, as ``sliceView().cornerAnnotation()`` gives it.
        overlay: another such text, over everything: ``sliceView().overlayCornerAnnotation()``.
        interactor: the window's.
    """

    def __init__(self, logic: slicer.vtkMRMLSliceLogic, application: slicer.vtkMRMLApplicationLogic) -> None:
        self.logic = logic
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetNumberOfLayers(2)
        self._renderer, above = vtk.vtkRenderer(), vtk.vtkRenderer()
        above.SetLayer(1)
        self.window.AddRenderer(self._renderer)
        self.window.AddRenderer(above)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(self._mapper)
        self._renderer.AddViewProp(self._image)
        self.annotation = vtk.vtkCornerAnnotation()
        self._renderer.AddViewProp(self.annotation)
        self.overlay = vtk.vtkCornerAnnotation()
        above.AddViewProp(self.overlay)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self._managers = slicer.vtkMRMLDisplayableManagerGroup()
        self._managers.Initialize(_factory(application), self._renderer)
        self._managers.SetMRMLDisplayableNode(logic.GetSliceNode())
        logic.ResizeSliceNode(400, 400)

    def render(self, width: int, height: int) -> np.ndarray:
        """The picture, shape (height, width, 3), uint8, top row first."""
        self.window.SetSize(width, height)
        self.logic.ResizeSliceNode(width, height)
        connection = self.logic.GetImageDataConnection()
        self._image.SetVisibility(connection is not None)
        self._mapper.SetInputConnection(connection)
        self.window.Render()
        reader = vtk.vtkWindowToImageFilter()
        reader.SetInput(self.window)
        reader.ReadFrontBufferOff()
        reader.ShouldRerenderOff()
        reader.Update()
        pixels = vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars())
        return pixels.reshape(height, width, 3)[::-1].copy()


@cache
def unavailable() -> str:
    """Why nothing can be rendered on this machine; empty where it can. Tried in another process: VTK may crash."""
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=300)
    if probe.returncode == 0 and probe.stdout.split()[-1:] == ["1"]:
        return ""
    return f"VTK can't render offscreen here: {(probe.stderr or probe.stdout).strip()[-300:]}"


def add(logic: slicer.vtkMRMLSliceLogic, application: slicer.vtkMRMLApplicationLogic) -> View:
    """The view of a slice logic, made once for each view name."""
    name = logic.GetSliceNode().GetLayoutName()
    _views[name] = View(logic, application)
    return _views[name]


def names() -> tuple[str, ...]:
    """The views that exist."""
    return tuple(_views)


def render(name: str, width: int = 400, height: int = 400) -> np.ndarray:
    """What the view "Red", "Green" or "Yellow" shows: (height, width, 3), uint8, RGB, top row first.

    Raises:
        ValueError: if the layout does not show that view.
        RuntimeError: if this machine can't render.
    """
    if unavailable():
        raise RuntimeError(unavailable())
    view = _views[name]
    if not view.logic.GetSliceNode().IsMappedInLayout():
        raise ValueError(f"The present layout has no view {name}.")
    return view.render(width, height)


def position(name: str, ras: Sequence[float]) -> None:
    """Move the view's slice, parallel to itself, through this point (mm, world)."""
    _views[name].logic.GetSliceNode().JumpSliceByOffsetting(*map(float, ras))


def rasToPixel(name: str, ras: Sequence[float]) -> tuple[int, int]:
    """Row and column of the last rendering at which a point (mm, world), or its projection on the slice, is shown."""
    node = _views[name].logic.GetSliceNode()
    toRas = slicer.util.arrayFromVTKMatrix(node.GetXYToRAS())
    x, y = (np.linalg.inv(toRas) @ [*ras, 1.0])[:2]
    return round(node.GetDimensions()[1] - 1 - y), round(x)


def pixelToRas(name: str, row: float | np.ndarray, column: float | np.ndarray) -> np.ndarray:
    """The point (mm, world) that a pixel of the last rendering shows at its centre; shape (..., 3) for arrays.

    ``pixelToRas("Red", *np.indices((400, 400)))`` gives those of every pixel, (400, 400, 3).
    """
    node = _views[name].logic.GetSliceNode()
    toRas = slicer.util.arrayFromVTKMatrix(node.GetXYToRAS())
    x, y = np.broadcast_arrays(np.asarray(column, float), node.GetDimensions()[1] - 1 - np.asarray(row, float))
    return np.stack([x, y, np.zeros_like(x), np.ones_like(x)], axis=-1) @ toRas[:3].T


def _factory(application: slicer.vtkMRMLApplicationLogic) -> Any:
    factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    factory.SetMRMLApplicationLogic(application)
    for name in _MANAGERS:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    return factory
