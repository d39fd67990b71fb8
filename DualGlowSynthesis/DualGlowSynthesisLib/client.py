"""The worker process from inside Slicer: requests go out, answers come back on the window's own thread."""

import contextlib
import itertools
import json
import math
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import qt
from slicer.i18n import tr as _

__all__ = ["Request", "WorkerClient", "defaultCommand"]

POLL_MS = 15
YIELD_SECONDS = 0.001
GRACE_SECONDS = 2.0
"""How long a cancelled request may take to end before the process is killed."""


def defaultCommand(folder: Path) -> list[str]:
    """How to start the worker; ``PythonSlicer`` is Slicer's own Python, without the application around it."""
    library = Path(__file__).resolve().parent.parent
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from DualGlowLib.worker import main; main(sys.argv[1:])"
    python = shutil.which("PythonSlicer") or sys.executable
    return [python, "-u", "-c", start, str(library), str(folder)]


@dataclass
class Request:
    """What is asked, and who hears the answer; a callback that is None hears nothing.

    ``onEvent`` gets everything before the end (progress, notices, frames); then one of the others is called.
    """

    number: int
    do: str
    onDone: Callable[[dict], None] | None = None
    onEvent: Callable[[dict], None] | None = None
    onRefused: Callable[[str], None] | None = None
    onFailed: Callable[[str], None] | None = None
    onCancelled: Callable[[], None] | None = None
    deadline: float | None = field(default=None, compare=False)


class WorkerClient:
    """A worker process, started by the first request and again after its death.

    A thread reads what it prints, and the arrays that this names; a timer hands both over, so that callbacks run on the
    window's thread and the window never waits. ``command``: gives the program from the folder for arrays; None: the one
    that ships.
    """

    def __init__(self, command: Callable[[Path], list[str]] | None = None) -> None:
        self._command = command or defaultCommand
        self._numbers = itertools.count(1)
        self._requests: dict[int, Request] = {}
        self._process = None
        self._pid = None
        self._messages: queue.Queue = queue.Queue()
        self._arrays: dict[str, np.ndarray] = {}  # of the last message that came with some, by path
        self._folder = None
        self.starts = 0
        """How often a process was started: what one held is gone in the next."""
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.poll)

    @property
    def isBusy(self) -> bool:
        return bool(self._requests)

    @property
    def isRunning(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def request(self, do: str, onDone=None, onEvent=None, onRefused=None, onFailed=None, onCancelled=None, **arguments):
        """Ask the worker, see ``DualGlowLib.worker``; gives the number of the request. Never waits."""
        if not self.isRunning:
            self._start()
        asked = Request(next(self._numbers), do, onDone, onEvent, onRefused, onFailed, onCancelled)
        self._requests[asked.number] = asked
        self._timer.start()
        self._send({"id": asked.number, "do": do, **arguments})
        return asked.number

    def cancel(self, number: int, isPatient: bool = False) -> None:
        """End a request as soon as possible; the process is killed if it doesn't heed, unless ``isPatient``."""
        asked = self._requests.get(number)
        if asked is not None and asked.deadline is None:
            asked.deadline = math.inf if isPatient else time.monotonic() + GRACE_SECONDS
            self._send({"id": next(self._numbers), "do": "cancel", "cancel": number})

    def cancelAll(self) -> None:
        for number in list(self._requests):
            self.cancel(number)

    def forget(self) -> None:
        """Cancel everything and hear of nothing any more: the scene that asked is gone."""
        for asked in self._requests.values():
            asked.onDone = asked.onEvent = asked.onRefused = asked.onFailed = asked.onCancelled = None
        self._arrays = {}
        self.cancelAll()

    def close(self) -> None:
        """End the process and delete its arrays."""
        self._requests.clear()
        self._timer.stop()
        self._kill()
        self._arrays = {}
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    # ---- arrays

    def save(self, array: np.ndarray) -> str:
        """Write an array for the worker; it lies in the folder that ends with this client."""
        handle, path = tempfile.mkstemp(".npy", "in-", self.folder)
        with os.fdopen(handle, "wb") as file:
            np.save(file, array)
        return path

    def load(self, path: str | None) -> np.ndarray | None:
        """An array that the worker wrote, and that the message now handed over names; its file is gone.

        The array is the caller's own: nothing else refers to its memory.
        """
        return None if path is None else self._arrays.pop(path)

    @property
    def folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="DualGlow-"))
        return self._folder

    # ---- the process

    def _start(self) -> None:
        self._kill()
        self._messages, self._arrays = queue.Queue(), {}
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}
        hidden = {"creationflags": subprocess.CREATE_NO_WINDOW} if os.name == "nt" else {}
        self.starts += 1
        with (self.folder / "worker.log").open("wb") as log:
            try:
                self._process = subprocess.Popen(
                    self._command(self.folder),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environment,
                    **hidden,
                )
            except OSError as error:
                log.write(str(error).encode())
                self._messages.put(None)
                return
        threading.Thread(target=_read, args=(self._process.stdout, self._messages), daemon=True).start()

    def _send(self, message: dict) -> None:
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, AttributeError):
            pass  # it has died: the reader's end tells

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        # PythonSlicer is a launcher: killing it alone would leave the Python that it started. That one ends when its
        # input does, unless it is deep in a computation; its own number is known since it said hello.
        with contextlib.suppress(OSError):
            process.stdin.close()
        if self._pid is not None:
            with contextlib.suppress(OSError):
                os.kill(self._pid, signal.SIGTERM)
            self._pid = None
        if process.poll() is None:
            process.kill()
        process.wait()

    def poll(self) -> None:
        """Hand over what has come; called by the timer."""
        # Slicer's event loop keeps Python's lock, so that other threads run only while Python code here waits.
        time.sleep(YIELD_SECONDS)
        while True:
            try:
                message = self._messages.get_nowait()
            except queue.Empty:
                break
            if message is None:
                self._died()
                return
            self._heard(*message)
        late = [asked for asked in self._requests.values() if asked.deadline and time.monotonic() > asked.deadline]
        if late:
            self._kill()
            self._end(lambda asked: asked.onCancelled and asked.onCancelled())
        if not self._requests:
            self._timer.stop()

    def _heard(self, message: dict, arrays: dict) -> None:
        self._arrays = arrays or self._arrays
        if message.get("event") == "hello":
            self._pid = message["pid"]
        asked = self._requests.get(message.get("id"))
        if asked is None:
            return
        event = message["event"]
        endings = {
            "done": lambda: asked.onDone and asked.onDone(message),
            "refused": lambda: asked.onRefused and asked.onRefused(message["message"]),
            "failed": lambda: asked.onFailed and asked.onFailed(message.get("traceback") or message["message"]),
            "cancelled": lambda: asked.onCancelled and asked.onCancelled(),
        }
        if event in endings:
            del self._requests[asked.number]
            endings[event]()
        elif asked.onEvent:
            asked.onEvent(message)

    def _died(self) -> None:
        self._kill()
        try:
            told = (self.folder / "worker.log").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            told = ""
        text = _("The process that computes has ended unexpectedly; try again.") + ("\n" + told[-4000:] if told else "")
        self._end(lambda asked: asked.onFailed and asked.onFailed(text))

    def _end(self, tell: Callable[[Request], None]) -> None:
        requests, self._requests = list(self._requests.values()), {}
        for asked in requests:
            if asked.deadline is not None:
                asked.onCancelled and asked.onCancelled()
            else:
                tell(asked)


def _read(stream, messages: queue.Queue) -> None:
    """In a thread of its own: a pipe can't be waited for by the window, nor can large files."""
    try:
        for line in stream:
            try:
                message = json.loads(line)
            except ValueError:  # printed by something else
                continue
            if isinstance(message, dict):
                messages.put((message, _taken(message)))
    finally:
        messages.put(None)


def _taken(message: dict) -> dict[str, np.ndarray]:
    """The arrays that a message names, by path; their files are deleted, wanted or not."""
    arrays = {}
    for path in message.values():
        if isinstance(path, str) and path.endswith(".npy"):
            with contextlib.suppress(OSError, ValueError, EOFError):
                arrays[path] = np.load(path)
            with contextlib.suppress(OSError):
                Path(path).unlink()
    return arrays
