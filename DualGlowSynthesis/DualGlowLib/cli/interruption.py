"""Graceful stop on SIGINT (Ctrl-C), SIGTERM and SIGUSR1."""

from __future__ import annotations

import signal

__all__ = ["Stop"]


class Stop:
    """Within the ``with`` block the first SIGINT, SIGTERM or SIGUSR1 sets ``asked``; a second raises KeyboardInterrupt.

    SIGUSR1 is what a cluster sends some time before it ends a job, if it is told to.

    Args:
        patient: let any number of them ask, and none interrupt: where they come from several sides at once, as under
            ``torchrun``, which passes on what its processes may have had themselves, and ends them if they take long.

    >>> steps = 0
    >>> with Stop() as stop:
    ...     while not stop.asked:
    ...         steps += 1
    ...         if steps == 3:
    ...             signal.raise_signal(signal.SIGINT)  # as Ctrl-C does
    >>> steps
    3
    """

    def __init__(self, patient: bool = False) -> None:
        self.asked, self._patient = False, patient

    def __enter__(self) -> Stop:
        self._before = {}
        for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
            number = getattr(signal, name, None)
            if number is None:  # Windows
                continue
            try:
                self._before[number] = signal.signal(number, self._ask)
            except ValueError:  # not in the main thread: the caller has its own way to stop
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked and not self._patient:
            raise KeyboardInterrupt
        self.asked = True
