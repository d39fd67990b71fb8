"""What lies beside a bundle and is of it alone: JSON with a checksum of itself, which names the bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import InputError
from ..sealed import CHECKSUMS, is_sealed, parse_json

__all__ = ["read_beside"]

_T = TypeVar("_T")


def read_beside(
    path: Path, bundle_sha256: str, checked: Callable[[dict], _T], most_bytes: int, again: str, foreign: str
) -> _T | None:
    """What such a file holds; None if there is none.

    Args:
        path: of the file; its name without the ending says in messages what it is.
        bundle_sha256: of the bundle beside it.
        checked: makes of its values what is returned; may raise what missing or wrong values raise.
        most_bytes: that it can have.
        again: what to do where it is damaged.
        foreign: what to do where it is of another bundle.

    Raises:
        InputError: if it is damaged, or of another model.
    """
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > most_bytes:
            raise ValueError(f"it is larger than any {path.stem}")
        values = parse_json(path.read_text(encoding="utf-8"))
        if not is_sealed(values, path.name):
            raise ValueError("it has no checksum")
        about = {key: value for key, value in values.items() if key not in ("GeneratedBy", CHECKSUMS)}
        found = checked(about)
    except (OSError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); {again}.") from error
    if about.get("bundle_sha256") != bundle_sha256:
        raise InputError(f"{path} was measured with another model; {foreign}.")
    return found
