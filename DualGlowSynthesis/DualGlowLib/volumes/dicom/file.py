"""One DICOM file: known by its content, read, its elements as plain numbers and text, written."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from ...outputs import NAME, says_synthetic
from ..headers import LARGEST_FILE, first_bytes, unpacked

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = [
    "DAMAGE",
    "DICOMDIR",
    "HEAD",
    "is_dicom",
    "is_dicom_file",
    "is_marked",
    "number",
    "read_dataset",
    "save_dataset",
    "text",
    "values",
]

_DEFLATED = b"1.2.840.10008.1.2.1.99"
DICOMDIR = b"1.2.840.10008.1.3.10"
"""The SOP class of a DICOMDIR, which stands in the first ``HEAD`` bytes."""

HEAD = 1024
"""Bytes at the beginning of a file that say whether it is DICOM, and a DICOMDIR."""


def is_dicom(head: bytes) -> bool:
    """Whether the first bytes are those of a DICOM file, with the preamble or (as very old ones) without."""
    if head[128:132] == b"DICM":
        return True
    first = head[:2] == b"\x08\x00" and head[2:4] in (b"\0\0", b"\1\0", b"\5\0", b"\x08\0", b"\x12\0", b"\x16\0")
    return first and len(head) > 132 and (head[4:6].isalpha() or head[5:8] == b"\0\0\0")


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM, by its first bytes."""
    try:
        return path.is_file() and is_dicom(first_bytes(path, HEAD))
    except (OSError, zlib.error):
        return False


def read_dataset(path: Path, **options: object) -> Dataset:
    """``pydicom.dcmread``, also of a gzipped file and of one without preamble.

    Raises:
        Exception: of nearly any kind, from gzip, struct or pydicom, if the file is damaged.
    """
    import pydicom

    with path.open("rb") as file:
        head = file.read(1024)
    if _DEFLATED in head:
        _check_deflated(path, head)
    with unpacked(path) if head[:2] == b"\x1f\x8b" else path.open("rb") as file:
        dataset = pydicom.dcmread(file, force=True, **options)
    if "TransferSyntaxUID" not in dataset.file_meta:  # pydicom found out by itself which it is
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2" + ("" if dataset.is_implicit_VR else ".1")
    return dataset


def _check_deflated(path: Path, head: bytes) -> None:
    """Refuse what would fill the memory; pydicom unpacks all at once."""
    start = 144 + int.from_bytes(head[140:144], "little")  # after the group length of the file's meta information
    with path.open("rb") as file:
        file.seek(start)
        unpacker, total, raw = zlib.decompressobj(-15), 0, b""
        while not unpacker.eof and (raw := unpacker.unconsumed_tail or file.read(1 << 20)):
            total += len(unpacker.decompress(raw, 1 << 24))
            if total > LARGEST_FILE:
                raise InputError(f"{path} unpacks to more than one slice or volume can have; it is damaged.")


DAMAGE = (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, IndexError, NotImplementedError)
"""What pydicom raises for values that are no good."""


def save_dataset(dataset: Dataset, path: Path) -> None:
    """Write a DICOM file with preamble, in the transfer syntax of its ``file_meta`` (little endian, explicit VR)."""
    import pydicom

    if int(pydicom.__version__.split(".")[0]) >= 3:
        dataset.save_as(path, enforce_file_format=True)
    else:
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
        dataset.save_as(path, write_like_original=False)


def number(dataset: Dataset, keyword: str | int) -> float | None:
    """The first value of an element as a finite float; None where it is missing, empty or no number."""
    try:
        value = dataset[keyword].value
        if isinstance(value, bytes):  # a private element of an implicit VR file
            value = value.decode("ascii").strip(" \0")
        value = float(value if isinstance(value, str | int | float) else value[0])
    except (*DAMAGE, UnicodeError):
        return None
    return value if np.isfinite(value) else None


def text(dataset: Dataset, keyword: str | int) -> str:
    """An element as one line of text; empty where it is missing."""
    return " ".join("\\".join(values(dataset, keyword)).split())


def values(dataset: Dataset, keyword: str | int) -> tuple[str, ...]:
    """All values of an element as text, without the empty ones."""
    try:
        value = dataset[keyword].value
    except DAMAGE:
        return ()
    several = isinstance(value, list | tuple) or type(value).__name__ == "MultiValue"
    texts = (
        v.decode("latin-1").strip(" \0") if isinstance(v, bytes) else str(v) for v in (value if several else [value])
    )
    return tuple(t for t in texts if t and t != "None")


def is_marked(dataset: Dataset) -> bool:
    """Whether a header says that its image is synthetic, in any of the places where ``export_dicom`` does.

    Programs that rewrite files drop some of them: those that don't know Synthetic Data (0008,001C), those that make
    files anonymous.
    """
    if text(dataset, 0x0008001C).upper() == "YES" or text(dataset, "ManufacturerModelName") == NAME:
        return True
    words = ("ImageComments", "SeriesDescription", "DerivationDescription")
    return any(says_synthetic(text(dataset, keyword)) for keyword in words)
