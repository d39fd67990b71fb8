"""What the command line prints: progress for people on a terminal, or one JSON object per line for programs."""

from __future__ import annotations

import sys
import time

from ..errors import one_line
from ..progress import Clock, json_line

__all__ = ["Console"]


class Console:
    """Progress and results.

    For people everything goes to standard error but results; with ``machine`` every event is a JSON line on standard
    output, flushed at once. A terminal sees one moving line, a log file a line every ten seconds at most.

    Args:
        machine: JSON lines instead of text.
        silent: nothing at all.
    """

    def __init__(self, machine: bool = False, silent: bool = False) -> None:
        self.machine, self._silent = machine and not silent, silent
        self._last = 0.0
        self._moving = False
        self._clock = Clock()

    def event(self, **values: object) -> None:
        """Something for programs only."""
        if self.machine:
            print(json_line(values), flush=True)

    def result(self, text: str, **values: object) -> None:
        """Something that the command made: the text for people, the values for programs."""
        if self.machine:
            self.event(**values)
        elif not self._silent:
            self._end_line()
            print(_harmless(text), flush=True)

    def note(self, text: str) -> None:
        """A remark: for programs the event ``notice``."""
        if self.machine:
            self.event(event="notice", message=text)
        elif not self._silent:
            self._end_line()
            print(_harmless(text), file=sys.stderr, flush=True)

    def progress(self, stage: str, fraction: float, detail: str = "") -> None:
        """How far a stage is, 0 to 1."""
        if self._silent:
            return
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        wait = 0.1 if terminal or self.machine else 10.0
        if now - self._last < wait and fraction < 1:
            return
        self._last = now
        told = self._clock.event(stage, fraction)
        if self.machine:
            self.event(event="progress", **told)
            return
        left = "" if told["seconds_left"] is None else f"  {_duration(told['seconds_left'])} left"
        line = f"{stage} {100 * fraction:3.0f} %  {one_line(detail)}".rstrip() + left
        if terminal:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
            self._moving = True
        else:
            print(line, file=sys.stderr, flush=True)

    def _end_line(self) -> None:
        if self._moving:
            print(file=sys.stderr)
            self._moving = False


def _harmless(text: str) -> str:
    """Text of several lines, in which names of files can't move the terminal's cursor."""
    return "\n".join(map(one_line, text.split("\n")))


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
