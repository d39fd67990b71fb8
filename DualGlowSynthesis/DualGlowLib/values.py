"""Values that come as JSON, checked against the type hints of what takes them: settings files and requests."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, field, fields, is_dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import InputError

__all__ = ["bounded", "check_fields", "check_value", "one_of", "with_values"]

_Settings = TypeVar("_Settings")

_BOUNDS, _CHOICES = "bounds", "choices"
_LARGEST = 1e15  # no setting comes near it; a float still holds each whole number below
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def bounded(default: object = MISSING, least: float = -_LARGEST, most: float = _LARGEST, *, above: bool = False) -> Any:
    """A field of a dataclass whose numbers, also each of a tuple, ``check_fields`` wants from ``least`` to ``most``.

    Args:
        default: of the field; none: it must be given.
        least, most: the bounds, which may be reached.
        above: ``least`` itself may not.
    """
    return field(default=default, metadata={_BOUNDS: (least, most, above)})


def one_of(default: str, *choices: str) -> Any:
    """A field of a dataclass that is one of ``choices``, which ``check_fields`` sees to."""
    return field(default=default, metadata={_CHOICES: choices})


def check_fields(settings: object) -> None:
    """Bring the simple fields of a frozen dataclass to their types, and refuse what is out of bounds.

    To be called by its ``__post_init__``; so that settings that exist can be used, wherever they came from.

    Raises:
        InputError: for a value of another type, or outside what ``bounded`` and ``one_of`` set.
    """
    hints = _hints(type(settings))
    for entry in fields(settings):
        if not (entry.metadata or hints[entry.name] in _KINDS):
            continue
        value = check_value(getattr(settings, entry.name), hints[entry.name], entry.name)
        object.__setattr__(settings, entry.name, value)
        choices = entry.metadata.get(_CHOICES, (value,))
        if value not in choices:
            raise InputError(f"{entry.name} must be one of {', '.join(choices)}, not {reprlib.repr(value)}.")
        least, most, above = entry.metadata.get(_BOUNDS, (None, None, False))
        for number in () if least is None else value if isinstance(value, tuple) else (value,):
            if not least <= number <= most or (above and number == least):
                low = "" if least == -_LARGEST else f"above {least:g}" if above else f"at least {least:g}"
                high = "" if most == _LARGEST else f"at most {most:g}"
                raise InputError(f"{entry.name} must be {' and '.join(filter(None, (low, high)))}, not {number:g}.")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def check_value(value: object, hint: Any, name: str) -> Any:
    """The value in the type that is asked for.

    Args:
        value: as JSON gives it.
        hint: ``bool``, ``int``, ``float``, ``str``, ``list[…]`` (of at least one), ``tuple[…, ...]`` or a tuple of a
            fixed length, ``dict[str, …]``, and any of these or None joined by ``|``.
        name: what to call it in the error.

    Raises:
        InputError: if it is of another type, or a number too large to be meant.
    """
    try:
        return _taken(value, hint)
    except TypeError:
        raise InputError(f"{name} must be {_described(hint)}, not {reprlib.repr(value)}.") from None


def with_values(settings: _Settings, values: Mapping, where: str, **ready: object) -> _Settings:
    """A copy of a dataclass with other values; parts that are dataclasses themselves may be given in part.

    Args:
        settings: the dataclass.
        values: by the names of its fields, as JSON gives them.
        where: what to name in errors.
        ready: further fields, which are taken as they are.

    Raises:
        InputError: for an unknown name, a value of another type, or values that don't go together.
    """
    hints, changed = get_type_hints(type(settings)), dict(ready)
    for name, value in values.items():
        if name not in hints:
            raise InputError(f"{where}: {name!r} is no setting; there are {', '.join(hints)}.")
        if not is_dataclass(hints[name]):
            changed[name] = check_value(value, hints[name], f"{where}: {name}")
        elif isinstance(value, Mapping):
            changed[name] = with_values(getattr(settings, name), value, f"{where}, {name}")
        else:
            raise InputError(f"{where}: {name} must be an object of settings, not {reprlib.repr(value)}.")
    try:
        return replace(settings, **changed)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None


def _taken(value: object, hint: Any) -> Any:
    kinds, origin = get_args(hint), get_origin(hint)
    if origin in (Union, UnionType):
        for kind in kinds:
            with suppress(TypeError):
                return _taken(value, kind)
    elif origin in (list, tuple) and isinstance(value, list | tuple):
        fits = len(value) > 0 if origin is list else Ellipsis in kinds or len(value) == len(kinds)
        if fits:
            return origin(_taken(part, kinds[0]) for part in value)
    elif origin is dict and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _taken(part, kinds[1]) for key, part in value.items()}
    elif hint in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) < _LARGEST and hint(value) == value:  # which NaN is not
            return hint(value)
    elif hint in (bool, str, NoneType) and isinstance(value, hint):
        return value
    raise TypeError


def _described(hint: Any, many: bool = False) -> str:
    kinds, origin = [kind for kind in get_args(hint) if kind not in (NoneType, Ellipsis)], get_origin(hint)
    if origin in (Union, UnionType):
        return " or ".join(_described(kind, many) for kind in kinds)
    if origin is dict:
        return f"an object of {_described(kinds[1])} by name"
    if origin in (list, tuple):
        count = f"{len(kinds)} " if len(kinds) > 1 else ""
        return f"a list of {count}{_described(kinds[0], many=True)}"
    return f"{_KINDS[hint].removeprefix('a ')}s" if many and hint in (int, float) else _KINDS[hint]
