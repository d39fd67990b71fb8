"""Graceful stop on SIGINT (Ctrl-C) and SIGTERM."""

from __future__ import annotations

import signal

__all__ = ["Stop"]


class Stop:
    """Within the ``with`` block the first SIGINT or SIGTERM sets ``asked``; a second raises KeyboardInterrupt.

    >>> with Stop() as stop:      # doctest: +SKIP
    ...     while not stop.asked:
    ...         work()
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
