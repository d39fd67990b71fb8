"""A host for scripted modules outside Slicer: real MRML (slicer-core), real Qt (PySide6), stand-ins for the rest.

``start()`` prepares ``slicer``, ``qt`` and ``ctk``; ``load(path)`` loads a module, ``.open()`` makes its window;
``views.render("Red")`` gives what a slice view shows; ``load_dicom(folder)`` loads as the DICOM module does;
``gestures`` are a user's; ``pump`` runs the event loop, and ``Gaps`` measures for how long it stood still. What passes
here has a good chance in Slicer, no more: the application itself, CTK's behaviour in detail and Qt 5 are absent.
"""

try:
    from PySide6 import QtWidgets  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"Qt can't be loaded: {error}. On Debian and Ubuntu, the test host needs the packages libdbus-1-3 libegl1 "
        "libfontconfig1 libgl1 libglib2.0-0 libxkbcommon0."
    ) from error

from . import gestures, latency, views
from .application import LoadedModule, load, start
from .dicom import load_dicom
from .latency import Gaps, pump
from .panel import PANEL_WIDTH, lay_out
from .pythonqt import slot_errors

__all__ = [
    "PANEL_WIDTH",
    "Gaps",
    "LoadedModule",
    "gestures",
    "latency",
    "lay_out",
    "load",
    "load_dicom",
    "pump",
    "slot_errors",
    "start",
    "views",
]
