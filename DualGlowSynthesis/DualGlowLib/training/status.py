"""What a run tells those who look at its folder, from this process or another, and what they may ask of it.

``status.json`` says what the run is doing, ``run.lock`` which process does it (``locks.holder_of``), ``history.jsonl``
what each step gave. Nothing here needs torch.

A file ``run.ask`` with the word ``stop`` or ``pause`` in it is obeyed before the next step; while cases are prepared,
before the next case. It is removed by the run, or by who goes on with a paused one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError, one_line
from ..files import json_text, write_whole
from ..locks import Holder, holder_of, is_suspended
from ..outputs import generated_by
from ..progress import Clock

__all__ = ["ASK", "HISTORY", "LOCK", "STATUS", "Interrupted", "Lost", "Status", "StatusWriter", "ask", "read_status"]

STATUS, ASK, LOCK, HISTORY = "status.json", "run.ask", "run.lock", "history.jsonl"
_KIND = "JSON training status"
_OFTEN = 1.0  # seconds between two writings
_DEAD = "The run's process {pid} on {host} has died at {what}; resume it: it goes on from its last checkpoint."


class Lost(Exception):
    """Another process of the run has ended, and this one can't go on alone."""


class Interrupted(Exception):
    """Training was asked to stop; a checkpoint of the last step was written.

    Attributes:
        step: that step, 0 before the first.
    """

    def __init__(self, message: str, step: int = 0) -> None:
        super().__init__(message)
        self.step = step


@dataclass(frozen=True)
class Status:
    """A run as it is now.

    Attributes:
        state: ``none`` (there is no run), ``preparing``, ``reading``, ``training``, ``paused``, ``done``, ``stopped``,
            ``failed``, ``dead`` (its process is gone, and has not said that it ended) or ``elsewhere`` (it runs on
            another computer, or died there).
        holder: the process that trains, or died.
        fraction: of the stage that is done, 0 to 1.
        detail: what of the stage.
        message: why it failed or stopped or does nothing, and what to do.
        step, steps: of the training.
        seconds_left: of the stage; None if unknown.
        arguments: of ``train`` on the command line.
        updated: when it last said something, seconds since 1970.
    """

    state: str = "none"
    holder: Holder | None = None
    fraction: float = 0.0
    detail: str = ""
    message: str = ""
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    arguments: list[str] = field(default_factory=list)
    updated: float = 0.0

    @property
    def is_running(self) -> bool:
        return self.state in ("preparing", "reading", "training", "paused")


def read_status(folder: Path | str) -> Status:
    """What the run in a folder is doing. Reads two small files, and never waits."""
    folder = Path(folder)
    holder = holder_of(folder / LOCK)
    said = _read(folder / STATUS)
    state = said.pop("state", "none")
    if holder is not None and holder.alive is False:
        at = f"step {said['step']} of {said['steps']}" if said.get("step") else "its beginning"
        what = "the preparation of its cases" if state == "preparing" else at
        said["message"] = _DEAD.format(pid=holder.pid, host=holder.host, what=what)
        state = "dead"
    elif holder is not None and holder.alive is None:
        state = "elsewhere"
        said["message"] = (
            f"The run belongs to process {holder.pid} on {holder.host}, since {holder.since}; if that no longer runs, "
            f"delete {folder / LOCK} and resume the run."
        )
    elif holder is None and state in ("preparing", "reading", "training", "paused"):
        state, said["message"] = "dead", "The run's process is gone; resume it: it goes on from its last checkpoint."
    elif holder is not None and state in ("none", "done", "stopped", "failed"):
        state, said = "reading", {}  # it has just begun, and not said anything yet
    elif holder is not None and is_suspended(holder.pid):
        said["message"] = f"The run's process {holder.pid} is suspended; kill -CONT {holder.pid} lets it go on."
    return Status(state, holder, **said)


def _read(path: Path) -> dict:
    """The fields of a status file; empty if there is none that can be read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["GeneratedBy"][0]["Description"] != _KIND.removeprefix("JSON "):
            return {}
        left = values["seconds_left"]
        return {
            **{key: str(values[key]) for key in ("state", "detail", "message")},
            **{key: int(values[key]) for key in ("step", "steps")},
            **{key: float(values[key]) for key in ("fraction", "updated")},
            "seconds_left": None if left is None else float(left),
            "arguments": [str(argument) for argument in values["arguments"]],
        }
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def ask(folder: Path | str, word: str) -> None:
    """Ask a run to ``stop`` or to ``pause``; an empty word takes that back.

    Raises:
        InputError: if the folder can't be written.
    """
    path = Path(folder) / ASK
    try:
        path.write_text(word, encoding="ascii") if word else path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror or error}; stop the process itself.") from None


class StatusWriter:
    """Keeps the status of a run that this process does; ends it with the block, however that ends.

    That the status can't be written, as on a full disk, is no reason to end a run.

    Args:
        folder: of the run.
        arguments: see ``Status``.
    """

    def __init__(self, folder: Path | str, arguments: list[str] | None = None) -> None:
        self._folder = Path(folder)
        self._values = {
            "state": "reading", "fraction": 0.0, "detail": "", "message": "", "step": 0, "steps": 0,
            "seconds_left": None, "arguments": arguments or [],
        }  # fmt: skip
        self._last, self._clock, self._is_paused = 0.0, Clock(), False

    def __enter__(self) -> StatusWriter:
        with suppress(OSError):
            (self._folder / ASK).unlink(missing_ok=True)
        self._write(force=True)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            state, words = "done", ""
        elif isinstance(error, Interrupted | KeyboardInterrupt):
            state, words = "stopped", str(error)
        else:
            state = "failed"
            words = str(error) if isinstance(error, InputError | Lost) else f"{kind.__name__}: {error}"
        with suppress(OSError):
            (self._folder / ASK).unlink(missing_ok=True)
        self._write(True, state=state, message=one_line(words), seconds_left=None)

    def progress(self, stage: str, fraction: float, detail: str) -> None:
        """A stage before the training, as ``run.train`` tells it."""
        told = self._clock.event(stage, fraction)
        self._write(
            stage != self._values["state"], state=stage, fraction=fraction, detail=detail,
            seconds_left=told["seconds_left"],
        )  # fmt: skip

    def step(self, event: Mapping, seconds_left: float | None) -> None:
        """A step of the training, as ``Trainer`` reports it."""
        step, steps = event["step"], event["steps"]
        told = self._clock.event("training", step / steps)
        self._write(
            self._values["state"] != "training", state="training", fraction=step / steps, detail="", step=step,
            steps=steps, seconds_left=told["seconds_left"] if seconds_left is None else seconds_left,
        )  # fmt: skip

    def stop(self) -> bool:
        """Whether the run is asked to stop."""
        return self._asked() == "stop"

    def pause(self) -> bool:
        """Whether it is asked to wait."""
        asks = self._asked() == "pause"
        if asks != self._is_paused:
            self._is_paused = asks
            if asks:
                self._before = self._values["state"]
                self._write(True, state="paused", seconds_left=None)
            else:
                self._write(True, state=self._before)
        return asks

    def _asked(self) -> str:
        try:
            return (self._folder / ASK).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    def _write(self, force: bool = False, **values: object) -> None:
        self._values.update(values)
        now = time.monotonic()
        if not force and now - self._last < _OFTEN:
            return
        self._last = now
        said = {"GeneratedBy": generated_by(_KIND), **self._values, "updated": time.time()}
        with suppress(InputError, OSError):
            write_whole(self._folder / STATUS, json_text(said))
