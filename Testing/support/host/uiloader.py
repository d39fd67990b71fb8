"""Loading a .ui file as Slicer does, and refusing what Slicer would ignore or crash on."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from .members import members
from .pythonqt import Wrapper, unwrap, wrap

__all__ = ["loader_class"]


class _Loader(QtUiTools.QUiLoader):
    def __init__(self, stand_ins: dict[str, type]) -> None:
        super().__init__()
        self._stand_ins, self._made = stand_ins, []

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> QtWidgets.QWidget:
        if class_name not in self._stand_ins:
            return super().createWidget(class_name, parent, name)
        widget = self._stand_ins[class_name](parent)
        widget.setObjectName(name)
        self._made.append(widget)  # until its parent holds it
        return widget


def loader_class(stand_ins: dict[str, type]) -> type:
    """The class ``qt.QUiLoader`` for windows made of Qt's widgets and these stand-ins."""

    class QUiLoader:
        def load(self, file: Wrapper, parent: Wrapper | None = None) -> Wrapper:
            """The widget of an opened .ui file.

            Raises:
                RuntimeError: for a class without a stand-in, a property that the class lacks, and a connection to a
                    widget, signal or slot that does not exist.
            """
            root = ElementTree.fromstring(bytes(unwrap(file).readAll()))
            _check_classes(root, stand_ins)
            settings = [
                (element.get("name"), setting.get("name"))
                for element in root.iter("widget")
                for setting in element.findall("property")
                if setting.get("stdset") != "0"
            ]
            flags = _take_flags(root, stand_ins)
            connections = [
                [connection.findtext(part) for part in ("sender", "signal", "receiver", "slot")]
                for connection in root.iter("connection")
            ]
            for element in root.findall("connections"):
                root.remove(element)  # a signal with a VTK type is unknown to PySide's own loader
            buffer = QtCore.QBuffer()
            buffer.setData(ElementTree.tostring(root))
            buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
            loader = _Loader(stand_ins)
            widget = loader.load(buffer, unwrap(parent))
            if widget is None:
                raise RuntimeError(loader.errorString())
            named = {child.objectName(): child for child in [widget, *widget.findChildren(QtCore.QObject)]}
            _check_properties(settings, named)
            for name, values in flags.items():
                for key, value in values.items():
                    named[name].setProperty(key, value)
            for sender, signal, receiver, slot in connections:
                if sender not in named or receiver not in named:
                    raise RuntimeError(f"The .ui file connects {sender} to {receiver}, and one of them is not in it.")
                target = getattr(wrap(named[receiver]), slot.partition("(")[0])
                if not wrap(named[sender]).connect(signal, target):
                    raise RuntimeError(f"The .ui file connects {sender}.{signal}, and there is no such signal.")
            return wrap(widget)

    return QUiLoader


def _check_classes(root: ElementTree.Element, stand_ins: dict[str, type]) -> None:
    for element in root.iter("widget"):
        name = element.get("class")
        if name not in stand_ins and not hasattr(QtWidgets, name):
            raise RuntimeError(f"The .ui file uses {name}, for which the test host has no stand-in.")


def _check_properties(settings: list[tuple[str, str]], named: dict[str, QtCore.QObject]) -> None:
    for name, key in settings:
        class_name = type(named[name]).__name__
        known = members(class_name)
        if named[name].metaObject().indexOfProperty(key) < 0 or (known is not None and key not in known):
            raise RuntimeError(f"The .ui file sets {class_name}.{key}, and there is no such property.")


def _take_flags(root: ElementTree.Element, stand_ins: dict[str, type]) -> dict[str, dict[str, int]]:
    """Enum values of stand-ins, whose names PySide's loader can't look up; they are taken out of the tree."""
    found: dict[str, dict[str, int]] = {}
    for element in root.iter("widget"):
        cls = stand_ins.get(element.get("class"))
        for setting in list(element.findall("property")) if cls else []:
            text = setting.findtext("set") or setting.findtext("enum")
            if text and text.startswith(f"{cls.__name__}::"):
                names = [flag.rpartition("::")[2] for flag in text.split("|")]
                value = 0
                for name in names:
                    value |= cls.constants[name]
                found.setdefault(element.get("name"), {})[setting.get("name")] = value
                element.remove(setting)
    return found
