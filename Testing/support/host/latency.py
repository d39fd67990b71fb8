"""The event loop: running it until something is true, and measuring for how long it stood still."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import QEventLoop, QTimer
from PySide6.QtWidgets import QApplication

__all__ = ["Gaps", "pump"]

_INTERVAL = 5  # ms


def pump(until: Callable[[], object] | None = None, timeout: float = 10.0) -> bool:
    """Process events until ``until()`` is true, or for ``timeout`` seconds.

    Returns:
        Whether it became true; True without ``until``.
    """
    end = time.monotonic() + timeout
    while True:
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, _INTERVAL)
        if until is not None and until():
            return True
        if time.monotonic() >= end:
            return until is None
        time.sleep(0.001)  # leave the processor to the worker


class Gaps:
    """While the block runs, a timer of 5 ms notes when the event loop calls it.

    Attributes:
        longest: the longest time between two of the calls, s; what a user would feel as a window that hangs. Counts
            from the block's begin to its end, so that a block that never lets the loop run is one long gap.
        calls: how often the timer was called.
    """

    def __init__(self) -> None:
        self.longest, self.calls = 0.0, 0
        self._last = 0.0
        self._timer = QTimer()
        self._timer.setInterval(_INTERVAL)
        self._timer.timeout.connect(self._called)

    def _note(self) -> None:
        now = time.monotonic()
        self.longest, self._last = max(self.longest, now - self._last), now

    def _called(self) -> None:
        self.calls += 1
        self._note()

    def __enter__(self) -> Gaps:
        self._last = time.monotonic()
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.stop()
        self._note()
