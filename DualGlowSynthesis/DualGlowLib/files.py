"""Write a file whole or not at all, and know one again by its hash."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from .errors import InputError
from .outputs import Output, check_outputs, kind_of

__all__ = [
    "TEMPORARY",
    "UNFETCHED",
    "description_of",
    "hash_file",
    "is_unfetched",
    "json_text",
    "make_folder",
    "remove_temporary",
    "unusable",
    "write_json",
    "write_whole",
]

TEMPORARY = re.compile(r"\.[0-9a-f]{12}(\.(part|png|h5|tfm))?")
"""Names of ours under which files are written before they get their own, and under which folders are tried."""


def write_whole(path: str | Path, content: bytes | str, force: bool = False) -> Path:
    """Write under another name in the same folder and rename, so that nobody ever reads half of it.

    The bytes are on the disk before the name is. A file that is replaced keeps its permissions; a new one gets those
    that the user's files have. Through a link the file that it leads to is written, and the link stays.

    Args:
        path: where to.
        content: bytes, or text that is written as UTF-8 with plain line feeds.
        force: replace whatever file is there. Without it a file is replaced only if DualGlow wrote it and it is of the
            same kind (``outputs.kind_of``).

    Raises:
        InputError: if the folder doesn't exist or can't be written, the disk is full, or the file may not be replaced
            (``outputs.check_outputs``); an existing file stays.
    """
    content = content.encode("utf-8") if isinstance(content, str) else content
    check_outputs([Output(Path(path), kind_of(content))], force=force)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{secrets.token_hex(6)}.part")
    try:
        there = target.exists()
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if there:
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        _rename(temporary, target, there or force)
    except FileExistsError:
        raise InputError(f"{path} can't be written: another program has just made it; give another name.") from None
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror or error}.") from None
    finally:
        with suppress(OSError):
            temporary.unlink()
    return Path(path)


def remove_temporary(folder: Path) -> None:
    """Remove what a process that was killed had half written, anywhere below a folder in which none is at work."""
    for path in folder.rglob(".*"):
        if TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder, and those that it lies in, where they are not there yet.

    Raises:
        InputError: if it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {folder} can't be made: {error.strerror or error}; give another.") from None


def unusable(error: OSError, place: str | Path = "") -> str:
    """What a file system's error means to the user, as the beginning of a sentence: which file, and what is wrong.

    Args:
        error: of the operating system.
        place: where it was, if the error doesn't say.
    """
    return f"{error.filename or place or 'A file'} can't be read or written: {error.strerror or error}"


def _rename(temporary: Path, target: Path, may_replace: bool) -> None:
    """Give a file its name, and wait until that is on the disk.

    Raises:
        FileExistsError: if a file of that name has come up that may not be replaced.
    """
    if not may_replace:
        try:
            os.link(temporary, target)  # which, other than a renaming, never replaces
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if os.path.lexists(target):
                raise FileExistsError from None
            may_replace = True
    if may_replace:
        os.replace(temporary, target)
    with suppress(OSError):  # Windows has no handle for a folder
        handle = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: str | Path, values: object, force: bool = False) -> Path:
    """``write_whole`` of JSON; numpy numbers, arrays and paths are allowed.

    Raises:
        InputError: as ``write_whole``.
    """
    return write_whole(path, json_text(values), force)


def json_text(values: object) -> str:
    """JSON as ``write_json`` writes it."""
    return json.dumps(values, indent=2, ensure_ascii=False, default=_plain) + "\n"


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


UNFETCHED = "is a link whose content was not fetched (datalad get)"
"""What is said of such a file as ``is_unfetched`` finds, after its name."""


def is_unfetched(path: Path) -> bool:
    """Whether a file's content is somewhere else: a link to nothing, or the pointer of git-annex or Git LFS.

    So data of DataLad and git-annex look before they are fetched.
    """
    if not path.exists():
        return path.is_symlink()
    try:
        if not path.is_file() or path.stat().st_size > 1024:
            return False
        head = path.read_bytes()
    except OSError:
        return False
    return head.startswith((b"/annex/objects/", b"version https://git-lfs.github.com/spec/"))


def _plain(value: object) -> object:
    """What JSON can hold in place of numpy's numbers and arrays; others as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def description_of(folder: Path) -> dict:
    """What ``dataset_description.json`` says of a directory (BIDS); empty where there is none to be read."""
    try:
        about = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}
