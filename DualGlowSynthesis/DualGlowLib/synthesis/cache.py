"""A cache bounded by size, which drops the least recently used value first (LRU)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

__all__ = ["SizedCache"]

_Value = TypeVar("_Value")


class SizedCache(Generic[_Value]):
    """An LRU cache: values by key, up to a total size.

    Args:
        limit: largest sum of the sizes. The most recently used value stays even if it alone is larger.
        size: gives the size of a value; by default each counts 1, so that ``limit`` is a number of values.
    """

    def __init__(self, limit: int, size: Callable[[_Value], int] = lambda value: 1) -> None:
        self._limit, self._size = limit, size
        self._values: OrderedDict[Hashable, _Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[_Value]:
        return iter(self._values.values())

    def get(self, key: Hashable) -> _Value | None:
        """The value, which becomes the most recently used; None if there is none."""
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
