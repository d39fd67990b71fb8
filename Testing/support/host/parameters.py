"""``slicer.parameterNodeWrapper``, reduced to what modules commonly use, with the same behaviour.

A class of annotated fields becomes a typed view of a vtkMRMLScriptedModuleNode (``serializers.py``), tied to the
widgets that carry the dynamic property ``SlicerParameterName`` (``connectors.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import slicer
import vtk

from .annotations import Choice, Decimals, Default, Maximum, Minimum, RangeBounds, SingleStep, WithinRange
from .connectors import Connector
from .pythonqt import is_alive
from .serializers import Field, FloatRange, isParameterPack, make_fields, parameterPack
from .standins import observe

__all__ = [
    "Choice", "Decimals", "Default", "FloatRange", "Maximum", "Minimum", "RangeBounds", "SingleStep", "WithinRange",
    "isParameterNodeWrapper", "isParameterPack", "parameterNodeWrapper", "parameterPack",
]  # fmt: skip


class _Methods:
    """What a wrapped class gets besides its fields."""

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode, self._prefix = parameterNode, prefix or ""
        self._guis: dict[int, dict[str, Connector]] = {}
        self._next, self._showing = 0, False
        for field in self.allParameters.values():
            if not field.kind.has(parameterNode, self._prefix + field.name):
                self._write(field, field.default)

    def _write(self, field: Field, value: Any) -> None:
        field.check(value)
        with slicer.util.NodeModify(self.parameterNode):
            field.kind.write(self.parameterNode, self._prefix + field.name, value)

    def _read(self, field: Field) -> Any:
        if not field.kind.has(self.parameterNode, self._prefix + field.name):
            self._write(field, field.default)  # as after the scene was closed
        return field.kind.read(self.parameterNode, self._prefix + field.name)

    def _find(self, name: str) -> Field:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return self.allParameters[name]

    def getValue(self, name: str) -> Any:
        """The value of a field, or of a member of a pack (``field.member``)."""
        top, _, rest = name.partition(".")
        value = self._read(self._find(top))
        return getattr(value, rest) if rest else value

    def setValue(self, name: str, value: Any) -> None:
        top, _, rest = name.partition(".")
        if rest:
            setattr(self._read(self._find(top)), rest, value)
        else:
            self._write(self._find(top), value)

    def default(self, name: str) -> Default:
        return Default(self._find(name).default)

    def dataType(self, name: str) -> Any:
        return self._find(name).hint

    def connectGui(self, gui: Any) -> int:
        """Tie the widgets, of what childWidgetVariables gave or below a widget, that name a field; gives the tag."""
        if hasattr(gui, "findChildren"):
            import qt

            widgets = gui.findChildren(qt.QWidget)
        else:
            widgets = vars(gui).values()
        named = ((widget.property("SlicerParameterName"), widget) for widget in widgets)
        return self.connectParametersToGui({name: widget for name, widget in named if name})

    def connectParametersToGui(self, mapping: Mapping[str, Any]) -> int:
        """Tie widgets to the fields that they are mapped to; gives the tag for disconnectGui."""
        connectors = {name: Connector(widget, self._field(name)) for name, widget in mapping.items()}
        tag, self._next = self._next, self._next + 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.show(self.getValue(name))
            connector.on_changed(self._reader(name, connector))
        observe(self.parameterNode, vtk.vtkCommand.ModifiedEvent, self, type(self)._show)
        return tag

    def _field(self, name: str) -> Field:
        top, _, rest = name.partition(".")
        return self._find(top).type.allParameters[rest] if rest else self._find(top)

    def disconnectGui(self, tag: int | None) -> None:
        for connector in self._guis.pop(tag, {}).values():
            connector.on_changed(None)

    def _reader(self, name: str, connector: Connector) -> Callable[[], None]:
        def changed() -> None:
            with slicer.util.NodeModify(self):
                if not self._showing:
                    self.setValue(name, connector.value())

        return changed

    def _show(self) -> None:
        if self._showing:
            return
        self._showing = True
        try:
            with slicer.util.NodeModify(self):
                for tag, connectors in list(self._guis.items()):
                    if any(not is_alive(connector.widget) for connector in connectors.values()):
                        del self._guis[tag]  # a window that a test closed; Slicer's live as long as it does
                        continue
                    for name, connector in connectors.items():
                        connector.show(self.getValue(name))
        finally:
            self._showing = False

    def isCached(self, name: str) -> bool:
        """Whether reading it is cheap in Slicer; here nothing is kept."""
        self._find(name)
        return False

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, was: int) -> int:
        return self.parameterNode.EndModify(was)

    def AddObserver(self, event: int, callback: Callable, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def _property(field: Field) -> property:
    return property(lambda self: self._read(field), lambda self, value: self._write(field, value))


def parameterNodeWrapper(cls: type) -> type:
    """Make a class of annotated fields a typed view of a vtkMRMLScriptedModuleNode."""
    fields = make_fields(cls)
    for name, member in vars(_Methods).items():
        if callable(member):
            if name != "__init__" and hasattr(cls, name):
                raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
            setattr(cls, name, member)
    cls.allParameters, cls._is_parameter_node_wrapper = fields, True
    for field in fields.values():
        setattr(cls, field.name, _property(field))
    return cls


def isParameterNodeWrapper(value: Any) -> bool:
    return bool(getattr(value, "_is_parameter_node_wrapper", False))
