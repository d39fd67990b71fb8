"""A bundle as one zip file, as the window downloads models: for others, with its SHA-256."""

from __future__ import annotations

import os
import secrets
import sys
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import InputError
from ..files import hash_file
from ..progress import json_line
from .calibration import CALIBRATION_FILE
from .evaluation import EVALUATION_FILE
from .files import CARD, CONFIG, LICENCES, WEIGHTS, check_weights, read_config

__all__ = ["archive_name", "export_bundle", "main"]

_PARTS = (CARD, CALIBRATION_FILE, CONFIG, EVALUATION_FILE, *LICENCES, WEIGHTS)


def archive_name(name: str) -> str:
    """A model's name as that of a file or folder.

    >>> archive_name("Münster: #1")
    'Münster---1'
    """
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip(".") or "model"


def export_bundle(folder: Path | str, path: Path | str) -> str:
    """Write the bundle in ``folder``, checked, as a zip file with one folder of the model's name; gives its SHA-256.

    Nothing is replaced. What lies in the folder besides and is no part of a bundle, such as a table of the cases, stays
    there.

    Raises:
        InputError: if the bundle is not whole, the file exists, or can't be written.
    """
    folder, path = Path(folder), Path(path)
    values = read_config(folder)
    check_weights(folder, values)
    if os.path.lexists(path):
        raise InputError(f"{path} exists already; give another name.")
    name = archive_name(values["name"])
    part = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        with zipfile.ZipFile(part, "x", zipfile.ZIP_STORED) as archive:  # weights can't be made smaller
            for file in (folder / part_of for part_of in _PARTS):
                if file.is_file():
                    archive.write(file, f"{name}/{file.name}")
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror or error}; give another place.") from None
    finally:
        with suppress(OSError):  # where nothing can be written, nothing can be deleted either, even if it isn't there
            part.unlink()
    return hash_file(path)


def main(arguments: Sequence[str]) -> int:
    """``FOLDER FILE``: export, and print a line with the file's ``path`` and ``sha256``; for windows."""
    try:
        digest = export_bundle(*arguments)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(json_line({"event": "done", "path": str(arguments[1]), "sha256": digest}), flush=True)
    return 0
