"""The application around the modules: ``slicer.app``, the scene, ``slicer.modules``, and how a module is loaded."""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import shutil
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtWidgets

from . import pythonqt, uiloader, widgets
from .panel import lay_out

__all__ = ["LoadedModule", "load", "start"]


class _ModuleFacts:
    """What ``self.parent`` of a module class takes; Slicer knows no other attributes."""

    __slots__ = (
        "acknowledgementText", "associatedNodeTypes", "categories", "contributors", "dependencies", "helpText",
        "hidden", "icon", "index", "name", "path", "title", "widgetRepresentationCreationEnabled",
    )  # fmt: skip

    def __init__(self, path: Path) -> None:
        self.path, self.name, self.hidden = str(path), path.stem, False


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
        self._logic = None
        setattr(slicer.modules, self.name.lower(), self)
        setattr(slicer.modules, f"{self.name}Instance", self.instance)

    @property
    def title(self) -> str:
        return self.facts.title

    def logic(self) -> Any:
        """The logic in C++, which knows nothing of that in Python."""
        import slicer

        if self._logic is None:
            self._logic = slicer.vtkSlicerScriptedLoadableModuleLogic()
            self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
            self._logic.SetMRMLScene(slicer.mrmlScene)
        return self._logic

    def widgetRepresentation(self) -> Any:
        """The panel; made, with the window in it, when it is first asked for."""
        if self.panel is None:
            self._make()
        return self.panel

    def _make(self) -> Any:
        import slicer

        panel = pythonqt.wrapper_class(widgets.qSlicerScriptedLoadableModuleWidget)()
        panel._object.reloading = self._fill
        panel.setMRMLScene(slicer.mrmlScene)
        self.panel = panel
        return self._fill()

    def _fill(self) -> Any:
        import slicer

        self.python = sys.modules[self.name]  # another one after a reload
        widget = getattr(self.python, f"{self.name}Widget")(self.panel)
        self.panel._object.window = widget
        setattr(slicer.modules, f"{self.name}Widget", widget)
        widget.setup()
        return widget

    def open(self) -> Any:
        """Make the window, as when the user first selects the module, and enter it; gives the module's widget.

        It is laid out as wide as Slicer's module panel is by default.
        """
        widget = self._make()
        self.enter(widget)
        return widget

    def show(self) -> None:
        """The user selects the module."""
        self.enter(self.widgetRepresentation()._object.window)

    def leave(self) -> None:
        """The user selects another module."""
        if self.panel is not None:
            self.exit(self.panel._object.window)

    def enter(self, widget: Any) -> None:
        lay_out(self.panel)
        self.panel._object.entered = True
        if hasattr(widget, "enter"):
            widget.enter()

    def exit(self, widget: Any) -> None:
        self.panel._object.entered = False
        if hasattr(widget, "exit"):
            widget.exit()
        self.panel._object.hide()

    def close(self, widget: Any) -> None:
        """As when the application closes: the window is left and the module unloaded.

        Raises:
            Exception: what the clean-up raises, which Slicer only prints.
        """
        import slicer

        self.exit(widget)
        before = len(pythonqt.slot_errors)
        slicer.app.moduleManager()._object.moduleAboutToBeUnloaded.emit(self.name)
        self.panel.delete()
        self.panel = None
        if len(pythonqt.slot_errors) > before:
            raise pythonqt.slot_errors[-1]


def start() -> types.ModuleType:
    """Make ``import slicer``, ``import qt`` and ``import ctk`` work as inside Slicer; gives ``slicer``.

    May be called again. The application says that it has started when its event loop first runs, as Slicer does when
    the modules are loaded. Qt draws offscreen unless QT_QPA_PLATFORM says otherwise; settings, caches and temporary
    files lie in a folder that goes when Python ends.
    """
    import slicer

    if hasattr(slicer, "app"):
        return slicer
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    qapplication = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    folder = Path(tempfile.mkdtemp(prefix="host-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

    from . import layouts, logics, sequences, window

    qmrml = (*widgets.QMRML, *layouts.WIDGETS, *sequences.WIDGETS, *window.WIDGETS)
    stand_ins = {cls.__name__: cls for cls in (*widgets.CTK, *qmrml)}
    qt = pythonqt.namespace()
    qt.QUiLoader = uiloader.loader_class(stand_ins)
    ctk = types.ModuleType("ctk")
    for cls in widgets.CTK:
        setattr(ctk, cls.__name__, pythonqt.wrapper_class(cls))
    sys.modules.update(qt=qt, ctk=ctk)

    core = logics.make_core(folder)
    slicer.mrmlScene = core.scene
    slicer.modules = logics.make_modules(core)
    slicer.selfTests = {}
    slicer.app = window.Application(qapplication, core, folder)
    slicer.dicomDatabase = slicer.app.dicomDatabase()
    for cls in qmrml:
        setattr(slicer, cls.__name__, pythonqt.wrapper_class(cls))
    slicer.qSlicerScriptedLoadableModule = LoadedModule
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr, i18n.translate = (lambda text: text), slicer.app.translate
    from . import parameters, scripted

    for name, module in (("i18n", i18n), ("parameterNodeWrapper", parameters), ("ScriptedLoadableModule", scripted)):
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    logging.getLogger().setLevel(logging.INFO)
    QtCore.QTimer.singleShot(0, slicer.app._complete_startup)
    return slicer


def load(path: Path) -> LoadedModule:
    """Register and instantiate the scripted module in this file, once."""
    slicer = start()
    return getattr(slicer.modules, path.stem.lower(), None) or LoadedModule(path)
