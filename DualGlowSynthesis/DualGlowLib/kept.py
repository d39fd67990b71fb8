"""What was computed and may be wanted again, up to a limit; what was used least recently goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

__all__ = ["Kept"]

_Value = TypeVar("_Value")


class Kept(Generic[_Value]):
    """Values by key.

    Args:
        limit: of the sizes' sum; the value that was used last stays even if it is larger alone.
        size: of one value; each counts 1 by default.
    """

    def __init__(self, limit: int, size: Callable[[_Value], int] = lambda value: 1) -> None:
        self._limit, self._size = limit, size
        self._values: OrderedDict[Hashable, _Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[_Value]:
        return iter(self._values.values())

    def get(self, key: Hashable) -> _Value | None:
        """The value, which now is the one used last; None if it isn't there."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: Hashable, value: _Value) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > 1 and sum(map(self._size, self._values.values())) > self._limit:
            self._values.popitem(last=False)

    def clear(self) -> None:
        self._values.clear()
