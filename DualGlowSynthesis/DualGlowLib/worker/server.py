"""A ``Session`` behind a pipe: a process of its own, so that no window waits for a computation.

    python -u -m DualGlowLib.worker FOLDER

Requests are read from standard input, events written to standard output, one JSON object (UTF-8) a line; everything
else that a library prints goes to standard error. Arrays are exchanged as .npy files, indexed i, j, k, pictures as
.png. Affines are 4×4 lists, voxel indices to RAS millimetres.

The first line is ``{"event": "hello", "pid", "version"}``. A request is ``{"id": int, "do": name, …}`` with the
keywords of the method of that name of ``requests.Commands``; ``replies`` has what each answers. Its events carry its
id: any number of ``progress`` (``stage``, ``fraction`` 0..1 or null, ``seconds_left`` or null), ``notice``
(``message``: it goes on otherwise than was asked) and those of the command, then one of ``done``, ``refused``
(``message``: one sentence on what is wrong with the input), ``cancelled``, or ``failed`` (``message``, ``traceback``: a
fault of ours). After any of them the worker can be used further, and so it can after a line that is no request, which
is refused: with its id if that can be read, and with null if not, or if a request of that id has not ended yet, whose
end the answer would seem to be.

Requests are worked off in order. ``{"id", "do": "cancel", "cancel": id}`` ends another one and has no answer itself;
whoever asks for anything but ``devices`` cancels all ``keyframes`` that were asked for before. ``{"do": "quit"}`` and
the end of standard input end the process at once.

Who deletes what:

- Files that the worker is given (``voxels``, ``mask``) are read while it works on the request that names them, and
  never after it; who asked deletes them when that has ended, whichever way.
- Files that the worker writes lie in FOLDER under names of their own. Those that an event has named are the reader's to
  delete, whether it still wants them or not; the others the worker deletes with the end of the request.
- FOLDER as a whole: if it was made for one worker (``exchange.Exchange``), the worker removes it when its input ends or
  it is told to quit, for whoever made it may be dead; so does its maker when the worker is dead, and the next maker
  when both are. Any other folder stays.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from .. import InputError, __version__
from ..errors import Cancelled
from ..progress import Clock, json_line
from ..startup import set_up_process, usual_priority
from .exchange import Exchange

__all__ = ["Worker", "main"]

_LINE = 1 << 20  # bytes of the longest request: those of a window have some thousand at most
_PAUSE = 0.05  # seconds between two events of progress
_MAX_THREADS = 8  # more make small convolutions slower, and leave the machine to others


class Worker:
    """Takes lines in one thread and works them off in another.

    Neither thread may ever end without the process: the window would wait for ever for an answer.

    Args:
        folder: for arrays.
        output: for events; a text stream.
        exchange: the same folder if it was made for this worker, and goes with it.
    """

    def __init__(self, folder: Path, output: IO[str], exchange: Exchange | None = None) -> None:
        self.folder = folder
        self._output, self._writing = output, threading.Lock()
        self._exchange, self._ending = exchange, threading.Lock()
        self._waiting: OrderedDict[int, dict] = OrderedDict()
        self._changed = threading.Condition()
        self._current: int | None = None
        self._current_do = ""
        self._cancelled = False
        self._commands: Any = None
        self._told = (0.0, "")
        self._clock = Clock()  # of the request
        self.made: list[Path] = []  # files of which no event has told yet

    def end(self, status: int = 0) -> None:
        """End the process, whatever it is doing, and with it the folder that was made for it."""
        self._ending.acquire()  # for ever: the other thread may come here too, and must not end it half-way
        if self._exchange is not None:
            self._exchange.remove()
        os._exit(status)

    # ---- the thread that reads

    def read(self, lines: IO[bytes]) -> None:
        """Take requests until the end; then end the process."""
        status = 0
        try:
            while line := lines.readline(_LINE):
                if len(line) == _LINE and not line.endswith(b"\n"):
                    while len(rest := lines.readline(_LINE)) == _LINE and not rest.endswith(b"\n"):
                        pass
                    message = f"The request is longer than {_LINE} bytes; ask for less at a time."
                    self._reject(_number_in(line), "refused", {"message": message})
                elif line.strip():
                    self.take(line)
        except BaseException:
            traceback.print_exc()
            status = 1
        self.end(status)

    def take(self, line: bytes) -> None:
        """One line of input. Whatever it holds, it is answered."""
        number = _number_in(line)
        try:
            request = _parsed(line)
            number, do = request.pop("id", None), request.pop("do", None)
            number = number if _is_whole(number) else None
            if not isinstance(do, str):
                raise InputError('The request can\'t be understood: it is no object with a "do".')
            if do == "quit":
                self.end()
            elif do == "cancel":
                if not _is_whole(request.get("cancel")):
                    raise InputError('The request to cancel has no number "cancel"; give that of another request.')
                self._cancel([request["cancel"]])
            elif number is None:
                raise InputError(f'The request {do[:80]!r} has no number "id"; give each its own.')
            else:
                self._enqueue(number, do, request)
        except Exception as error:  # also what nobody thought of: this thread must live
            self._reject(number, *_ending_of(error))

    def _enqueue(self, number: int, do: str, arguments: dict) -> None:
        with self._changed:
            if self._is_known(number):
                raise InputError(f"The request {number} has not ended yet; give each a number of its own.")
            former = [n for n, other in self._waiting.items() if other["do"] == "keyframes"]
            former += [self._current] if self._current_do == "keyframes" else []
        if do != "devices":
            self._cancel(former)
        with self._changed:
            self._waiting[number] = {"do": do, "arguments": arguments}
            self._changed.notify()

    def _is_known(self, number: int | None) -> bool:
        return number is not None and (number in self._waiting or number == self._current)

    def _reject(self, number: int | None, event: str, values: dict) -> None:
        with self._changed:
            known = self._is_known(number)
        self.send(None if known else number, event, **values)

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
            self._clock = Clock()
            event, values = self._answer(**request)
            # From here on a request to cancel this one comes too late.
            with self._changed:
                number, self._current, self._current_do = self._current, None, ""
            try:
                line = _line(number, event, values)
            except Exception as error:
                event, values = _ending_of(error)
                line = _line(number, event, values)
            if event != "done":
                for path in self.made:
                    with suppress(OSError):
                        path.unlink()
            self.made.clear()
            self._write(line)

    def _answer(self, do: str, arguments: dict) -> tuple[str, dict]:
        try:
            if self._commands is None:
                self._commands = self._loaded()
            return "done", self._commands.run(do, arguments)
        except BaseException as error:  # SystemExit too: whatever a library thinks, this process goes on
            return _ending_of(error)

    def _loaded(self) -> Any:
        try:
            import torch

            from .requests import Commands
        except ImportError as error:
            raise InputError(f"A Python package is missing ({error}); install what DualGlow needs.") from error
        torch.set_num_threads(min(torch.get_num_threads(), _MAX_THREADS))
        return Commands(self)

    # ---- what goes out

    def progress(self, stage: str, fraction: float | None) -> None:
        """Tell how far the request is; this is where it is cancelled."""
        if self._cancelled:
            raise Cancelled
        now = time.monotonic()
        if stage != self._told[1] or now - self._told[0] >= _PAUSE:
            self._told = now, stage
            self.send(self._current, "progress", **self._clock.event(stage, fraction))

    def event(self, event: str, **values: object) -> None:
        """Tell something of the request that is being worked on."""
        if self._cancelled and event != "notice":
            raise Cancelled
        line = _line(self._current, event, values)
        self.made.clear()
        self._write(line)

    def send(self, number: int | None, event: str, **values: object) -> None:
        self._write(_line(number, event, values))

    def _write(self, line: str) -> None:
        try:
            with self._writing:
                self._output.write(line)
                self._output.flush()
        except (OSError, ValueError):
            self.end()  # nobody listens any more


def _number_in(line: bytes) -> int | None:
    """The id that a line begins with, of which the rest may be no JSON."""
    found = re.match(rb'\s*\{\s*"id"\s*:\s*(-?\d{1,18})\s*[,}]', line)
    return int(found[1]) if found else None


def _parsed(line: bytes) -> dict:
    """The object in a line.

    Raises:
        InputError: if there is none.
    """
    try:
        request = json.loads(line.decode("utf-8"), parse_int=_whole)
    except RecursionError:
        raise InputError("The request can't be understood: it is nested too deeply.") from None
    except ValueError as error:
        raise InputError(f"The request can't be understood: {error}.") from None
    if not isinstance(request, dict):
        raise InputError('The request can\'t be understood: it is no object with a "do".')
    return request


def _whole(digits: str) -> int | float:
    """A whole number; one that 64 bits don't hold, and that takes long to read, as a float."""
    return int(digits) if len(digits) < 19 else float(digits)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _ending_of(error: BaseException) -> tuple[str, dict]:
    """The last event of a request that ended with an exception."""
    if isinstance(error, Cancelled):
        return "cancelled", {}
    if isinstance(error, InputError):
        return "refused", {"message": " ".join(str(error).split())}
    if isinstance(error, MemoryError):
        return "refused", {"message": "The memory is full; close other programs, or ask for fewer samples."}
    name = type(error).__name__
    try:
        return "failed", {"message": f"{name}: {error}", "traceback": "".join(traceback.format_exception(error))}
    except Exception:  # it can't be told in full
        return "failed", {"message": name, "traceback": name}


def _line(number: int | None, event: str, values: dict) -> str:
    return json_line({"id": number, "event": event, **values}) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve standard input until it ends. One argument: the folder for arrays, which must exist."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        raise SystemExit("Give one argument: a folder that exists, for arrays.")
    folder = Path(arguments[0])
    try:
        exchange = Exchange.join(folder)
    except OSError as error:
        raise SystemExit(f"{folder} can't be used: {error.strerror or error}.") from None
    set_up_process()
    usual_priority()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is meant for the window's process
    # Standard output is for the protocol alone: what libraries print there, in C too, is led to standard error.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", newline="\n")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = sys.stderr
    worker = Worker(folder, output, exchange)
    try:
        worker.send(None, "hello", pid=os.getpid(), version=__version__)
        threading.Thread(target=worker.read, args=(sys.stdin.buffer,), daemon=True).start()
        worker.work()
    except BaseException:
        traceback.print_exc()
        worker.end(1)


if __name__ == "__main__":
    main()
