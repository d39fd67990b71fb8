"""JSON files that carry a checksum: of themselves, and of the files that they speak of.

The checksums are in the entry ``sha256``, by file name. A file's own is that of what it says, not of its bytes, so that
blanks, line ends and the order of keys don't count.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

from .files import write_whole

__all__ = ["CHECKSUMS", "is_sealed", "not_finite", "parse_json", "seal", "write_sealed"]

CHECKSUMS = "sha256"


def parse_json(text: str | bytes) -> object:
    """What JSON text says. Unlike ``json.loads``, it knows no NaN, no infinity, and no number that is read as one.

    Raises:
        ValueError: if it is no such text.
    """
    return json.loads(text, parse_float=_finite, parse_constant=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number


def not_finite(values: object, place: str = "") -> str:
    """Where among values that JSON can hold the first number is that is not finite, like ``training.bits``; or ''."""
    if isinstance(values, float):
        return "" if math.isfinite(values) else place
    if isinstance(values, Mapping):
        parts = [(f"{place}.{key}" if place else str(key), value) for key, value in values.items()]
    elif isinstance(values, list | tuple):
        parts = [(f"{place}[{index}]", value) for index, value in enumerate(values)]
    else:
        return ""
    return next(filter(None, (not_finite(value, where) for where, value in parts)), "")


def seal(values: Mapping, name: str, files: Mapping[str, str] | None = None) -> dict:
    """``values`` as JSON holds them, with the checksums of ``files`` (by their names) and of the rest.

    Args:
        values: what a file called ``name`` is to say; checksums that it has are replaced.
        name: of the file.
        files: SHA-256 of the files beside it.

    Raises:
        ValueError: if a number is not finite.
    """
    plain = json.loads(json.dumps({**values, CHECKSUMS: dict(files or {})}, allow_nan=False))
    plain[CHECKSUMS][name] = _digest(plain)
    return plain


def is_sealed(values: Mapping, name: str) -> bool:
    """Whether what a file called ``name`` says has a checksum of its own.

    Raises:
        ValueError: if it is not the one that is stated.
    """
    stated = values[CHECKSUMS].get(name)
    if stated is None:
        return False
    rest = {file: digest for file, digest in values[CHECKSUMS].items() if file != name}
    if stated != _digest({**values, CHECKSUMS: rest}):
        raise ValueError("it does not have the checksum that it states")
    return True


def write_sealed(path: Path, values: Mapping, files: Mapping[str, str] | None = None) -> None:
    """Write ``seal(values)`` whole or not at all, in place of what is there: who calls it knows its folder.

    Raises:
        InputError: see ``files.write_whole``.
        ValueError: if a number is not finite.
    """
    write_whole(path, json.dumps(seal(values, path.name, files), indent=1) + "\n", force=True)


def _digest(values: Mapping) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, allow_nan=False).encode("utf-8")).hexdigest()
