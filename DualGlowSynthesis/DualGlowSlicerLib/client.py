"""The worker process from inside Slicer: requests go out, answers come back on the window's own thread."""

import contextlib
import functools
import itertools
import json
import math
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import qt
from slicer.i18n import tr as _

from DualGlowLib import InputError
from DualGlowLib.worker.exchange import Exchange, remove_abandoned

from .processes import command, startProcess

__all__ = ["Request", "WorkerClient", "defaultCommand"]

LOG = "worker.log"
POLL_MS = 15
YIELD_SECONDS = 0.001
GRACE_SECONDS = 2.0
"""How long a cancelled request may take to end before the process is killed."""


def defaultCommand(folder: Path) -> list[str]:
    """How to start the worker."""
    return command("DualGlowLib.worker.server", [folder])


@dataclass(eq=False)
class _Process:
    """A worker process, and the folder for arrays that is its alone: made before it starts, gone when it has ended."""

    exchange: Exchange
    popen: subprocess.Popen | None = None
    pid: int | None = None  # of the Python that computes, which a launcher may have started
    hasEnded: bool = False


@dataclass(eq=False)
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
    deadline: float | None = None
    process: _Process | None = None
    files: Iterable[str] = ()
    """Written for it by ``WorkerClient.save``."""
    trouble: str = ""
    """Why it has failed though the worker goes on."""


class WorkerClient:
    """A worker process, started by the first request and again after its death.

    A thread reads what it prints, and the arrays that this names; a timer hands both over, so that callbacks run on the
    window's thread and the window never waits. (QProcess would bring messages 8 ms sooner, but the arrays, 17 to 140 ms
    for one of 256³, would still need a thread.) ``command``: gives the program from the folder for arrays; None: the
    one that ships.

    ``DualGlowLib.worker`` says who deletes which file. Of the client's part: an array from ``save`` goes when its
    request has ended; an array of the worker's is deleted as soon as it is read, a picture when the next of its kind
    has come; the folder goes with its process, and those of processes that were killed when a client is made.
    """

    def __init__(self, command: Callable[[Path], list[str]] | None = None) -> None:
        self._command = command or defaultCommand
        self._numbers = itertools.count(1)
        self._requests: dict[int, Request] = {}
        self._process: _Process | None = None  # the last one, which may be yet to start, or dead
        self._folders: list[_Process] = []  # those whose folder is there
        self._messages: queue.Queue = queue.Queue()
        self._saved: list[str] = []  # for the next request
        self._arrays: dict[str, np.ndarray] = {}  # of the last message that came with some, by path
        self._pictures: dict[tuple[str, str], str] = {}
        self.starts = 0
        """How often a process was started: what one held is gone in the next."""
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.poll)
        remove_abandoned()

    @property
    def isBusy(self) -> bool:
        return bool(self._requests)

    @property
    def isRunning(self) -> bool:
        process = self._process
        return process is not None and process.popen is not None and process.popen.poll() is None

    def request(self, do: str, onDone=None, onEvent=None, onRefused=None, onFailed=None, onCancelled=None, **arguments):
        """Ask the worker, see ``DualGlowLib.worker``; gives the number of the request. Never waits.

        Raises:
            InputError: if the folder for arrays can't be made.
        """
        # Arrays may have been saved for a process that has died since: then its end is the answer.
        process = self._process if self._saved else self._present()
        asked = Request(next(self._numbers), do, onDone, onEvent, onRefused, onFailed, onCancelled, process=process)
        asked.files = [path for path in self._saved if path in arguments.values()]
        _delete(path for path in self._saved if path not in asked.files)
        self._saved = []
        self._requests[asked.number] = asked
        self._timer.start()
        if process.popen is None and not process.hasEnded:
            self._start(process)
        elif process.hasEnded:
            self._messages.put((process, None, {}, ""))
        self._send(process, {"id": asked.number, "do": do, **arguments})
        return asked.number

    def cancel(self, number: int, isForced: bool = True) -> None:
        """End a request as soon as possible; the process is killed if it doesn't heed and ``isForced``."""
        asked = self._requests.get(number)
        if asked is not None and asked.deadline is None:
            asked.deadline = time.monotonic() + GRACE_SECONDS if isForced else math.inf
            self._send(asked.process, {"id": next(self._numbers), "do": "cancel", "cancel": number})

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
        """End the process and delete its folder."""
        self._requests.clear()
        self._timer.stop()
        self._saved, self._arrays, self._pictures = [], {}, {}
        for process in list(self._folders):
            self._kill(process)

    # ---- arrays

    def save(self, array: np.ndarray) -> str:
        """Write an array for the next request, which names it; it is deleted when that request has ended.

        Raises:
            InputError: if there is no room for it.
        """
        folder, path = self.folder, None
        try:
            handle, path = tempfile.mkstemp(".npy", "in-", folder)
            with os.fdopen(handle, "wb") as file:
                np.save(file, array)
        except OSError as error:
            _delete([path] if path else [])
            text = _("The voxels can't be written into {folder} ({reason}); free some space there.")
            raise InputError(text.format(folder=folder, reason=error.strerror or error)) from None
        self._saved.append(path)
        return path

    def load(self, path: str | None) -> np.ndarray | None:
        """An array that the worker wrote, and that the message now handed over names; its file is gone.

        The array is the caller's own: nothing else refers to its memory.
        """
        return None if path is None else self._arrays.pop(path)

    @property
    def folder(self) -> Path:
        """Of the process that runs, or of the next."""
        return self._present().exchange.path

    # ---- the process

    def _present(self) -> _Process:
        """The process that runs, or a new one that is yet to be started."""
        process = self._process
        if process is None or process.hasEnded or (process.popen is not None and not self.isRunning):
            try:
                self._process = process = _Process(Exchange.make())
            except OSError as error:
                text = _("No folder can be made in {folder} ({reason}); free some space there.")
                reason = error.strerror or error
                raise InputError(text.format(folder=tempfile.gettempdir(), reason=reason)) from None
            self._folders.append(process)
        return process

    def _start(self, process: _Process) -> None:
        folder = process.exchange.path
        self.starts += 1
        try:
            with (folder / LOG).open("wb") as log:
                words, pipe = self._command(folder), subprocess.PIPE
                process.popen = startProcess(words, stdin=pipe, stdout=pipe, stderr=log)
        except OSError as error:
            self._messages.put((process, None, {}, str(error)))
            return
        threading.Thread(target=_read, args=(process, self._messages), daemon=True).start()

    def _send(self, process: _Process, message: dict) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # it has died: the reader's end tells
            process.popen.stdin.write(json.dumps(message).encode() + b"\n")
            process.popen.stdin.flush()

    def _kill(self, process: _Process) -> None:
        """End a process, if it hasn't ended, and delete its folder."""
        process.hasEnded = True
        popen = process.popen
        if popen is not None:
            # PythonSlicer is a launcher: killing it alone would leave the Python that it started. That one ends when
            # its input does, unless it is deep in a computation; its own number is known since it said hello.
            with contextlib.suppress(OSError):
                popen.stdin.close()
            if process.pid is not None:
                with contextlib.suppress(OSError):
                    os.kill(process.pid, signal.SIGTERM)
                process.pid = None
            if popen.poll() is None:
                popen.kill()
            popen.wait()
        if process in self._folders:
            self._folders.remove(process)
            process.exchange.remove()

    def poll(self) -> None:
        """Hand over what has come; called by the timer."""
        # Slicer's event loop keeps Python's lock, so that other threads run only while Python code here waits.
        time.sleep(YIELD_SECONDS)
        while True:
            try:
                process, message, arrays, trouble = self._messages.get_nowait()
            except queue.Empty:
                break
            if message is None:
                self._died(process, trouble)
            else:
                self._heard(process, message, arrays, trouble)
        now = time.monotonic()
        for process in {asked.process for asked in self._requests.values() if asked.deadline and now > asked.deadline}:
            self._kill(process)
            self._end(process, lambda asked: asked.onCancelled and asked.onCancelled())
        if not self._requests:
            self._timer.stop()

    def _heard(self, process: _Process, message: dict, arrays: dict, trouble: str) -> None:
        event, number = message.get("event"), message.get("id")
        if event == "hello" and isinstance(message.get("pid"), int):
            process.pid = message["pid"]
        asked = self._requests.get(number) if isinstance(number, int) else None
        self._keepPictures(process, asked, message)
        if asked is None or not isinstance(event, str):  # of one that is over, or printed by something else
            return
        asked.trouble = asked.trouble or trouble
        endings = {
            "done": lambda: asked.onDone and asked.onDone(message),
            "refused": lambda: asked.onRefused and asked.onRefused(message.get("message", "")),
            "failed": lambda: asked.onFailed and asked.onFailed(message.get("traceback") or message.get("message", "")),
            "cancelled": lambda: asked.onCancelled and asked.onCancelled(),
        }
        if arrays and (asked.onDone or asked.onEvent):
            self._arrays = arrays
        if event in endings:
            self._forgetRequest(asked)
            self._tellEnd(asked, endings[event])
        elif asked.trouble:
            self.cancel(asked.number, isForced=False)  # what comes later can't make up for what is lost
        elif asked.onEvent:
            asked.onEvent(message)

    def _keepPictures(self, process: _Process, asked: Request | None, message: dict) -> None:
        """A picture may be looked at later: it stays until the next of its kind; one that nobody hears of goes."""
        for key, path in message.items():
            if not _isIn(process, path, ".png"):
                continue
            if asked is None or asked.onDone is None:
                _delete([path])
                continue
            if (asked.do, key) in self._pictures:
                _delete([self._pictures[asked.do, key]])
            self._pictures[asked.do, key] = path

    def _died(self, process: _Process, trouble: str) -> None:
        told = trouble
        with contextlib.suppress(OSError):
            log = (process.exchange.path / LOG).read_text(encoding="utf-8", errors="replace")
            told = told or log.strip()[-4000:]
        process.pid = None  # its output has ended: the number may be another process's by now
        self._kill(process)
        text = _("The process that computes has ended unexpectedly; try again.") + ("\n" + told if told else "")
        self._end(process, lambda asked: asked.onFailed and asked.onFailed(text))

    def _end(self, process: _Process, tell: Callable[[Request], None]) -> None:
        """End all requests of a process that is no more; who cancelled one hears of that."""
        over = [asked for asked in self._requests.values() if asked.process is process]
        with contextlib.ExitStack() as stack:  # a callback that raises keeps no other from being called
            for asked in reversed(over):
                heard = functools.partial(tell, asked) if asked.deadline is None else asked.onCancelled
                stack.callback(self._tellEnd, asked, heard)
                self._forgetRequest(asked)

    def _forgetRequest(self, asked: Request) -> None:
        """It has ended, and what was written for it goes."""
        del self._requests[asked.number]
        _delete(asked.files)

    @staticmethod
    def _tellEnd(asked: Request, tell: Callable[[], None] | None) -> None:
        if asked.trouble:
            tell = functools.partial(asked.onFailed, asked.trouble) if asked.onFailed else None
        if tell:
            tell()


def _read(process: _Process, messages: queue.Queue) -> None:
    """In a thread of its own: a pipe can't be waited for by the window, nor can large files."""
    try:
        for line in process.popen.stdout:
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):  # printed by something else
                continue
            if isinstance(message, dict):
                messages.put((process, message, *_taken(process, message)))
    finally:
        messages.put((process, None, {}, ""))


def _taken(process: _Process, message: dict) -> tuple[dict[str, np.ndarray], str]:
    """The arrays that a message names, by path, and why one can't be read; their files are deleted, wanted or not."""
    arrays, trouble = {}, ""
    for path in message.values():
        if _isIn(process, path, ".npy"):
            try:
                arrays[path] = np.load(path)
            except Exception as error:  # a fault here would leave the window waiting
                text = _("The result {path} can't be read ({reason}); try again.")
                trouble = text.format(path=path, reason=getattr(error, "strerror", None) or error)
            _delete([path])
    return arrays, trouble


def _isIn(process: _Process, path: object, ending: str) -> bool:
    """Whether a value of a message is a file of the process's folder."""
    return isinstance(path, str) and path.endswith(ending) and Path(path).parent == process.exchange.path


def _delete(paths: Iterable[str]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
