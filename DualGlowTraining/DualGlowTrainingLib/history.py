"""What the steps of a run gave, read from its files piece by piece while it goes on."""

import json
import os
from pathlib import Path

from DualGlowLib.training.status import HISTORY

__all__ = ["History", "LogTail"]

_PIECE = 1 << 17  # bytes that are read at once: some milliseconds
_MOST = 2000  # points of a curve; of more, two and two become one


class _Growing:
    """A file that grows, and is read anew when it was replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place, self._file = 0, None

    def _piece(self) -> tuple[bytes, bool]:
        """What is new, and whether all before is void."""
        try:
            with self.path.open("rb") as file:
                about = os.fstat(file.fileno())
                isNew = self._file != (about.st_dev, about.st_ino) or about.st_size < self._place
                if isNew:
                    self._place, self._file = 0, (about.st_dev, about.st_ino)
                file.seek(self._place)
                read = file.read(_PIECE)
        except OSError:
            return b"", False
        self._place += len(read)
        return read, isNew


class History(_Growing):
    """The curves of a run: by name, steps and values."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Path(folder) / HISTORY)
        self.curves: dict[str, tuple[list, list]] = {}
        self.last: dict = {}
        self._rest = b""

    def read(self) -> bool:
        """Read what is new, or a piece of it; whether there was any."""
        read, isNew = self._piece()
        if isNew:
            self.curves, self.last, self._rest = {}, {}, b""
        *lines, self._rest = (self._rest + read).split(b"\n")
        for line in lines:
            try:
                self._add(json.loads(line))
            except (ValueError, TypeError, LookupError):
                continue
        for name, (steps, values) in self.curves.items():
            if len(steps) > _MOST:
                halves = [(a + b) / 2 for a, b in zip(values[::2], values[1::2], strict=False)]
                self.curves[name] = steps[1::2], halves
        return bool(read) or isNew

    def _add(self, event: dict) -> None:
        step = int(event["step"])
        self.last = {**self.last, **event}
        for name, value in event.items():
            if name not in ("step", "seconds", "skipped") and isinstance(value, int | float):
                steps, values = self.curves.setdefault(name, ([], []))
                steps.append(step)
                values.append(float(value))


class LogTail(_Growing):
    """The end of a log."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.lines: list[str] = []

    def read(self) -> bool:
        read, isNew = self._piece()
        if isNew:
            self.lines = []
        if read:
            joined = "\n".join(self.lines) + read.decode("utf-8", "replace")
            self.lines = joined.split("\n")[-200:]
        return bool(read)
