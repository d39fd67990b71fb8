"""The folder of a run: whether one can begin or go on there, and that no two do at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ..bundle.bundle import check_bundle_folder
from ..errors import InputError
from ..files import make_folder, unusable, write_whole
from ..locks import only_one
from .checkpoints import OLD, Checkpoints
from .monitoring.logs import TABLE, is_table
from .status import HISTORY, LOCK

__all__ = ["BUNDLE", "begin_run", "check_free", "check_run", "has_checkpoint", "has_run", "hold_run", "writing"]

BUNDLE = "bundle"
_FIRST = b'{"step": '  # of each line of a history


def check_run(folder: Path | str, resume: bool) -> None:
    """Refuse a folder that a run can't begin or go on in, before anything is read or computed.

    Raises:
        InputError: if it holds a run or a model already and ``resume`` is off, no run and it is on, or a file that the
            run would replace and that is not a run's.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the run.")
    bundle = folder / BUNDLE
    has_model = bundle.exists() and (not bundle.is_dir() or any(bundle.iterdir()))
    is_saved = has_checkpoint(folder)
    history = folder / HISTORY
    tensors = Checkpoints(folder).foreign() or Checkpoints(folder, "best").foreign()
    table = folder / TABLE if (folder / TABLE).is_file() and not is_table(folder / TABLE) else None
    if foreign := tensors or table or (None if is_saved else _foreign_history(history)):
        raise InputError(
            f"{foreign} is no part of a run, which would replace it; move it away, or give another folder."
        )
    is_begun = history.exists()
    if has_model and not is_saved:
        raise InputError(f"{folder} has a model but no checkpoint to resume from; give another folder.")
    if not resume:
        if is_saved or (is_begun and history.stat().st_size):  # nothing is lost of one without a step
            raise InputError(f"{folder} holds a run already; go on with --resume or give another folder.")
        return
    if not is_saved and not is_begun:
        raise InputError(f"{folder} has no run to resume from; start without --resume.")
    check_bundle_folder(bundle)


def has_run(folder: Path | str) -> bool:
    """Whether there is a run in the folder to go on with."""
    return has_checkpoint(folder) or (Path(folder) / HISTORY).is_file()


def has_checkpoint(folder: Path | str) -> bool:
    """Whether a checkpoint was ever finished there, also one of the old kind."""
    return Checkpoints(Path(folder)).exist() or (Path(folder) / OLD).is_file()


def _foreign_history(history: Path) -> Path | None:
    """The file, if it isn't a history, or the beginning of one."""
    if not history.is_file():
        return None
    with history.open("rb") as file:
        head = file.read(len(_FIRST))
    return None if _FIRST.startswith(head) else history


def check_free(folder: Path | str) -> None:
    """Refuse a folder in which another process trains, before anything is prepared for a run there.

    Raises:
        InputError: if one does, or the folder can't be written.
    """
    if Path(folder).is_dir():
        with hold_run(folder):
            pass


def hold_run(folder: Path | str) -> AbstractContextManager[None]:
    """Keep all other processes from training into a folder, which is made.

    Raises:
        InputError: if one does, or the folder can't be written.
    """
    return only_one(Path(folder) / LOCK, f"training into {folder}")


def begin_run(folder: Path | str) -> None:
    """From now on there is a run to resume in the folder, which is made; what is there stays.

    Raises:
        InputError: if the folder can't be written.
    """
    make_folder(Path(folder))
    if not (history := Path(folder) / HISTORY).exists():
        write_whole(history, "", force=True)


@contextmanager
def writing(folder: Path | str) -> Iterator[None]:
    """While a run writes into its folder: what goes wrong is told with what to do, which is to mend the folder.

    Raises:
        InputError: if the folder can't be written or the disk is full.
    """
    remedy = "mend that and go on with --resume."
    try:
        if not os.access(folder, os.W_OK):  # else the writer would ask for another folder, to which a run can't move
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        yield
    except OSError as error:
        raise InputError(f"{unusable(error, folder)}; {remedy}") from None
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')}; {remedy}") from None
