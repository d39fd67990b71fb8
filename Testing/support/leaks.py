"""What a closed window may not leave behind: widgets, running timers, slots, observers, threads, processes."""

from __future__ import annotations

import gc
import re
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import shiboken6
from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QApplication, QWidget

from host.pythonqt import unwrap
from loaded import slicer

from DualGlowSynthesisLib.nodes import marks, sweep  # isort: skip

__all__ = ["Traces"]

_PATIENCE = 10.0  # s that a process or a thread that was told to end is given


class Traces:
    """What there is when it is made; ``left`` says what has come since then and is still there."""

    def __init__(self) -> None:
        marks.install()  # for as long as the application lives
        sweep.install()
        self._widgets, self._threads, self._processes = _widgets(), set(threading.enumerate()), _processes()
        self._observers = {node: len(_tags(node)) for node in _lasting()}
        self._slots = _slots()

    def left(self) -> list[str]:
        for settle in (_let_events_happen, gc.collect, _let_events_happen):  # as long as anything is left
            if self._standing():
                settle()
        end = time.monotonic() + _PATIENCE
        while self._running() and time.monotonic() < end:
            time.sleep(0.01)
        return self._standing() + self._running()

    def _standing(self) -> list[str]:
        found = [f"the widget {_name(one)}" for address, one in _widgets().items() if address not in self._widgets]
        found += [f"a running timer of {one.interval()} ms" for one in _alive(QTimer) if one.isActive()]
        lasting = _lasting()
        for node, count in self._observers.items():
            more = len(_tags(node)) - count if node in lasting else 0
            found += [f"{more} observers of the {node.GetClassName()}"] if more > 0 else []
        return found + [f"{count} slots of {name}" for name, count in (_slots() - self._slots).items()]

    def _running(self) -> list[str]:
        threads = [f"the thread {one.name}" for one in set(threading.enumerate()) - self._threads if one.is_alive()]
        return threads + [f"the process {name}" for pid, name in _processes().items() if pid not in self._processes]


def _let_events_happen() -> None:
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    QApplication.processEvents()


def _alive(kind: type) -> list[Any]:
    return [one for one in shiboken6.getAllValidWrappers() if isinstance(one, kind)]


def _widgets() -> dict[int, QWidget]:
    """By address; windows of their own, but the views, which the application makes when they are first shown."""
    manager = unwrap(slicer.app.layoutManager())
    views = {*manager._slices.values(), *manager._others.values()}
    top = [one for one in QApplication.topLevelWidgets() if one not in views and not _is_part_of_view(one)]
    return {shiboken6.getCppPointer(one)[0]: one for one in top}


def _is_part_of_view(widget: QWidget) -> bool:
    return type(widget).__name__ in ("qMRMLSliceView", "qMRMLSliceControllerWidget")


def _name(widget: QWidget) -> str:
    return f"{type(widget).__name__} {widget.objectName()} {widget.windowTitle()}".rstrip()


def _processes() -> dict[int, str]:
    """Children of this process that run, with their commands; only Linux tells."""
    found = {}
    for listing in Path("/proc/self/task").glob("*/children"):
        for pid in listing.read_text().split():
            with suppress(OSError):  # it has just ended
                command = Path("/proc", pid, "cmdline").read_text().replace("\0", " ")  # empty of one that has ended
                if command and "resource_tracker" not in command:  # Python's own, which lasts
                    found[int(pid)] = command
    return found


def _lasting() -> list[Any]:
    """What outlives a window and its patients."""
    kinds = ("AbstractViewNode", "SliceCompositeNode", "SelectionNode", "InteractionNode", "LayoutNode")
    nodes = [node for kind in kinds for node in slicer.util.getNodesByClass(f"vtkMRML{kind}")]
    return [slicer.mrmlScene, *nodes]


def _tags(node: Any) -> list[str]:
    """Of all observers, as VTK prints them; Python can't ask for them."""
    return re.findall(r"Tag: (\d+)", str(node))


def _slots() -> Counter:
    """Connections of what lasts as long as the application."""
    lasting = (slicer.app.moduleManager(), slicer.app.layoutManager(), slicer.util.mainWindow())
    found = Counter({name: len(slots) for name, slots in slicer.app._slots.items()})
    for one in map(unwrap, filter(None, lasting)):
        if isinstance(one, QObject):
            found[type(one).__name__] = len(one.__dict__.get("_connections", ()))
    return found
