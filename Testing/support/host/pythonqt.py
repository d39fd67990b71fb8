"""Qt as PythonQt shows it inside Slicer, on top of PySide6: the module ``qt`` of the test host.

PythonQt's habits, and what the host does about them:

- A Qt property is an attribute (``slider.value = 3``); the getter of the same name can't be called.
- New attributes can't be put on a Qt object; a misspelt property raises AttributeError.
- ``button.connect("clicked(bool)", f)`` names a signal by its C++ signature. A wrong one gives False and a line in the
  log; the host also keeps it in ``slot_errors``, since it is always a mistake. A slot gets as many arguments as it
  takes.
- An enum's value is a number (``qt.Qt.AlignLeft | qt.Qt.AlignTop == 33``).
- An exception in a slot is printed and the application goes on. The host also keeps it in ``slot_errors``.
- Lists come back as tuples, and a destroyed object raises ValueError.
- A class outside Qt (CTK, qMRML) shows its properties, signals and slots only, not its other C++ methods.

Where the members that Slicer exposes are on record (``members.py``), any other name raises AttributeError.
"""

from __future__ import annotations

import enum
import inspect
import logging
import operator
import re
import sys
import traceback
import types
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

from .members import members

__all__ = ["StandIn", "Wrapper", "is_alive", "namespace", "slot_errors", "unwrap", "wrap", "wrapper_class"]

slot_errors: list[BaseException] = []
"""Exceptions that slots raised, and connections to signals that do not exist, for tests to look at."""

_SIGNATURE = re.compile(r"^\s*(\w+)\s*\((.*)\)\s*$")
_MODULES = (QtCore, QtGui, QtWidgets)
_ADDED = frozenset({"className", "connect", "delete", "disconnect", "name"})  # by PythonQt to every object


class StandIn:
    """Mixed into the stand-ins of CTK and qMRML widgets; only their Qt properties, signals and slots are shown.

    ``signatures`` maps a signal's name to its C++ signature, where PySide can't know it (VTK types).
    ``constants`` are the values of the class's C++ enums.
    """

    signatures: dict[str, str] = {}  # noqa: RUF012
    constants: dict[str, int] = {}  # noqa: RUF012


class _WrapperType(type):
    def __getattr__(cls, name: str) -> Any:
        """Enum values and static functions of the Qt class."""
        pyside = cls.__dict__.get("_pyside")
        if pyside is None or name.startswith("_"):
            raise AttributeError(name)
        if issubclass(pyside, StandIn):
            if name in pyside.constants:
                return pyside.constants[name]
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")
        return _shown(getattr(pyside, name))


class _Number(int):
    """An enum's value: a number that remembers which enum it is, as PySide insists on that."""

    _enum: enum.Enum

    def _with(self, other: Any, combine: Callable) -> Any:
        both = isinstance(other, _Number) and type(other._enum) is type(self._enum)
        return _shown(combine(self._enum, other._enum)) if both else combine(int(self), int(other))

    def __or__(self, other: Any) -> Any:
        return self._with(other, operator.or_)

    def __and__(self, other: Any) -> Any:
        return self._with(other, operator.and_)

    def __invert__(self) -> Any:
        return _shown(~self._enum) if isinstance(self._enum, enum.Flag) else ~int(self)


class Wrapper(metaclass=_WrapperType):
    """One Qt object as Python code in Slicer sees it."""

    __slots__ = ("_object",)
    _pyside: type

    def __init__(self, *args: Any) -> None:
        object.__setattr__(self, "_object", self._pyside(*map(unwrap, args)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        target = self._alive()
        _refuse_unknown(target, name)
        if name == "className":
            return lambda: target.metaObject().className()
        if name == "connect":
            return lambda signal, slot: _connect(target, signal, slot)
        if name == "disconnect":
            return lambda signal, slot: _disconnect(target, signal, slot)
        if name == "delete":
            return lambda: shiboken6.delete(target)
        name = {"name": "objectName", "exec_": "exec"}.get(name, name)
        if _property(target, name) is not None:
            return wrap(QtCore.QObject.property(target, name))
        value = getattr(target, name)
        return _Signal(target, name) if isinstance(value, QtCore.SignalInstance) else _shown(value)

    def __setattr__(self, name: str, value: Any) -> None:
        target = self._alive()
        _refuse_unknown(target, name)
        found = _property(target, {"name": "objectName"}.get(name, name))
        if found is None:
            raise AttributeError(f"new attributes on C++ objects are not allowed: {_class_name(target)}.{name}")
        if not found.isWritable() or not found.write(target, unwrap(value)):
            raise ValueError(f"{_class_name(target)}.{name} can't be set to {value!r}.")

    def _alive(self) -> Any:
        if not shiboken6.isValid(self._object):
            raise ValueError(f"Trying to access a destroyed {self._pyside.__name__} object")
        return self._object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wrapper) and other._object is self._object

    def __hash__(self) -> int:
        return hash(id(self._object))

    def __repr__(self) -> str:
        return f"<{self._pyside.__name__} of the test host>"


class _Signal:
    """``button.clicked``: connect, disconnect and emit."""

    def __init__(self, target: QtCore.QObject, name: str) -> None:
        self._target, self._name = target, name

    def connect(self, slot: Callable) -> bool:
        return _attach(self._target, self._name, slot, None)

    def disconnect(self, slot: Callable) -> bool:
        return _detach(self._target, self._name, slot)

    def emit(self, *args: Any) -> None:
        getattr(self._target, self._name).emit(*map(unwrap, args))


def is_alive(wrapper: Wrapper) -> bool:
    """Whether Qt has not destroyed the object."""
    return shiboken6.isValid(wrapper._object)


def wrap(value: Any) -> Any:
    """What PythonQt would hand to Python for a value that PySide returned."""
    if isinstance(value, (list, tuple)):
        return tuple(map(wrap, value))
    if isinstance(value, enum.Enum):
        return _shown(value)
    if isinstance(value, StandIn) or _is_qt_class(type(value)):
        wrapper = object.__new__(wrapper_class(type(value)))
        object.__setattr__(wrapper, "_object", value)
        return wrapper
    return value


def unwrap(value: Any) -> Any:
    """What PySide takes for a value that Python code gave."""
    if isinstance(value, Wrapper):
        return value._alive()
    if isinstance(value, _WrapperType):
        return value._pyside
    if isinstance(value, _Number):
        return value._enum
    if isinstance(value, (list, tuple)):
        return [unwrap(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return _guarded(value) if isinstance(value, (types.FunctionType, types.MethodType)) else value


@cache
def wrapper_class(pyside: type) -> type[Wrapper]:
    """The class that stands for a PySide class or a stand-in, with the same inheritance."""
    bases = tuple(wrapper_class(base) for base in pyside.__bases__ if _is_qt_class(base) or _is_stand_in(base))
    return _WrapperType(pyside.__name__, bases or (Wrapper,), {"_pyside": pyside, "__slots__": ()})


class _Namespace:
    """``qt.Qt``: the values of its enums."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        return _shown(getattr(QtCore.Qt, name))


def namespace() -> types.ModuleType:
    """The module ``qt``: all of QtCore, QtGui and QtWidgets in one flat namespace."""
    module = types.ModuleType("qt", __doc__)

    def find(name: str) -> Any:
        for source in _MODULES:
            if name in ("Signal", "Slot", "Property") or name.startswith("_"):  # a Signal crashes Slicer
                break
            if hasattr(source, name):
                value = getattr(source, name)
                return _Namespace() if value is QtCore.Qt else wrapper_class(value) if _is_qt_class(value) else value
        raise AttributeError(f"module 'qt' has no attribute '{name}'")

    module.__getattr__ = find
    return module


def _is_qt_class(value: Any) -> bool:
    """Whether it is one of PySide's classes of objects; neither an enum nor the namespace ``Qt``."""
    return (
        isinstance(value, type(shiboken6.Object)) and value.__module__.startswith("PySide6.") and value is not QtCore.Qt
    )


def _is_stand_in(cls: type) -> bool:
    return issubclass(cls, StandIn) and cls is not StandIn


def _class_name(target: Any) -> str:
    return type(target).__name__


def _property(target: Any, name: str) -> QtCore.QMetaProperty | None:
    if not isinstance(target, QtCore.QObject):
        return None
    meta = target.metaObject()
    index = meta.indexOfProperty(name)
    return meta.property(index) if index >= 0 else None


def _refuse_unknown(target: Any, name: str) -> None:
    """AttributeError for what the class has in PySide, or as Python code, but not in Slicer."""
    known = members(_class_name(target))
    shown = known is None or name in known
    if isinstance(target, StandIn) and known is None:
        base = next(cls for cls in type(target).__mro__ if _is_qt_class(cls))
        meta = target.metaObject()
        methods = {meta.method(index).name().data().decode() for index in range(meta.methodCount())}
        shown = hasattr(base, name) or name in _ADDED | methods or _property(target, name) is not None
    if not shown:
        raise AttributeError(f"{_class_name(target)} has no attribute '{name}' in Slicer")


def _shown(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        if not isinstance(value.value, int):
            return value
        number = _Number(value.value)
        number._enum = value
        return number
    if isinstance(value, type) or not callable(value):
        return value

    def method(*args: Any) -> Any:
        return wrap(value(*map(unwrap, args)))

    method.__name__ = getattr(value, "__name__", "method")
    return method


def _takes(slot: Callable) -> int | None:
    """How many arguments a Python function takes at most; None for any number, or when it can't be known."""
    if not isinstance(slot, (types.FunctionType, types.MethodType)):
        return None
    parameters = inspect.signature(slot).parameters.values()
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None
    return sum(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in parameters)


def _guarded(slot: Callable, arguments: int = 0) -> Callable:
    """The slot with as many arguments as it takes of the signal's; its exceptions are printed and kept."""
    takes = _takes(slot)
    arguments = arguments if takes is None else min(arguments, takes)

    def call(*args: Any) -> None:
        try:
            slot(*map(wrap, args))
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            slot_errors.append(error)

    # PySide chooses the signal's overload by the number of parameters that it reads off the function.
    return (lambda: call(), lambda a: call(a), lambda a, b: call(a, b), lambda a, b, c: call(a, b, c))[arguments]


def _attach(target: QtCore.QObject, name: str, slot: Callable, arguments: int | None) -> bool:
    if not callable(slot):
        raise TypeError(f"A slot must be callable, not {slot!r}.")
    if arguments is None:
        arguments = max(sign.count(",") + 1 if sign[-2:] != "()" else 0 for sign in _signals(target, name))
    call = _guarded(slot, arguments)
    if not shiboken6.ownedByPython(target):
        call.sender = (
            target  # PySide would forget the Python side of an object that Qt owns, and the list below with it
        )
    target.__dict__.setdefault("_connections", []).append((name, slot, call))
    getattr(target, name).connect(call)
    return True


def _detach(target: QtCore.QObject, name: str, slot: Callable) -> bool:
    connections = target.__dict__.get("_connections", [])
    for connection in connections:
        if connection[:2] == (name, slot):
            getattr(target, name).disconnect(connection[2])
            connections.remove(connection)
            return True
    return False


def _signals(target: QtCore.QObject, name: str | None = None) -> set[str]:
    """The C++ signatures of an object's signals."""
    meta = target.metaObject()
    methods = (meta.method(index) for index in range(meta.methodCount()))
    return {
        method.methodSignature().data().decode()
        for method in methods
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal and name in (None, method.name().data().decode())
    }


def _signal(target: QtCore.QObject, text: str) -> tuple[str, int] | None:
    """Name and number of arguments of the signal with this C++ signature; None, logged and kept, if there is none."""
    match = _SIGNATURE.match(text)
    known = _signals(target)
    if isinstance(target, StandIn):
        known = {sign for sign in known if "PyObject" not in sign} | set(target.signatures.values())
    if not match or f"{match[1]}({match[2].replace(' ', '')})" not in known:
        error = ValueError(f"{_class_name(target)} has no signal {text}; it has {', '.join(sorted(known))}.")
        logging.error(error)
        slot_errors.append(error)
        return None
    return match[1], len(match[2].split(",")) if match[2].strip() else 0


def _connect(target: QtCore.QObject, signal: str, slot: Callable) -> bool:
    found = _signal(target, signal)
    return found is not None and _attach(target, found[0], slot, found[1])


def _disconnect(target: QtCore.QObject, signal: str, slot: Callable) -> bool:
    found = _signal(target, signal)
    return found is not None and _detach(target, found[0], slot)
