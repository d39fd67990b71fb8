"""How far a computation is: one form for the command line's JSON lines, the worker and training."""

from __future__ import annotations

import time

__all__ = ["Clock", "seconds_left"]


def seconds_left(seconds: float, fraction: float | None) -> float | None:
    """How long the rest takes if it goes on as before; None while too little is done to tell.

    Args:
        seconds: since the start.
        fraction: done, 0 to 1.

    >>> seconds_left(10.0, 0.25)
    30.0
    """
    if not fraction or fraction < 0.05 or seconds < 1:
        return None
    return seconds * (1 - fraction) / fraction


class Clock:
    """Started when the computation is; begins anew when the fraction falls, as it does with another computation."""

    def __init__(self) -> None:
        self._started, self._fraction = time.monotonic(), 0.0

    def event(self, stage: str, fraction: float | None) -> dict:
        """The fields of an event ``progress``: ``stage``, ``fraction`` (0 to 1, or None) and ``seconds_left`` (or
        None)."""
        if fraction is not None and fraction < self._fraction:
            self._started = time.monotonic()
        self._fraction = fraction or 0.0
        left = seconds_left(time.monotonic() - self._started, fraction)
        rounded = None if fraction is None else round(fraction, 4)
        return {"stage": stage, "fraction": rounded, "seconds_left": None if left is None else round(left, 1)}
