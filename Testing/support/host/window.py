"""``slicer.app``, the main window with its module selector, and the module manager."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from PySide6.QtCore import Property, QObject, QSettings, Signal, Slot
from PySide6.QtWidgets import QApplication, QMainWindow, QWidget

from . import pythonqt
from .dicom import DICOMDatabase
from .files import IOManager
from .layouts import qSlicerLayoutManager
from .logics import Core
from .pythonqt import StandIn

__all__ = ["WIDGETS", "Application"]


class qSlicerModuleSelectorToolBar(StandIn, QWidget):
    moduleSelected = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._selected = ""

    def _select(self, name: str) -> None:
        """Leave the present module and enter this one, whose window is made when it is shown for the first time."""
        module = getattr(slicer.modules, name.lower(), None)
        if module is None or name == self._selected:
            return
        left = getattr(slicer.modules, self._selected.lower(), None) if self._selected else None
        if left is not None and hasattr(left, "leave"):
            left.leave()
        self._selected = name
        if hasattr(module, "show"):
            module.show()
        self.moduleSelected.emit(name)

    @Slot(str)
    def selectModule(self, name: str) -> None:
        self._select(name)

    selectedModule = Property(str, lambda self: self._selected)


class qSlicerMainWindow(StandIn, QMainWindow):
    initialWindowShown = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = qSlicerModuleSelectorToolBar()
        self._selector.setParent(self)

    @Slot(result=object)
    def moduleSelector(self) -> Any:
        return self._selector


class qSlicerModuleManager(StandIn, QObject):
    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)

    @Slot(result=object)
    def modulesNames(self) -> list[str]:
        return sorted(module.name for module in vars(slicer.modules).values() if hasattr(module, "name"))

    @Slot(str, result=object)
    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)

    @Slot(result=object)
    def factoryManager(self) -> Any:
        return _Factories(self)


class _Factories:
    __slots__ = ("_manager",)

    def __init__(self, manager: qSlicerModuleManager) -> None:
        self._manager = manager

    def loadedModuleNames(self) -> tuple[str, ...]:
        return tuple(self._manager.modulesNames())

    def isLoaded(self, name: str) -> bool:
        return self._manager.module(name) is not None


class Application:
    """``slicer.app``: what modules ask of it, with settings, temporary files and caches in one temporary folder."""

    __slots__ = (
        "_core", "_dicom", "_folder", "_io", "_layout", "_modules", "_paused", "_qt", "_settings", "_slots", "_testing",
        "_window", "applicationName", "applicationVersion", "arch", "cachePath", "extensionsInstallPath",
        "launcherExecutableFilePath", "majorVersion", "minorVersion", "os", "platform", "revision", "slicerHome",
        "temporaryPath",
    )  # fmt: skip

    def __init__(self, qapplication: QApplication, core: Core, folder: Path) -> None:
        self._qt, self._core, self._folder = qapplication, core, folder
        self._slots: dict[str, list[Callable]] = {"startupCompleted()": [], "lastWindowClosed()": []}
        self._io, self._testing, self._paused = IOManager(core), True, 0
        self._dicom = DICOMDatabase()
        self.applicationName, self.applicationVersion, self.revision = "Slicer", "5.12.3", "34000"
        self.majorVersion, self.minorVersion = 5, 12
        self.os, self.arch, self.platform = "linux", "amd64", "linux-amd64"
        self.slicerHome, self.launcherExecutableFilePath = "/opt/Slicer", "/opt/Slicer/Slicer"
        for name in ("temporaryPath", "cachePath", "extensionsInstallPath"):
            place = folder / name
            place.mkdir(exist_ok=True)
            setattr(self, name, str(place))
        qapplication.setOrganizationName("NA-MIC")
        qapplication.setOrganizationDomain("www.na-mic.org")
        qapplication.setApplicationName("Slicer")
        QSettings.setDefaultFormat(QSettings.Format.IniFormat)
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(folder))
        self._settings = QSettings(str(folder / "NA-MIC" / f"Slicer-{self.revision}.ini"), QSettings.Format.IniFormat)
        self._layout, self._modules, self._window = (
            qSlicerLayoutManager(core),
            qSlicerModuleManager(),
            qSlicerMainWindow(),
        )

    def _complete_startup(self) -> None:
        """Once; who connects later hears nothing."""
        for slot in list(self._slots["startupCompleted()"]):
            pythonqt.unwrap(slot)()  # guarded, as a slot

    def connect(self, signal: str, slot: Callable) -> bool:
        if signal not in self._slots:
            return False
        self._slots[signal].append(slot)
        return True

    def disconnect(self, signal: str, slot: Callable) -> bool:
        if slot not in self._slots.get(signal, []):
            return False
        self._slots[signal].remove(slot)
        return True

    def layoutManager(self) -> Any:
        return pythonqt.wrap(self._layout)

    def moduleManager(self) -> Any:
        return pythonqt.wrap(self._modules)

    def ioManager(self) -> IOManager:
        return self._io

    def coreIOManager(self) -> IOManager:
        return self._io

    def dicomDatabase(self) -> DICOMDatabase:
        return self._dicom

    def applicationLogic(self) -> Any:
        return self._core.application

    def mrmlScene(self) -> Any:
        return self._core.scene

    def settings(self) -> Any:
        return self.userSettings()

    def userSettings(self) -> Any:
        """Those of the user, which ``qt.QSettings()`` opens too."""
        return pythonqt.wrap(QSettings())

    def revisionUserSettings(self) -> Any:
        """Those of the user for this version of Slicer."""
        return pythonqt.wrap(self._settings)

    def startupEnvironment(self) -> dict[str, str]:
        return dict(os.environ)

    def pythonConsole(self) -> None:
        return None

    def testingEnabled(self) -> bool:
        """True: message boxes are logged instead of shown, and confirmed; ``gestures.answering`` shows them."""
        return self._testing

    def translate(self, context: str, text: str) -> str:
        return text

    def processEvents(self) -> None:
        self._qt.processEvents()

    def pauseRender(self) -> None:
        self._paused += 1

    def resumeRender(self) -> None:
        self._paused -= 1

    def isRenderPaused(self) -> bool:
        return self._paused > 0

    def clipboard(self) -> Any:
        return pythonqt.wrap(self._qt.clipboard())

    def setOverrideCursor(self, cursor: Any) -> None:
        self._qt.setOverrideCursor(pythonqt.unwrap(cursor))

    def restoreOverrideCursor(self) -> None:
        self._qt.restoreOverrideCursor()

    def topLevelWidgets(self) -> tuple:
        return pythonqt.wrap(self._qt.topLevelWidgets())

    def activeWindow(self) -> Any:
        return pythonqt.wrap(self._qt.activeWindow())

    def palette(self) -> Any:
        return pythonqt.wrap(self._qt.palette())


WIDGETS = (qSlicerMainWindow, qSlicerModuleManager)
