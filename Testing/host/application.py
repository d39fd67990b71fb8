"""The application around the modules: ``slicer.app``, the scene, ``slicer.modules``, and how a module is loaded."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6 import QtWidgets

from . import pythonqt, uiloader, widgets

__all__ = ["LoadedModule", "load", "start"]


class _ModuleFacts:
    """What ``self.parent`` of a module class takes; Slicer knows no other attributes."""

    __slots__ = (
        "acknowledgementText", "associatedNodeTypes", "categories", "contributors", "dependencies", "helpText",
        "hidden", "icon", "index", "name", "path", "title", "widgetRepresentationCreationEnabled",
    )  # fmt: skip

    def __init__(self, path: Path) -> None:
        self.path, self.name, self.hidden = str(path), path.stem, False


class _Application:
    """``slicer.app``."""

    applicationName = "Slicer"
    launcherExecutableFilePath = "/opt/Slicer/Slicer"
    layout_manager = None

    def __init__(self, qapplication: QtWidgets.QApplication) -> None:
        self._qt = qapplication
        self._slots: dict[str, list[Callable]] = {"startupCompleted()": []}

    def connect(self, signal: str, slot: Callable) -> bool:
        self._slots[signal].append(slot)
        return True

    def layoutManager(self) -> Any:
        return self.layout_manager

    def testingEnabled(self) -> bool:
        """True: message boxes are logged instead of shown."""
        return True

    def translate(self, context: str, text: str) -> str:
        return text

    def processEvents(self) -> None:
        self._qt.processEvents()

    def clipboard(self) -> Any:
        return pythonqt.wrap(self._qt.clipboard())

    def setOverrideCursor(self, cursor: Any) -> None:
        self._qt.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        self._qt.restoreOverrideCursor()


class LoadedModule:
    """A scripted module as Slicer holds it.

    Attributes:
        python: the Python module.
        facts: title, category, help text, … as the module set them.
        instance: the module class's instance.
        panel: the widget that the window lives in, once made.
    """

    def __init__(self, path: Path) -> None:
        import slicer

        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        self.path, self.name = str(path), path.stem
        self.python = importlib.import_module(self.name)
        self.facts = _ModuleFacts(path)
        self.instance = getattr(self.python, self.name)(self.facts)
        self.panel = None
        setattr(slicer.modules, self.name.lower(), self)

    def open(self) -> Any:
        """Make the window, as when the user first selects the module, and enter it; gives the module's widget."""
        import slicer

        panel = pythonqt.wrapper_class(widgets.qSlicerScriptedLoadableModuleWidget)()
        panel.setMRMLScene(slicer.mrmlScene)
        widget = getattr(self.python, f"{self.name}Widget")(panel)
        self.panel = panel
        widget.setup()
        self.enter(widget)
        return widget

    def enter(self, widget: Any) -> None:
        self.panel._object.entered = True
        if hasattr(widget, "enter"):
            widget.enter()

    def exit(self, widget: Any) -> None:
        self.panel._object.entered = False
        if hasattr(widget, "exit"):
            widget.exit()

    def close(self, widget: Any) -> None:
        """As when the application closes."""
        self.exit(widget)
        widget.cleanup()
        self.panel.delete()
        self.panel = None


def start() -> types.ModuleType:
    """Make ``import slicer``, ``import qt`` and ``import ctk`` work as inside Slicer; gives ``slicer``.

    May be called again. Qt draws offscreen unless QT_QPA_PLATFORM says otherwise.
    """
    import slicer

    if hasattr(slicer, "app"):
        return slicer
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    qapplication = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    stand_ins = {cls.__name__: cls for cls in (*widgets.CTK, *widgets.QMRML)}
    qt = pythonqt.namespace()
    qt.QUiLoader = uiloader.loader_class(stand_ins)
    ctk = types.ModuleType("ctk")
    for cls in widgets.CTK:
        setattr(ctk, cls.__name__, pythonqt.wrapper_class(cls))
    sys.modules.update(qt=qt, ctk=ctk)

    slicer.mrmlScene = slicer.vtkMRMLScene()
    slicer.colorLogic = slicer.vtkMRMLColorLogic()
    slicer.colorLogic.SetMRMLScene(slicer.mrmlScene)  # adds the built-in colour nodes
    for view in ("Red", "Green", "Yellow"):
        composite = slicer.vtkMRMLSliceCompositeNode()
        composite.SetLayoutName(view)
        composite.SetSingletonTag(view)
        slicer.mrmlScene.AddNode(composite)

    slicer.app = _Application(qapplication)
    slicer.modules = types.ModuleType("slicer.modules")
    slicer.selfTests = {}
    for cls in widgets.QMRML:
        setattr(slicer, cls.__name__, pythonqt.wrapper_class(cls))
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr, i18n.translate = (lambda text: text), slicer.app.translate
    from . import parameters, scripted

    for name, module in (("i18n", i18n), ("parameterNodeWrapper", parameters), ("ScriptedLoadableModule", scripted)):
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    slicer.util.settingsValue = lambda key, default, converter=lambda value: value, settings=None: default
    logging.getLogger().setLevel(logging.INFO)
    return slicer


def load(path: Path) -> LoadedModule:
    """Register and instantiate the scripted module in this file, once."""
    slicer = start()
    return getattr(slicer.modules, path.stem.lower(), None) or LoadedModule(path)
