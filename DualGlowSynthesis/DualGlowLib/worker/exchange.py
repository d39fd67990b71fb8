"""The folder through which a window and its worker exchange arrays: open to its user alone, and gone when they are.

A patient's voxels pass through it, so it must not outlive the two processes, however they end. Each holds a lock on a
file of its own in the folder, which the system drops with the process: a folder that nobody holds is abandoned, and the
next window that starts removes it. (A process's number would say less: numbers are given out again, and another
container has others.) Only what says that it was made here is ever removed, which is why the folder's own name is
written into it.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from ..locks import try_lock

__all__ = ["PREFIX", "Exchange", "remove_abandoned"]

PREFIX = "DualGlow-"

_CLIENT, _WORKER = "client.lock", "worker.lock"
_TRIES = 5  # a thread that is about to be ended with the process may still write


class Exchange:
    """One such folder, held by this process until ``remove`` or the process's end.

    Attributes:
        path: of the folder.
    """

    def __init__(self, path: Path, held: IO[bytes] | None) -> None:
        self.path, self._held = path, held

    @classmethod
    def make(cls) -> Exchange:
        """A new one in the system's temporary folder, which only this user can open.

        Raises:
            OSError: if it can't be made.
        """
        path = Path(tempfile.mkdtemp(prefix=PREFIX))
        held = _hold(path / _CLIENT, os.O_CREAT | os.O_EXCL)
        if held is not None:  # from here on, and not before it is held, it counts as one of these
            held.write(_words(path))
        return cls(path, held)

    @classmethod
    def join(cls, path: Path) -> Exchange | None:
        """The folder that another process made, held by this one too; None if it is any other folder.

        Raises:
            OSError: if it is being removed.
        """
        if not _is_ours(path):
            return None
        held = _hold(path / _WORKER, os.O_CREAT)
        return None if held is None else cls(path, held)  # None: another worker has it

    def remove(self) -> None:
        """Delete the folder and all in it. What can't be deleted yet, ``remove_abandoned`` will find."""
        _remove(self.path, [self._held])


def remove_abandoned() -> None:
    """Delete such folders of this user that no process holds any more, from the system's temporary folder."""
    with suppress(OSError):
        for path in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
            if _is_ours(path):
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    held: list[IO[bytes]] = []
    with suppress(OSError):
        for name in (_CLIENT, _WORKER):
            if name == _CLIENT or (path / name).exists():
                found = _hold(path / name)
                if found is None:  # it lives, and the other may be about to take its own
                    break
                held.append(found)
        else:
            _remove(path, held)
    for file in held:
        file.close()


def _remove(path: Path, held: Sequence[IO[bytes] | None]) -> None:
    """Delete a folder; its marks go last, and stay if anything does, e.g. a file that is open under Windows."""
    rest: list[Path] = []
    for _ in range(_TRIES):
        try:
            rest = [entry for entry in path.iterdir() if entry.name not in (_CLIENT, _WORKER)]
        except OSError:
            rest = []
        if not rest:
            break
        for entry in rest:
            with suppress(OSError):
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for file in held:
        if file is not None:
            file.close()
    if not rest:
        for _ in range(_TRIES):
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                break


def _is_ours(path: Path) -> bool:
    """Whether ``make`` made this folder for this user; false for a link to one."""
    try:
        folder, mark = path.lstat(), (path / _CLIENT).lstat()
        if not stat.S_ISDIR(folder.st_mode) or getattr(folder, "st_reparse_tag", 0):
            return False
        if hasattr(os, "getuid") and folder.st_uid != os.getuid():
            return False
        return stat.S_ISREG(mark.st_mode) and mark.st_size < 1000 and (path / _CLIENT).read_bytes() == _words(path)
    except OSError:
        return False


def _words(path: Path) -> bytes:
    return f"DualGlow exchanges arrays with its worker in {path.name}; gone when both are.\n".encode()


def _hold(path: Path, flags: int = 0) -> IO[bytes] | None:
    """The file, locked until it is closed or the process ends; None if another process has it, or it can't be locked.

    Raises:
        OSError: if it can't be opened.
    """
    flags |= os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0)
    if not try_lock(file.fileno()):
        file.close()
        return None
    file.seek(0)
    return file
