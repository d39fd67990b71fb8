"""How far a computation is: one form for the command line's JSON lines, the worker, training and the window."""

from __future__ import annotations

import json
import math
import time

__all__ = ["Clock", "json_line", "seconds_left"]

_LEAST = 0.05  # of what is to do; less tells nothing of the rest


def seconds_left(seconds: float, fraction: float | None, first: float = 0.0) -> float | None:
    """How long the rest takes if it goes on as before; None while too little is done to tell.

    Args:
        seconds: since the start.
        fraction: done, 0 to 1.
        first: what was done at the start, as in a run that goes on.

    >>> seconds_left(10.0, 0.25), seconds_left(10.0, 0.75, first=0.5)
    (30.0, 10.0)
    """
    done = (fraction or 0.0) - first
    if seconds < 1 or done < _LEAST * (1 - first) or done <= 0:
        return None
    return seconds * (1 - fraction) / done


def json_line(values: dict) -> str:
    """An event as a line, without its end: numpy's numbers and arrays as numbers and lists, what is not finite as null.

    >>> json_line({"event": "step", "loss": float("nan")})
    '{"event": "step", "loss": null}'
    """
    return json.dumps(_plain(values), allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


class Clock:
    """Measures each stage by itself, since another goes at another speed, from when it was first told; and all anew
    when the fraction falls, as it does with another computation.

    A fraction that stood at a stage's start, or that the end of the one before brought, says nothing of its speed.
    """

    def __init__(self) -> None:
        self._begun: dict[str, tuple[float, float]] = {}
        self._last = 0.0

    def event(self, stage: str, fraction: float | None) -> dict:
        """The fields of an event ``progress``: ``stage``, ``fraction`` (0 to 1, or None) and ``seconds_left`` (or
        None)."""
        left = None
        if fraction is not None:
            if fraction < self._last:
                self._begun.clear()
            self._last, now = fraction, time.monotonic()
            started, first = self._begun.setdefault(stage, (now, fraction))
            left = seconds_left(now - started, fraction, first)
            fraction = round(fraction, 4)
        return {"stage": stage, "fraction": fraction, "seconds_left": None if left is None else round(left, 1)}
