"""``slicer.parameterNodeWrapper``, reduced to what our modules use, with the same behaviour.

Typed fields with defaults and validators, kept as text (or node references) in a vtkMRMLScriptedModuleNode under the
field's name, and tied to the widgets that carry the dynamic property ``SlicerParameterName``. The types are ``float``,
``int``, ``bool``, ``str``, ``pathlib.Path`` and MRML node classes; a field of any other type is refused.
"""

from __future__ import annotations

import pathlib
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer
import vtk

__all__ = ["Choice", "Default", "Maximum", "Minimum", "WithinRange", "parameterNodeWrapper"]


@dataclass
class Default:
    value: Any


@dataclass
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


@dataclass
class Minimum:
    minimum: float

    def validate(self, value: float) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


@dataclass
class Maximum:
    maximum: float

    def validate(self, value: float) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


@dataclass
class Choice:
    choices: typing.Sequence

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be one of {self.choices}")


class _Field:
    """One field: how its values are checked, written and read."""

    def __init__(self, name: str, hint: Any, owner: type) -> None:
        self.name, self.hint = name, hint
        annotated = typing.get_origin(hint) is typing.Annotated
        self.type = hint.__origin__ if annotated else hint
        notes = hint.__metadata__ if annotated else ()
        self.is_node = isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)
        if not self.is_node and self.type not in (float, int, bool, str, pathlib.Path):
            raise TypeError(f"The test host's parameterNodeWrapper has no type {self.type} ({owner.__name__}.{name}).")
        self.validators = [note for note in notes if hasattr(note, "validate")]
        defaults = [note.value for note in notes if isinstance(note, Default)]
        fallback = None if self.is_node else defaults[0] if defaults else self.type()
        self.default = getattr(owner, name, fallback)

    def note(self, *kinds: type) -> Any:
        return next((note for note in self.validators if isinstance(note, kinds)), None)

    def write(self, node: Any, value: Any) -> None:
        expected = (int, float) if self.type is float else self.type
        if not (value is None and self.is_node) and not isinstance(value, expected):
            raise (ValueError if value is None else TypeError)(f"{self.name} must be {self.type}, is {value!r}")
        for validator in self.validators:
            validator.validate(value)
        with slicer.util.NodeModify(node):
            if self.is_node:
                node.SetParameter(self.name, "")
                node.SetNodeReferenceID(self.name, None if value is None else value.GetID())
            else:
                node.SetParameter(self.name, str(value))

    def read(self, node: Any) -> Any:
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.type is bool else self.type(text)


class _Connector:
    """Ties one widget to one field; the table below says which widget shows which type, and how."""

    def __init__(self, widget: Any, field: _Field) -> None:
        self.widget, self.field = widget, field
        kind = widget.className()
        row = next((row for row in _CONNECTORS if kind in row[0] and (row[1] is None or field.type in row[1])), None)
        if row is None or (row[1] is None and not field.is_node):
            raise RuntimeError(f"Unable to connect {field.name} of type {field.type} to a {kind}.")
        _, _, self.signal, self._read, self._write, prepare = row
        if prepare:
            prepare(widget, field)
        self._slot: Callable | None = None

    def show(self, value: Any) -> None:
        self._write(self.widget, self.field, value)

    def value(self) -> Any:
        return self._read(self.widget, self.field)

    def on_changed(self, slot: Callable | None) -> None:
        if self._slot is not None:
            getattr(self.widget, self.signal).disconnect(self._slot)
        self._slot = slot
        if slot is not None:
            getattr(self.widget, self.signal).connect(slot)


def _set_range(widget: Any, field: _Field) -> None:
    low, high = field.note(WithinRange, Minimum), field.note(WithinRange, Maximum)
    if (low is None or high is None) and widget.className() in ("ctkSliderWidget", "QSlider"):
        raise RuntimeError(f"A slider needs a range, and {field.name} has none.")
    if field.type is int and hasattr(widget, "decimals"):
        widget.decimals = 0
    if low is not None:
        widget.minimum = low.minimum
    if high is not None:
        widget.maximum = high.maximum


def _fill(widget: Any, field: _Field) -> None:
    choice = field.note(Choice)
    if choice is None:
        raise RuntimeError(f"A combo box needs the Choice annotation, and {field.name} has none.")
    widget.clear()
    for one in choice.choices:
        widget.addItem(str(one))


def _set_node_type(widget: Any, field: _Field) -> None:
    widget.nodeTypes = [field.type.__name__]


def _attribute(name: str, convert: Callable | None = None) -> tuple[Callable, Callable]:
    def read(widget: Any, field: _Field) -> Any:
        return field.type(getattr(widget, name))

    def write(widget: Any, field: _Field, value: Any) -> None:
        if getattr(widget, name) != (convert(value) if convert else value):
            setattr(widget, name, convert(value) if convert else value)

    return read, write


_CHOICE = (
    lambda widget, field: field.note(Choice).choices[widget.currentIndex],
    lambda widget, field, value: setattr(widget, "currentIndex", list(field.note(Choice).choices).index(value)),
)
_NODE = (lambda widget, field: widget.currentNode(), lambda widget, field, value: widget.setCurrentNode(value))
_CONNECTORS = (  # widget classes, field types (None: nodes), signal, read, write, prepare
    (("QCheckBox",), (bool,), "stateChanged", *_attribute("checked"), None),
    (("QSlider", "QSpinBox"), (int,), "valueChanged", *_attribute("value"), _set_range),
    (("ctkSliderWidget", "QDoubleSpinBox"), (float, int), "valueChanged", *_attribute("value"), _set_range),
    (("QComboBox",), (str, int, float, bool), "currentIndexChanged", *_CHOICE, _fill),
    (("QLineEdit",), (str,), "textChanged", *_attribute("text"), None),
    (("ctkPathLineEdit",), (pathlib.Path,), "currentPathChanged", *_attribute("currentPath", str), None),
    (
        ("qMRMLNodeComboBox",),
        None,
        "currentNodeChanged",
        *_NODE,
        _set_node_type,
    ),
)


class _Methods:
    """What a wrapped class gets besides its fields."""

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._guis: dict[int, tuple[dict[str, _Connector], int]] = {}
        self._showing = False
        for field in self.allParameters.values():
            if not parameterNode.HasParameter(field.name):
                field.write(parameterNode, field.default)

    def getValue(self, name: str) -> Any:
        return self.allParameters[name].read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        self.allParameters[name].write(self.parameterNode, value)

    def default(self, name: str) -> Default:
        return Default(self.allParameters[name].default)

    def connectGui(self, gui: Any) -> int:
        connectors = {}
        for widget in vars(gui).values():
            name = widget.property("SlicerParameterName")
            if name:
                if name not in self.allParameters:
                    raise ValueError(f"Cannot find a param with the given name: {name}")
                connectors[name] = _Connector(widget, self.allParameters[name])
        for name, connector in connectors.items():
            connector.show(self.getValue(name))
            connector.on_changed(self._reader(name, connector))
        tag = max(self._guis, default=-1) + 1
        self._guis[tag] = connectors, self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show())
        return tag

    def disconnectGui(self, tag: int | None) -> None:
        connectors, observer = self._guis.pop(tag, ({}, None))
        for connector in connectors.values():
            connector.on_changed(None)
        if observer is not None:
            self.RemoveObserver(observer)

    def _reader(self, name: str, connector: _Connector) -> Callable[[], None]:
        def changed() -> None:
            if not self._showing:
                with slicer.util.NodeModify(self):
                    self.setValue(name, connector.value())

        return changed

    def _show(self) -> None:
        if self._showing:
            return
        self._showing = True
        try:
            with slicer.util.NodeModify(self):
                for connectors, _ in self._guis.values():
                    for name, connector in connectors.items():
                        connector.show(self.getValue(name))
        finally:
            self._showing = False

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


def _property(field: _Field) -> property:
    return property(
        lambda self: field.read(self.parameterNode), lambda self, value: field.write(self.parameterNode, value)
    )


def parameterNodeWrapper(cls: type) -> type:
    """Make a class of annotated fields a typed view of a vtkMRMLScriptedModuleNode."""
    fields = {name: _Field(name, hint, cls) for name, hint in typing.get_type_hints(cls, include_extras=True).items()}
    for name, member in vars(_Methods).items():
        if callable(member):
            if name != "__init__" and hasattr(cls, name):
                raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
            setattr(cls, name, member)
    cls.allParameters = fields
    for field in fields.values():
        setattr(cls, field.name, _property(field))
    return cls
