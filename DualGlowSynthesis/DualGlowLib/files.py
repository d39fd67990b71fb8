"""Write a file whole or not at all, and know one again by its hash."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path

from .errors import InputError

__all__ = ["hash_file", "json_text", "write_json", "write_whole"]


def write_whole(path: str | Path, content: bytes | str) -> Path:
    """Write under another name in the same folder and rename, so that nobody ever reads half of it.

    Args:
        path: where to; an existing file is replaced.
        content: bytes, or text that is written as UTF-8 with plain line feeds.

    Raises:
        InputError: if the folder doesn't exist or can't be written, or the disk is full; an existing file stays.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror or error}.") from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_json(path: str | Path, values: object) -> Path:
    """``write_whole`` of JSON; numpy numbers, arrays and paths are allowed.

    Raises:
        InputError: as ``write_whole``.
    """
    return write_whole(path, json_text(values))


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


def _plain(value: object) -> object:
    """What JSON can hold in place of numpy's numbers and arrays; others as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
