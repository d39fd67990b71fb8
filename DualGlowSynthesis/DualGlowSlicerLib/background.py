"""Work in a thread beside the window: what only reads files, and would let the window stand still for too long."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import qt

__all__ = ["Background"]

_POLL_MS = 20
_YIELD_SECONDS = 0.005


class Background:
    """Calls ``work`` in a thread at once; what it gives is handed over in the thread that made this, the window's.

    :param work: touches neither Qt nor the scene.
    :param onDone: called with what ``work`` has returned.
    :param onFailed: called with the exception that it has raised; without it, that goes to the error log.
    """

    _running: ClassVar[set] = set()  # kept alive although nobody may hold it

    def __init__(
        self,
        work: Callable[[], Any],
        onDone: Callable[[Any], None],
        onFailed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._work, self._onDone, self._onFailed = work, onDone, onFailed
        self._result = self._error = None
        self._thread = threading.Thread(target=self._run, name="DualGlow background", daemon=True)
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._poll)
        self._running.add(self)
        self._thread.start()
        self._timer.start()

    def forget(self) -> None:
        """Hear of it no more; what the thread still does is of no consequence."""
        self._timer.stop()
        self._running.discard(self)

    def _run(self) -> None:
        try:
            self._result = self._work()
        except Exception as error:
            self._error = error

    def _poll(self) -> None:
        # Slicer's event loop keeps Python's lock: the thread goes on only while Python code here waits.
        time.sleep(_YIELD_SECONDS)
        if self._thread.is_alive():
            return
        self.forget()
        if self._error is None:
            self._onDone(self._result)
        elif self._onFailed:
            self._onFailed(self._error)
        else:
            logging.error("What was done in the background failed.", exc_info=self._error)
