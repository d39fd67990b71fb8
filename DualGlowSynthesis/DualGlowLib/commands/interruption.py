"""A wish to stop, from the keyboard or from whoever manages the process."""

from __future__ import annotations

import signal

__all__ = ["Stop"]


class Stop:
    """Turns the first Ctrl-C or termination into a wish to stop soon; a second one interrupts at once.

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
            except ValueError:  # not in the main thread: whoever runs us there stops us otherwise
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
