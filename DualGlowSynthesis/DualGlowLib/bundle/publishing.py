"""A bundle as a folder that any web server can offer, and that a model hub takes as it is. Nothing is sent anywhere."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from ..files import hash_file, json_text, make_folder, unusable
from .archive import archive_name, export_bundle
from .bundle import Bundle, load_bundle
from .calibration import CALIBRATION_FILE
from .card import model_card
from .evaluation import read_evaluation, read_report, write_evaluation
from .files import CARD, CONFIG, LICENCES, WEIGHTS
from .inspection import inspect_bundle
from .licences import check_licence, hub_name
from .verification import verify_bundle

__all__ = ["INDEX", "NOTES", "SUMS", "publish_bundle"]

INDEX, SUMS = "index.json", "SHA256SUMS"
NOTES = "## Notes"
"""The heading in a model's card from which on its owner wrote it: that is kept when the card is filled in anew."""


def publish_bundle(
    folder: Path | str,
    output: Path | str,
    licence: str = "",
    report: Path | str | None = None,
    load: Callable[[Path], Bundle] = load_bundle,
    verify: Callable[[Path, Bundle], object] = verify_bundle,
) -> dict[str, str]:
    """Write a bundle with its card filled in, one zip file of it all, the checksums, and an index of one model.

    The files of the bundle lie at the top of the folder, as in a model repository of Hugging Face. The folder appears
    whole or not at all.

    Args:
        folder: of the bundle; it stays as it is.
        output: a folder that is new or empty.
        licence: SPDX identifier, see ``check_licence``; by default what the bundle states.
        report: of ``evaluate``, whose numbers go into the card and into ``evaluation.json``.
        load, verify: how it is read and checked; by default as DUAL-GLOW.

    Returns:
        SHA-256 of each file, by its name.

    Raises:
        InputError: if the bundle is not whole, nothing says under which licence it is given away, the report is of
            another model, or the folder holds something or can't be written.
    """
    folder, output = Path(folder), Path(os.path.realpath(output))  # a link stays, and leads to what is published
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists already and is no empty folder; give a new one.")
    bundle = load(folder)
    verify(folder, bundle)
    about = inspect_bundle(folder)
    evaluation = read_evaluation(folder, bundle.digest) if report is None else read_report(report, bundle.digest)
    licence = _licence(folder, about["licence"], licence)
    make_folder(output.parent)
    part = output.parent / f".{secrets.token_hex(6)}"
    try:
        part.mkdir()
        for name in (CONFIG, WEIGHTS, CALIBRATION_FILE, *LICENCES):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, part / name)
        if evaluation:
            write_evaluation(evaluation, part, bundle.digest)
        card = model_card(bundle, licence, evaluation=evaluation) + _notes(folder / CARD)
        (part / CARD).write_text(card, encoding="utf-8", newline="\n")
        archive = f"{archive_name(bundle.name)}.zip"
        digest = export_bundle(part, part / archive)
        entry = {
            "name": bundle.name,
            "file": archive,
            "sha256": digest,
            "bytes": (part / archive).stat().st_size,
            "bundle_sha256": bundle.digest,
            "licence": licence,
            **{key: about[key] for key in ("version", "format", "preset", "grid", "simulated")},
        }
        (part / INDEX).write_text(json_text({"format": 1, "models": [entry]}), encoding="utf-8", newline="\n")
        sums = {path.name: hash_file(path) for path in sorted(part.iterdir())}
        lines = "".join(f"{value}  {name}\n" for name, value in sums.items())
        (part / SUMS).write_text(lines, encoding="utf-8", newline="\n")
        if output.is_dir():
            output.rmdir()
        part.rename(output)
    except OSError as error:
        if not error.filename or part.name in str(error.filename):  # which is nothing to the user
            raise InputError(f"{output} can't be written: {error.strerror or error}; give another folder.") from None
        raise InputError(f"{unusable(error)}; mend that, or give another folder.") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return sums


def _licence(folder: Path, stated: str, asked: str) -> str:
    """The identifier under which it is given away.

    Raises:
        InputError: if there is none.
    """
    if not (asked or stated):
        raise InputError(f"{folder} states no licence, so nobody may use it; say which with --licence.")
    if not asked and len(stated.split()) > 1:
        return "LicenseRef-Own"  # the text of a file beside it
    found = check_licence(asked or stated)
    if hub_name(found) == "other" and not any((folder / name).is_file() for name in LICENCES):
        raise InputError(f"{folder} has no text of the licence {found}; put it there as LICENSE.")
    return found


def _notes(card: Path) -> str:
    """What the owner wrote at the end of the card that the bundle has."""
    text = card.read_text(encoding="utf-8-sig", errors="replace") if card.is_file() else ""
    place = text.find(f"\n{NOTES}\n")
    return text[place:] if place >= 0 else ""
