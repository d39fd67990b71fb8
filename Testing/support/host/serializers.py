"""How values of typed fields are kept in a vtkMRMLScriptedModuleNode: the types of ``slicer.parameterNodeWrapper``.

Text under the field's name for numbers, truth values, text, paths and enums; a node reference for MRML nodes; several
parameters, ``name.0``, ``name.len``, … for optional values, lists and parameter packs. Any other type is refused, as is
``X | None`` (write ``typing.Optional[X]``), which Slicer refuses too.
"""

from __future__ import annotations

import enum
import logging
import pathlib
import typing
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass
from typing import Any

import slicer

from .annotations import Decimals, Default, SingleStep, Validator

__all__ = ["Field", "FloatRange", "isParameterPack", "make_field", "make_fields", "parameterPack"]


class _Kind:
    """How the values of one type are written and read; this one: as one text."""

    def __init__(self, kind: type, accepted: type | tuple[type, ...], read: Callable[[str], Any]) -> None:
        self.type, self._accepted, self._read = kind, accepted, read
        self.default = kind() if not issubclass(kind, enum.Enum) else next(iter(kind))

    def check(self, value: Any) -> None:
        if value is None:
            raise ValueError("Value must not be None")
        if not isinstance(value, self._accepted):
            raise TypeError(f"Value must be of type {self.type}, is {value!r}")

    def has(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node: Any, name: str) -> Any:
        return self._read(node.GetParameter(name))

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)


class _Node(_Kind):
    def __init__(self, kind: type) -> None:
        self.type, self.default = kind, None

    def check(self, value: Any) -> None:
        if not isinstance(value, (self.type, type(None))):
            raise TypeError(f"Value must be of type {self.type}, is {value!r}")

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, None if value is None else value.GetID())

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        super().remove(node, name)
        node.RemoveNodeReferenceIDs(name)


class _Optional(_Kind):
    """``name.0`` holds a value, ``name.1`` stands for None."""

    def __init__(self, inner: Field) -> None:
        self.inner, self.type, self.default = inner, inner.type, None

    def check(self, value: Any) -> None:
        if value is not None:
            self.inner.check(value)

    def has(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(f"{name}.1")) or self.inner.kind.has(node, f"{name}.0")

    def write(self, node: Any, name: str, value: Any) -> None:
        self.remove(node, name)
        if value is None:
            node.SetParameter(f"{name}.1", "True")
        else:
            self.inner.kind.write(node, f"{name}.0", value)

    def read(self, node: Any, name: str) -> Any:
        return None if node.HasParameter(f"{name}.1") else self.inner.kind.read(node, f"{name}.0")

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(f"{name}.1")
        self.inner.kind.remove(node, f"{name}.0")


class _ObservedList(MutableSequence):
    """A list that writes itself to the parameter node when it changes."""

    def __init__(self, items: list, save: Callable[[list], None]) -> None:
        self._items, self._save = items, save

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._items[index] = value
        self._save(self._items)

    def __delitem__(self, index: Any) -> None:
        del self._items[index]
        self._save(self._items)

    def insert(self, index: int, value: Any) -> None:
        self._items.insert(index, value)
        self._save(self._items)

    def __eq__(self, other: object) -> bool:
        return self._items == (other._items if isinstance(other, _ObservedList) else other)

    __hash__ = None

    def __repr__(self) -> str:
        return f"ObservedList({self._items})"


class _List(_Kind):
    """``name.len`` and ``name.0``, ``name.1``, …"""

    def __init__(self, inner: Field) -> None:
        self.inner, self.type, self.default = inner, list, []

    def check(self, value: Any) -> None:
        for item in value:
            self.inner.check(item)

    def has(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(f"{name}.len"))

    def write(self, node: Any, name: str, value: Any) -> None:
        items = list(value)
        self.check(items)
        self.remove(node, name)
        node.SetParameter(f"{name}.len", str(len(items)))
        for index, item in enumerate(items):
            self.inner.kind.write(node, f"{name}.{index}", item)

    def read(self, node: Any, name: str) -> Any:
        count = int(node.GetParameter(f"{name}.len"))
        items = [self.inner.kind.read(node, f"{name}.{index}") for index in range(count)]

        def save(changed: list) -> None:
            with slicer.util.NodeModify(node):
                self.write(node, name, changed)

        return _ObservedList(items, save)

    def remove(self, node: Any, name: str) -> None:
        for index in range(int(node.GetParameter(f"{name}.len") or 0)):
            self.inner.kind.remove(node, f"{name}.{index}")
        node.UnsetParameter(f"{name}.len")


class _Pack(_Kind):
    """Each member under ``name.member``; what is read writes itself back when a member is set."""

    def __init__(self, kind: type) -> None:
        self.type, self._accepted, self.default = kind, kind, kind()

    def has(self, node: Any, name: str) -> bool:
        first = next(iter(self.type.allParameters.values()))
        return first.kind.has(node, f"{name}.{first.name}")

    def write(self, node: Any, name: str, value: Any) -> None:
        for field in self.type.allParameters.values():
            field.kind.write(node, f"{name}.{field.name}", value.__dict__[field.name])

    def read(self, node: Any, name: str) -> Any:
        pack = object.__new__(self.type)
        for field in self.type.allParameters.values():
            pack.__dict__[field.name] = field.kind.read(node, f"{name}.{field.name}")

        def save(changed: Any) -> None:
            with slicer.util.NodeModify(node):
                self.write(node, name, changed)

        pack.__dict__["_save"] = save
        return pack

    def remove(self, node: Any, name: str) -> None:
        for field in self.type.allParameters.values():
            field.kind.remove(node, f"{name}.{field.name}")


@dataclass
class Field:
    """One field: its name, its type as it was annotated, how its values are kept, and what they must satisfy."""

    name: str
    hint: Any
    kind: _Kind
    validators: list
    notes: list
    default: Any

    @property
    def type(self) -> type:
        return self.kind.type

    def note(self, *kinds: type) -> Any:
        return next((note for note in (*self.validators, *self.notes) if isinstance(note, kinds)), None)

    def check(self, value: Any) -> None:
        self.kind.check(value)
        for validator in self.validators:
            validator.validate(value)


def _kind(hint: Any, owner: str) -> _Kind:
    if typing.get_origin(hint) is typing.Union and len(typing.get_args(hint)) == 2 and type(None) in hint.__args__:
        inner = next(one for one in typing.get_args(hint) if one is not type(None))
        return _Optional(make_field("", inner, owner))
    if typing.get_origin(hint) is list:
        return _List(make_field("", typing.get_args(hint)[0], owner))
    if isParameterPack(hint):
        return _Pack(hint)
    if isinstance(hint, type):
        if issubclass(hint, slicer.vtkMRMLNode):
            return _Node(hint)
        if issubclass(hint, enum.Enum):
            return _Kind(hint, hint, hint.__getitem__)
        if hint is bool:
            return _Kind(bool, bool, lambda text: text == "True")
        if hint in (int, float):
            return _Kind(hint, (int, float) if hint is float else int, hint)
        if hint in (str, pathlib.Path):
            return _Kind(hint, hint, hint)
    raise TypeError(f"The test host's parameterNodeWrapper has no type {hint} ({owner}).")


def make_field(name: str, hint: Any, owner: Any) -> Field:
    """The field of a class, or of an unnamed part of one, with this annotation.

    Raises:
        TypeError: for a type that is not supported.
        ValueError: for a default that the annotations forbid.
    """
    annotated = typing.get_origin(hint) is typing.Annotated
    kind = _kind(hint.__origin__ if annotated else hint, f"{getattr(owner, '__name__', owner)}.{name}")
    notes = list(hint.__metadata__) if annotated else []
    validators = [note for note in notes if isinstance(note, Validator)]
    notes = [note for note in notes if note not in validators]
    given = [note.value for note in notes if isinstance(note, Default)]
    default = getattr(owner, name, given[0] if given else kind.default) if name else kind.default
    if not all(isinstance(note, (Default, Decimals, SingleStep)) for note in notes):
        logging.warning(f"Unused annotations: {notes}")
    return Field(name, hint, kind, validators, notes, default)


def make_fields(cls: type) -> dict[str, Field]:
    """The fields of a class, by name."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {name: make_field(name, hint, cls) for name, hint in hints.items()}


def isParameterPack(kind: Any) -> bool:
    return bool(getattr(kind, "_is_parameterPack", False))


def _member(field: Field) -> property:
    def write(self: Any, value: Any) -> None:
        field.check(value)
        self.__dict__[field.name] = value
        if "_save" in self.__dict__:
            self.__dict__["_save"](self)

    return property(lambda self: self.__dict__[field.name], write)


def parameterPack(cls: type) -> type:
    """Make a class of annotated members one that a field may have as its type."""
    fields = make_fields(cls)
    own = cls.__dict__.get("__init__")

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        for field in fields.values():
            setattr(self, field.name, field.default)
        if own is not None:
            own(self, *args, **kwargs)
            return
        for name, value in (*zip(fields, args, strict=False), *kwargs.items()):
            if name not in fields:
                raise TypeError(f"__init__() got an unexpected keyword argument '{name}'")
            setattr(self, name, value)

    def equal(self: Any, other: object) -> bool:
        return type(self) is type(other) and all(getattr(self, name) == getattr(other, name) for name in fields)

    for field in fields.values():
        setattr(cls, field.name, _member(field))
    cls.__init__, cls.__eq__, cls.__hash__ = init, equal, None
    cls.allParameters, cls._is_parameterPack = fields, True
    cls.getValue, cls.setValue = getattr, setattr
    return cls


@parameterPack
class FloatRange:
    """Two numbers, of which the first is not the greater."""

    _minimum: float
    _maximum: float

    def __init__(self, minimum: float = 0, maximum: float = 0) -> None:
        self.setRange(minimum, maximum)

    def setRange(self, minimum: float, maximum: float) -> None:
        if not minimum <= maximum:
            raise ValueError(f"FloatRange must have minimum <= maximum: {minimum} <= {maximum}")
        self._minimum, self._maximum = minimum, maximum

    @property
    def minimum(self) -> float:
        return self._minimum

    @minimum.setter
    def minimum(self, value: float) -> None:
        self.setRange(value, self.maximum)

    @property
    def maximum(self) -> float:
        return self._maximum

    @maximum.setter
    def maximum(self, value: float) -> None:
        self.setRange(self.minimum, value)

    def __repr__(self) -> str:
        return f"FloatRange(minimum={self.minimum}, maximum={self.maximum})"
