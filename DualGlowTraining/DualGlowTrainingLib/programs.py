"""Programs of DualGlow as processes of their own: short ones that the window hears, and trainings that outlive it."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from slicer.i18n import tr as _

from DualGlowLib import InputError
from DualGlowSlicerLib.processes import command, startProcess

__all__ = ["COMMAND_LINE", "SEQUENCE", "Program", "endProcess", "startRun"]

COMMAND_LINE, SEQUENCE = "DualGlowLib.__main__", "DualGlowLib.cli.sequence"
_READ = 1 << 20  # bytes at once


def startRun(module: str, arguments: Sequence[str], folder: Path, log: Path) -> subprocess.Popen:
    """Start a training that goes on when Slicer is closed; its words go into ``log``.

    Raises:
        InputError: if the folder can't be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            return startProcess(command(module, arguments), stdout=file, stderr=subprocess.STDOUT)
    except OSError as error:
        text = _("The training can't be started in {folder} ({reason}); choose another output folder.")
        raise InputError(text.format(folder=folder, reason=error.strerror or error)) from None


def endProcess(pid: int) -> None:
    """End a process at once."""
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)


class Program:
    """One that takes seconds to minutes: its JSON lines are handed over by ``poll``, which never waits.

    onEvent: called with each line's values. onEnd: called once, with the exit code and the last line of what the
    program said besides; not after ``close``.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        onEvent: Callable[[dict], None],
        onEnd: Callable[[int, str], None],
    ) -> None:
        self._onEvent, self._onEnd = onEvent, onEnd
        self._rest = b""
        self._output, self._errors = (tempfile.TemporaryFile() for _file in range(2))  # noqa: SIM115
        self._place = 0
        try:
            self._process = startProcess(command(module, arguments), stdout=self._output, stderr=self._errors)
        except OSError as error:
            self._output.close()
            self._errors.close()
            raise InputError(_("Slicer's Python can't be started ({reason}).").format(reason=error)) from None

    def poll(self) -> bool:
        """Hand over what has come; whether the program goes on."""
        if self._process is None:
            return False
        code = self._process.poll()
        self._output.seek(self._place)
        read = self._output.read(_READ)
        self._place += len(read)
        *lines, self._rest = (self._rest + read).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                values = json.loads(line)
                if isinstance(values, dict):
                    self._onEvent(values)
        if code is None or len(read) == _READ:
            return True
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines() or [""]
        self._release()
        self._onEnd(code, lines[-1].partition(": ")[2] if lines[-1].startswith("dualglow ") else lines[-1])
        return False

    def close(self) -> None:
        """End the program, with all that it started."""
        if self._process is None:
            return
        if os.name == "nt":
            self._process.kill()
        else:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._release()

    def _release(self) -> None:
        self._process = None
        self._output.close()
        self._errors.close()
