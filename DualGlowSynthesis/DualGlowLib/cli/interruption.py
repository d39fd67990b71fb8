"""Graceful stop on SIGINT (Ctrl-C) and SIGTERM."""

from __future__ import annotations

import signal

__all__ = ["Stop"]


class Stop:
    """Within the ``with`` block the first SIGINT or SIGTERM sets ``asked``; a second raises KeyboardInterrupt.

    >>> steps = 0
    >>> with Stop() as stop:
    ...     while not stop.asked:
    ...         steps += 1
    ...         if steps == 3:
    ...             signal.raise_signal(signal.SIGINT)  # as Ctrl-C does
    >>> steps
    3
    """

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Stop:
        self._before = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._ask)
            except ValueError:  # not in the main thread: the caller has its own way to stop
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
