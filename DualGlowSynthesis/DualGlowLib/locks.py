"""One process at a time where two would spoil each other's work."""

from __future__ import annotations

import errno
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .errors import InputError

__all__ = ["Holder", "holder_of", "is_suspended", "only_one", "try_lock"]

_HELD = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK)
_BEGINNING = b'{"host": "'  # of what is written into the file
_TRIES, _BETWEEN = 5, 0.02  # seconds
_FAR = 1 << 30  # Windows keeps others from reading the byte that is locked: one that the file doesn't reach


@dataclass(frozen=True)
class Holder:
    """A process that has a lock, or died while it had it.

    Attributes:
        host, pid, since: the computer, the process there, and when it took the lock (local time, as text).
        alive: whether it still has it; None on another computer, where nobody can tell.
    """

    host: str
    pid: int
    since: str
    alive: bool | None


def holder_of(lock: Path) -> Holder | None:
    """Who holds a lock of ``only_one``, or died with it; None if nobody does. Nothing is changed.

    A process that has ended and is still remembered by the one that started it counts as dead.
    """
    try:
        with lock.open("rb") as file:
            found = _holder(file)
            if not found:
                return None
            if found["host"] != platform.node():
                return Holder(**found, alive=None)
            # Not asked of a file without a living owner: one that is about to take it over would be refused.
            if not _is_alive(found["pid"]):
                return Holder(**found, alive=False)
            free = try_lock(file.fileno())
            if free and _holder(file) != found:  # it has just ended in good order
                return None
            return Holder(**found, alive=not free)
    except (OSError, InputError):
        return None


@contextmanager
def only_one(lock: Path, doing: str) -> Iterator[None]:
    """Hold a lock while the body runs; nobody else can, in this process or another.

    The system's own lock on the file ends with the process, however that ends. Not every file system has one, and not
    every network file system carries it to other computers; therefore the file also says who holds it: computer,
    process, and since when. What a dead process of this computer left is taken over.

    Args:
        lock: the file, there only while it is held; its folder is made.
        doing: what the holder does and others are told, such as ``"training into run"``.

    Raises:
        InputError: if somebody else holds it, may hold it on another computer, or the file can't be written.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = _acquire(lock, doing)
    except OSError as error:
        raise InputError(f"{lock.parent} can't be written: {error.strerror or error}; choose another folder.") from None
    try:
        yield
    finally:
        _release(file, lock)


def _acquire(lock: Path, doing: str) -> BinaryIO:
    while True:
        if lock.is_symlink():
            raise InputError(f"{lock} is a link, so that a lock there would change a file elsewhere; move it away.")
        file = lock.open("a+b")
        try:
            locked = _lock_insisting(file.fileno())
            if locked is not False and not _is_there(file, lock):  # its holder deleted it in this very moment
                file.close()
                continue
            _refuse(_holder(file), locked, lock, doing)
            file.truncate(0)
            me = {"host": platform.node(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            file.write(json.dumps(me).encode() + b"\n")
            file.flush()
        except BaseException:
            file.close()
            raise
        return file


def _release(file: BinaryIO, lock: Path) -> None:
    with file, suppress(OSError):
        file.truncate(0)
        # Somebody who was told to delete the file may have done so, and another may hold its successor.
        if os.name != "nt" and _is_there(file, lock):
            lock.unlink()
    if os.name == "nt":  # there, a file can be deleted only when it is closed, and only if nobody else has it open
        with suppress(OSError):
            lock.unlink()


def _refuse(holder: dict, locked: bool | None, lock: Path, doing: str) -> None:
    """Refuse if the holder is alive, or may be.

    Raises:
        InputError: so it is.
    """
    who = "process {pid} on {host}, since {since}".format(**holder) if holder else "it doesn't say which"
    here = holder.get("host") == platform.node()
    if locked is False or (locked is None and here and _is_alive(holder["pid"])):
        raise InputError(f"Another process is {doing} ({who}); wait for it or stop it.")
    if holder and not here:
        raise InputError(
            f"A process on another computer was {doing} and has not said that it ended ({who}); if it no longer runs, "
            f"delete {lock} and try again."
        )


def _holder(file: BinaryIO) -> dict:
    """``host``, ``pid`` and ``since`` of who wrote the file last; empty if nobody did, or did not get so far.

    Raises:
        InputError: if it is no such file.
    """
    file.seek(0)
    content = file.read(1000)
    if not content.startswith(_BEGINNING[: len(content)]):
        raise InputError(
            f"{file.name} was not written by DualGlow, which would take it for its lock; move it away, or give another "
            "folder."
        )
    try:
        found = json.loads(content)
        return {"host": str(found["host"]), "pid": int(found["pid"]), "since": str(found["since"])}
    except (ValueError, TypeError, KeyError):
        return {}


def try_lock(number: int) -> bool | None:
    """Take the system's lock on an open file, which ends with the process or when the file is closed.

    Args:
        number: of the file; under Windows it is left at another place than before.

    Returns:
        True, or False if another has it, or None if there are no locks here.
    """
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(number, _FAR, os.SEEK_SET)
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _HELD else None
    return True


def _lock_insisting(number: int) -> bool | None:
    """``try_lock``, some times: who only asks whether a lock is held (``holder_of``) has it for a moment."""
    for _ in range(_TRIES):
        if (locked := try_lock(number)) is not False:
            break
        time.sleep(_BETWEEN)
    return locked


def _is_there(file: BinaryIO, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), lock.stat())
    except FileNotFoundError:
        return False


def _is_alive(pid: int) -> bool:
    """Of a process on this computer. Windows is not asked: it has locks everywhere, and signal 0 is Ctrl-C there."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    # On Linux: one that has ended and whose parent has not asked for its end counts as dead.
    return _process_state(pid) != "Z"


def is_suspended(pid: int) -> bool:
    """Whether a process of this computer was stopped by a signal (Ctrl-Z, SIGSTOP); only Linux tells."""
    return _process_state(pid) == "T"


def _process_state(pid: int) -> str:
    """Its letter in Linux's ``/proc`` (proc(5)); empty elsewhere, or if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
