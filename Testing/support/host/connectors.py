"""Which widget shows which type of field, and how: the GUI connectors of ``slicer.parameterNodeWrapper``.

As in Slicer the widget's class must be exactly the one that is listed: a ctkSliderWidget shows a ``float`` with a range
and no ``int``, and neither ctkDoubleSpinBox nor ctkComboBox nor qMRMLSliderWidget shows anything.
"""

from __future__ import annotations

import enum
import logging
import math
import pathlib
import typing
from collections.abc import Callable
from typing import Any

import slicer

from .annotations import Choice, Decimals, Maximum, Minimum, RangeBounds, SingleStep, WithinRange
from .serializers import Field, FloatRange

__all__ = ["Connector"]


class Connector:
    """Ties one widget to one field.

    Raises:
        RuntimeError: if Slicer can't tie them.
    """

    def __init__(self, widget: Any, field: Field) -> None:
        self.widget, self.field = widget, field
        kind = widget.className()
        found = next((row for row in _TABLE if kind in row[0] and row[1](field)), None)
        if found is None:
            raise RuntimeError(f"Unable to create GUI connector from datatype '{field.hint}' to widget type '{kind}'")
        _, _, self.signal, self._read, self._write, prepare = found
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


def _nothing(widget: Any, field: Field) -> None:
    """Most widgets need no preparation."""


def _digits(widget: Any, field: Field) -> None:
    if field.note(Decimals) is not None:
        widget.decimals = field.note(Decimals).value
    if field.note(SingleStep) is not None:
        widget.singleStep = field.note(SingleStep).value


def _set_range(widget: Any, field: Field) -> None:
    _digits(widget, field)
    low, high = field.note(WithinRange, Minimum), field.note(WithinRange, Maximum)
    if (low is None or high is None) and widget.className() in ("ctkSliderWidget", "QSlider"):
        raise RuntimeError(f"A slider needs a range, and {field.name} has none.")
    widest = (-(2**31), 2**31 - 1) if field.type is int else (-math.inf, math.inf)
    widget.minimum = low.minimum if low is not None else widest[0]
    widget.maximum = high.maximum if high is not None else widest[1]


def _set_bounds(widget: Any, field: Field) -> None:
    _digits(widget, field)
    bounds = field.note(RangeBounds)
    if bounds is None:
        raise RuntimeError(f"A ctkRangeWidget needs the annotation RangeBounds, and {field.name} has none.")
    widget.setRange(bounds.minimum, bounds.maximum)


def _make_checkable(widget: Any, field: Field) -> None:
    if not widget.checkable:
        logging.warning(f"Making push button {widget.objectName} checkable for {field.name}.")
        widget.checkable = True


def _fill(widget: Any, field: Field) -> None:
    if field.note(Choice) is None:
        raise RuntimeError(f"A combo box needs the annotation Choice, and {field.name} has none.")
    widget.clear()
    for one in field.note(Choice).choices:
        widget.addItem(str(one))


def _fill_enum(widget: Any, field: Field) -> None:
    widget.clear()
    for one in field.type:
        widget.addItem(getattr(field.type, "label", lambda value: value.name)(one))


def _set_node_type(widget: Any, field: Field) -> None:
    widget.nodeTypes = [field.type.__name__]


def _attribute(name: str, convert: Callable | None = None) -> tuple[Callable, Callable]:
    def read(widget: Any, field: Field) -> Any:
        return field.type(getattr(widget, name)) if convert else getattr(widget, name)

    def write(widget: Any, field: Field, value: Any) -> None:
        setattr(widget, name, convert(value) if convert else value)

    return read, write


def _index(choices: Callable[[Field], list]) -> tuple[Callable, Callable]:
    def write(widget: Any, field: Field, value: Any) -> None:
        widget.currentIndex = choices(field).index(value)  # ValueError for what is no choice

    return lambda widget, field: choices(field)[widget.currentIndex], write


def _plain(*kinds: type) -> Callable[[Field], bool]:
    """Whether the field's type is one of these, and neither optional nor a list."""
    return lambda field: _origin(field) in kinds


def _origin(field: Field) -> Any:
    return field.hint.__origin__ if typing.get_origin(field.hint) is typing.Annotated else field.hint


def _is_enum(field: Field) -> bool:
    return isinstance(_origin(field), type) and issubclass(_origin(field), enum.Enum)


def _is_node(field: Field) -> bool:
    return isinstance(field.type, type) and issubclass(field.type, slicer.vtkMRMLNode)


_NODE = (lambda widget, field: widget.currentNode(), lambda widget, field, value: widget.setCurrentNode(value))
_RANGE = (
    lambda widget, field: FloatRange(widget.minimumValue, widget.maximumValue),
    lambda widget, field, value: widget.setValues(value.minimum, value.maximum),
)
_TEXT = (lambda widget, field: widget.toPlainText(), lambda widget, field, value: widget.setPlainText(value))
_PATH = _plain(pathlib.Path)
_TABLE = (  # widget classes, whether the field fits, signal, read, write, prepare
    (("QCheckBox",), _plain(bool), "stateChanged", *_attribute("checked"), _nothing),
    (("QPushButton",), _plain(bool), "toggled", *_attribute("checked"), _make_checkable),
    (("QSlider", "QSpinBox"), _plain(int), "valueChanged", *_attribute("value"), _set_range),
    (("ctkSliderWidget", "QDoubleSpinBox"), _plain(float), "valueChanged", *_attribute("value"), _set_range),
    (
        ("QComboBox",), _plain(str, int, float, bool), "currentIndexChanged",
        *_index(lambda field: list(field.note(Choice).choices)), _fill,
    ),
    (("QComboBox",), _is_enum, "currentIndexChanged", *_index(lambda field: list(field.type)), _fill_enum),
    (("QLineEdit",), _plain(str), "textChanged", *_attribute("text"), _nothing),
    (("QTextEdit",), _plain(str), "textChanged", *_TEXT, _nothing),
    (("ctkRangeWidget",), _plain(FloatRange), "valuesChanged", *_RANGE, _set_bounds),
    (("ctkPathLineEdit",), _PATH, "currentPathChanged", *_attribute("currentPath", str), _nothing),
    (("ctkDirectoryButton",), _PATH, "directoryChanged", *_attribute("directory", str), _nothing),
    (("qMRMLNodeComboBox",), _is_node, "currentNodeChanged", *_NODE, _set_node_type),
)  # fmt: skip
