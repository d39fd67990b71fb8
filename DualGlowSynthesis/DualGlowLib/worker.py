"""A ``Session`` behind a pipe: a process of its own, so that no window waits for a computation.

    python -u -m DualGlowLib.worker FOLDER

Requests are read from standard input, events written to standard output, one JSON object (UTF-8) a line; everything
else that a library prints goes to standard error. Arrays are exchanged as .npy files, indexed i, j, k: those that the
worker writes lie in FOLDER under names of their own and are the reader's to delete; those that it is given stay.
Affines are 4×4 lists, voxel indices to RAS millimetres.

The first line is ``{"event": "hello", "pid", "version"}``. A request is ``{"id": int, "do": name, …}`` with the
keywords of the method of that name below; ``Commands`` says what each answers. Its events carry its id: any number of
``progress`` (``stage``, ``fraction`` 0..1 or null), ``notice`` (``message``: it goes on otherwise than was asked) and
those of the command, then one of ``done``, ``refused`` (``message``: one sentence on what is wrong with the input),
``cancelled``, or ``failed`` (``message``, ``traceback``: a fault of ours). After any of them the worker can be used
further, and so it can after a line that is no request, which is refused.

Requests are worked off in order. ``{"id", "do": "cancel", "cancel": id}`` ends another one and has no answer itself;
whoever asks for anything but ``devices`` cancels all ``keyframes`` that were asked for before. ``{"do": "quit"}`` and
the end of standard input end the process at once.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from . import InputError, __version__

__all__ = ["Worker", "main"]

_PAUSE = 0.05  # seconds between two events of progress
_MAX_THREADS = 8  # more make small convolutions slower, and leave the machine to others


class Worker:
    """Takes lines in one thread and works them off in another.

    Args:
        folder: for arrays.
        output: for events; a text stream.
    """

    def __init__(self, folder: Path, output: IO[str]) -> None:
        self.folder = folder
        self._output, self._writing = output, threading.Lock()
        self._waiting: OrderedDict[int, dict] = OrderedDict()
        self._changed = threading.Condition()
        self._current: int | None = None
        self._current_do = ""
        self._cancelled = False
        self._commands: Any = None
        self._told = (0.0, "")
        self.made: list[Path] = []  # files of which no event has told yet

    # ---- the thread that reads

    def read(self, lines: IO[bytes]) -> None:
        """Take requests until the end; then end the process, whatever it is doing."""
        for line in lines:
            if line.strip():
                self.take(line)
        os._exit(0)

    def take(self, line: bytes) -> None:
        """One line of input."""
        try:
            request = json.loads(line.decode("utf-8"))
            if not isinstance(request, dict) or not isinstance(request.get("do"), str):
                raise ValueError('it is no object with a "do"')
        except ValueError as error:
            self.send(None, "refused", message=f"The request can't be understood: {error}.")
            return
        number, do = request.pop("id", None), request.pop("do")
        if do == "quit":
            os._exit(0)
        if do == "cancel":
            self._cancel([request.get("cancel")])
        elif isinstance(number, bool) or not isinstance(number, int):
            self.send(None, "refused", message=f'The request {do!r} has no number "id"; give each its own.')
        else:
            with self._changed:
                former = [n for n, other in self._waiting.items() if other["do"] == "keyframes"]
                former += [self._current] if self._current_do == "keyframes" else []
            if do != "devices":
                self._cancel(former)
            with self._changed:
                self._waiting[number] = {"do": do, "arguments": request}
                self._changed.notify()

    def _cancel(self, numbers: Sequence[int | None]) -> None:
        for number in numbers:
            with self._changed:
                waiting = self._waiting.pop(number, None)
                if number is not None and number == self._current:
                    self._cancelled = True
            if waiting is not None:
                self.send(number, "cancelled")

    # ---- the thread that works

    def work(self) -> None:
        """Work off requests for ever."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                self._current, request = self._waiting.popitem(last=False)
                self._current_do, self._cancelled = request["do"], False
                self._told = (0.0, "")
            event, values = self._answer(**request)
            # From here on a request to cancel this one comes too late.
            with self._changed:
                number, self._current, self._current_do = self._current, None, ""
            if event != "done":
                for path in self.made:
                    path.unlink(missing_ok=True)
            self.made.clear()
            self.send(number, event, **values)

    def _answer(self, do: str, arguments: dict) -> tuple[str, dict]:
        try:
            if self._commands is None:
                self._commands = self._loaded()
            return "done", self._commands.run(do, arguments)
        except InputError as error:
            return "refused", {"message": str(error)}
        except MemoryError:
            return "refused", {"message": "The memory is full; close other programs, or ask for fewer samples."}
        except Exception as error:
            from .session import Cancelled

            if isinstance(error, Cancelled):
                return "cancelled", {}
            return "failed", {"message": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}

    def _loaded(self) -> Any:
        try:
            import torch

            from .commands.requests import Commands
        except ImportError as error:
            raise InputError(f"A Python package is missing ({error}); install what DualGlow needs.") from error
        torch.set_num_threads(min(torch.get_num_threads(), _MAX_THREADS))
        return Commands(self)

    # ---- what goes out

    def progress(self, stage: str, fraction: float | None) -> None:
        """Tell how far the request is; this is where it is cancelled."""
        from .session import Cancelled

        if self._cancelled:
            raise Cancelled
        now = time.monotonic()
        if stage != self._told[1] or now - self._told[0] >= _PAUSE:
            self._told = now, stage
            self.send(self._current, "progress", stage=stage, fraction=fraction)

    def event(self, event: str, **values: object) -> None:
        """Tell something of the request that is being worked on."""
        if self._cancelled and event != "notice":
            from .session import Cancelled

            raise Cancelled
        self.made.clear()
        self.send(self._current, event, **values)

    def send(self, number: int | None, event: str, **values: object) -> None:
        line = json.dumps(_plain({"id": number, "event": event, **values}), allow_nan=False)
        try:
            with self._writing:
                self._output.write(line + "\n")
                self._output.flush()
        except (OSError, ValueError):
            os._exit(0)  # nobody listens any more


def _plain(value: object) -> object:
    """What JSON can hold: numpy's numbers and arrays as numbers and lists, what is not finite as null."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve standard input until it ends. One argument: the folder for arrays, which must exist."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        raise SystemExit("Give one argument: a folder that exists, for arrays.")
    # Standard output is for the protocol alone: what libraries print there, in C too, is led to standard error.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", newline="\n")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = sys.stderr
    worker = Worker(Path(arguments[0]), output)
    worker.send(None, "hello", pid=os.getpid(), version=__version__)
    threading.Thread(target=worker.read, args=(sys.stdin.buffer,), daemon=True).start()
    worker.work()


if __name__ == "__main__":
    main()
