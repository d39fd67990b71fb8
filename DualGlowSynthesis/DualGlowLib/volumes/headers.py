"""What a file's header says of its voxels, and the bytes that should hold them, compared before anything is decoded.

Readers believe a header: they make room for as much as it claims, and some leave what the file lacks at zero or at
whatever was in memory. So the sizes are compared here first, and no more is unpacked than the header speaks of.
"""

from __future__ import annotations

import bz2
import math
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from ..errors import InputError
from ..files import is_unfetched

__all__ = [
    "LARGEST_FILE",
    "NIFTI_1",
    "NIFTI_2",
    "Announced",
    "check_regular",
    "check_shape",
    "first_bytes",
    "of_metaimage",
    "of_mgh",
    "of_nifti",
    "of_nrrd",
    "unpacked",
]

NIFTI_1, NIFTI_2 = (tuple(struct.pack(order, size) for order in ("<i", ">i")) for size in (348, 540))
"""How unpacked NIfTI files begin, in either order of bytes."""
MIN_SIDE = 8
LARGEST_FILE = 1 << 30
"""Bytes that a packed file of DICOM may unpack to."""
_MOST_VOXELS = 1 << 28  # 645³; a head at half a millimetre has 512³

_BLOCK = 1 << 24
_DENSEST = 100  # times that a large scan is packed; one of noise is packed twice, one with much background ten times
_BEYOND = 1 << 26  # bytes that may follow the voxels
_META_TYPES = {"CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4}
_META_TYPES |= {"LONG_LONG": 8, "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
_NRRD_TYPES = {
    1: ("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"),
    2: ("short", "short int", "signed short", "signed short int", "int16", "int16_t", "ushort", "unsigned short"),
    4: ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"),
    8: ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
}
_NRRD_TYPES[2] += ("unsigned short int", "uint16", "uint16_t")
_NRRD_TYPES[8] += ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t", "double")


@dataclass(frozen=True)
class Announced:
    """What a header says of its voxels.

    Attributes:
        shape: of all axes, in the file's order.
        itemsize: bytes of a voxel.
        start: the first voxel's place in the file's unpacked content.
    """

    shape: tuple[int, ...]
    itemsize: int
    start: int

    @property
    def size(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.shape) * self.itemsize

    @property
    def end(self) -> int:
        return self.start + self.size


def check_regular(path: Path) -> int:
    """The size of a file that can be read, in bytes.

    Raises:
        InputError: if it is missing, empty, or no regular file: to read a pipe or a device may never end.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if is_unfetched(path):
            raise InputError(
                f"{path} is a link to nothing: its content was not fetched; get it first (datalad get, git annex get)."
            ) from None
        raise InputError(f"{path} does not exist; check the name.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}.") from None
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} is no regular file but a device or a pipe; give an image file.")
    if found.st_size == 0:
        raise InputError(f"{path} is empty; copy or export it again.")
    if is_unfetched(path):
        raise InputError(f"{path} only stands for a content that was not fetched; get it first (git annex, git lfs).")
    return found.st_size


def first_bytes(path: Path, count: int = 4096) -> bytes:
    """The first ``count`` bytes of a file, unpacked if it is gzipped; fewer of a shorter one.

    Raises:
        OSError, zlib.error: if it can't be read or unpacked.
    """
    with path.open("rb") as file:
        head = file.read(max(count, 4096))
    return zlib.decompressobj(31).decompress(head, count) if head[:2] == b"\x1f\x8b" else head[:count]


def check_shape(shape: tuple[int, ...], path: Path) -> None:
    """Refuse what is not one volume of a size that a head may have.

    Raises:
        InputError: with the numbers of voxels.
    """
    if len(shape) > 3 and math.prod(shape[3:]) != 1:
        raise InputError(f"{path} holds {math.prod(shape[3:])} volumes; give one 3-D volume.")
    sides = "×".join(str(n) for n in shape[:3])
    if len(shape) < 3 or min(shape[:3]) < MIN_SIDE:
        raise InputError(f"{path} is {sides} voxels, a slice and not a volume; give a whole head.")
    if math.prod(shape[:3]) > _MOST_VOXELS:
        raise InputError(f"{path} claims {sides} voxels, more than any scan of a head; its header is damaged.")


# ------------------------------------------------------------------------------------------------------ the content


def unpacked(path: Path, wanted: int | None = None, start: int = 0, packing: str = "", keep: bool = True) -> BytesIO:
    """A file's content from ``start`` on, unpacked if it is packed, and checked against the checksum at its end.

    Args:
        path: a regular file.
        wanted: how many unpacked bytes are needed; None for all there are (of a file of DICOM).
        start: bytes of the file to pass over first.
        packing: "gzip" (which zlib's own format counts as) or "bzip2"; by default gzip if the file begins like that.
        keep: False only checks, and gives nothing.

    Returns:
        At least ``wanted`` bytes and at most some more.

    Raises:
        InputError: if there are fewer or far more than ``wanted``, or the packing is damaged.
    """
    limit = LARGEST_FILE if wanted is None else wanted + _BEYOND
    available = check_regular(path) - start
    kept = BytesIO()
    with path.open("rb") as file:
        packing = packing or ("gzip" if file.read(2) == b"\x1f\x8b" else "")
        file.seek(start)
        if not packing:
            if available < (wanted or 0):
                raise _too_short(path, available, wanted)
            return BytesIO(file.read(limit if wanted is None else wanted) if keep else b"")
        # Deflate packs 1032 bytes into one at best, so that this can't be.
        if packing == "gzip" and available * 1040 + 1024 < (wanted or 0):
            raise _too_short(path, available * 1032, wanted, "at most ")
        if (wanted or 0) > LARGEST_FILE and available * _DENSEST < wanted:
            raise InputError(
                f"{path} has {available} bytes and claims to unpack to {wanted}, which no scan of a head does; its "
                "header is damaged."
            )
        total = 0
        for part in _parts(file.read, path, bz2.BZ2Decompressor if packing == "bzip2" else _inflate):
            total += len(part)
            if total > limit:
                raise InputError(f"{path} unpacks to far more than its header speaks of; it is damaged.")
            if keep:
                kept.write(part)
    if total < (wanted or 0):
        raise _too_short(path, total, wanted)
    kept.seek(0)
    return kept


def _inflate() -> object:
    return zlib.decompressobj(47)  # gzip's format or zlib's own


def _parts(read: Callable[[int], bytes], path: Path, decoder: Callable[[], object]) -> Iterator[bytes]:
    """The content of all members of a packed stream; what follows them is ignored."""
    raw, first = b"", True
    try:
        while first or raw[:2] in (b"\x1f\x8b", b"BZ"):
            unpacker, first = decoder(), False
            while not unpacker.eof:
                if isinstance(unpacker, bz2.BZ2Decompressor):
                    raw = b"" if not unpacker.needs_input else raw or read(_BLOCK)
                    ended = unpacker.needs_input and not raw
                else:
                    raw = raw or read(_BLOCK)
                    ended = not raw
                if ended:
                    raise InputError(f"{path} is incomplete: its compressed data end too early; copy it again.")
                yield unpacker.decompress(raw, _BLOCK)
                raw = getattr(unpacker, "unconsumed_tail", b"")
            raw = unpacker.unused_data or read(_BLOCK)
    except InputError:
        raise
    except (zlib.error, OSError, ValueError):
        raise InputError(f"{path} is damaged: its compressed data can't be unpacked; copy it again.") from None


def _too_short(path: Path, there: int, wanted: int, most: str = "") -> InputError:
    return InputError(
        f"{path} is incomplete: its header speaks of {wanted} bytes and there are {most}{max(there, 0)}; copy or "
        "export it again."
    )


# ------------------------------------------------------------------------------------------------------- the formats


def of_nifti(head: bytes, path: Path) -> Announced:
    """From the first bytes of a NIfTI-1 or NIfTI-2 file, unpacked, or of the header of a pair.

    Raises:
        InputError: if it is cut, or says what can't be.
    """
    from nibabel.nifti1 import data_type_codes

    two = head[:4] in NIFTI_2
    if len(head) < (540 if two else 348):
        raise InputError(f"{path} is incomplete: its header ends too early; copy or export it again.")
    order = "<" if struct.unpack_from("<i", head)[0] in (348, 540) else ">"
    dims = struct.unpack_from(order + ("8q" if two else "8h"), head, 16 if two else 40)
    kind = struct.unpack_from(order + "h", head, 12 if two else 70)[0]
    start = struct.unpack_from(order + ("q" if two else "f"), head, 168 if two else 108)[0]
    itemsize = data_type_codes.dtype[kind].itemsize if kind in data_type_codes.dtype else 0
    if not 1 <= dims[0] <= 7 or min(dims[1 : dims[0] + 1]) < 0 or not itemsize or not math.isfinite(start) or start < 0:
        raise InputError(f"{path} is damaged: its header says nothing usable of size and type; export it again.")
    # Some programs write 0 for axes that there are none of.
    shape = (*dims[1:4], *(max(n, 1) for n in dims[4 : dims[0] + 1]))[: dims[0]]
    single = head[4:7] == b"n+2" if two else head[344:347] == b"n+1"
    first = (544 if two else 352) if single else 0
    return Announced(shape, itemsize, int(start) if start >= first else first)


def of_mgh(head: bytes, path: Path) -> Announced:
    """From the first bytes of a FreeSurfer MGH file, unpacked.

    Raises:
        InputError: as ``of_nifti``.
    """
    if len(head) < 284:
        raise InputError(f"{path} is incomplete: its header ends too early; copy or export it again.")
    _, *shape, kind = struct.unpack_from(">6i", head)
    size = {0: 1, 1: 4, 3: 4, 4: 2}.get(kind)
    if size is None or min(shape) < 0:
        raise InputError(f"{path} is damaged: its header says nothing usable of size and type; export it again.")
    return Announced(tuple(shape), size, 284)


def of_metaimage(path: Path) -> tuple[int, ...]:
    """The shape of a MetaImage whose voxels, in the file or beside it, have been found to be all there.

    Raises:
        InputError: if they are not, or in a form that isn't read here.
    """
    raw = _head(path)
    end = re.search(rb"^\s*ElementDataFile\s*=\s*(.+?)\s*?(\r?\n|\Z)", raw, re.M)
    if end is None:
        raise InputError(f"{path} is incomplete or damaged: its header has no end; copy or export it again.")
    fields = dict(re.findall(r"^\s*(\w+)\s*=[ \t]*(.*?)\s*$", raw[: end.start()].decode("latin-1"), re.M))
    shape = _integers(fields.get("DimSize", ""), path)
    kind = fields.get("ElementType", "").removeprefix("MET_")
    channels = _integers(fields.get("ElementNumberOfChannels", "1"), path)[0]
    if kind.endswith("_ARRAY") or channels != 1:
        raise InputError(f"{path} has {max(channels, 2)} values per voxel; give a scalar volume.")
    if kind not in _META_TYPES or len(shape) != _integers(fields.get("NDims", "0"), path)[0]:
        raise InputError(f"{path} is damaged: its header says nothing usable of size and type; export it again.")
    check_shape(shape, path)
    if fields.get("BinaryData", "True").lower() not in ("true", "1"):
        raise InputError(f"{path} has its voxels as text, which is not read here; save it with binary voxels.")
    packed = fields.get("CompressedData", "False").lower() in ("true", "1")
    skipped = _integers(fields.get("HeaderSize", "0"), path)[0]
    size = math.prod(shape) * _META_TYPES[kind]
    name = end[1].decode("utf-8", "replace")
    if name.upper() == "LOCAL":
        if skipped > 0:  # ITK counts from the beginning of the file, and takes the header for voxels
            raise InputError(f"{path} passes over a part of its own voxels, which is not read here; save it anew.")
        _check_voxels(path, size, end.end(), "gzip" if packed else "")
    elif not name.upper().startswith("LIST") and "%" not in name:
        beside = _beside(path, name)
        _check_voxels(beside, size, max(skipped, 0), "gzip" if packed else "")
    else:
        if packed:
            raise InputError(f"{path} has its voxels in several compressed files; save it as one file.")
        names = _slices(path, name, raw[end.end() :])
        if len(names) != shape[-1]:
            raise InputError(
                f"{path} is incomplete: it should have {shape[-1]} slices and names {len(names)} files; copy it again."
            )
        for one in names:
            _check_voxels(_beside(path, one), size // shape[-1], max(skipped, 0), "")
    return shape


def _slices(path: Path, name: str, rest: bytes) -> list[str]:
    """The files that a MetaImage lists, one a line after LIST, or by a pattern with its first, last and step."""
    if name.upper().startswith("LIST"):
        if name[4:].strip() not in ("", "2", "2D"):
            raise InputError(f"{path} has its voxels in files that are no slices; save it as one file.")
        return rest.decode("utf-8", "replace").split()
    words = name.split()
    try:
        first, last, step = (*map(int, words[1:4]), *(1, 1, 1)[len(words) - 1 :])
        if not re.fullmatch(r"[^%]*%0?\d{0,2}d[^%]*", words[0]) or step <= 0 or not 0 <= last - first < 10_000:
            raise ValueError
    except (ValueError, IndexError):
        raise InputError(f"{path} is damaged: its list of files can't be understood; save it as one file.") from None
    return [words[0] % number for number in range(first, last + 1, step)]


def of_nrrd(path: Path) -> tuple[int, ...]:
    """The same of a NRRD file.

    Raises:
        InputError: as ``of_metaimage``.
    """
    raw = _head(path)
    end = re.search(rb"\r?\n\r?\n", raw)
    header = raw[: end.start()] if end else raw
    fields = {
        key.strip().lower().replace(" ", ""): value.strip()
        for key, value in re.findall(r"^([\w ]+):(?!=) ?(.*?)\s*$", header.decode("latin-1"), re.M)
    }
    shape = _integers(fields.get("sizes", ""), path)
    if len(shape) != _integers(fields.get("dimension", "0"), path)[0]:
        raise InputError(f"{path} is damaged: its header says nothing usable of size and type; export it again.")
    kind = " ".join(fields.get("type", "").lower().split())
    itemsize = next((size for size, names in _NRRD_TYPES.items() if kind in names), None)
    if itemsize is None:
        raise InputError(f"{path} has voxels of type {kind[:40] or 'unknown'}, which are not plain numbers.")
    if re.search(r"vector|matrix|color|complex|point|gradient|quaternion", fields.get("kinds", "")) and len(shape) > 3:
        raise InputError(f"{path} has {shape[0]} values per voxel; give a scalar volume.")
    check_shape(shape, path)
    encoding = fields.get("encoding", "raw").lower()
    size, skipped = math.prod(shape) * itemsize, _integers(fields.get("byteskip", "0"), path)[0]
    if _integers(fields.get("lineskip", "0"), path)[0] or (skipped and encoding != "raw"):
        raise InputError(f"{path} passes over a part of its voxels' file, which is not read here; save it anew.")
    beside = fields.get("datafile")
    packing = {"raw": "", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}.get(encoding)
    if packing is None:
        raise InputError(f"{path} has its voxels in the encoding {encoding[:20]}; save it as raw or gzip.")
    if beside is None:
        if end is None:
            raise InputError(f"{path} is incomplete or damaged: its header has no end; copy or export it again.")
        _check_voxels(path, size, end.end() + max(skipped, 0), packing)
        return shape
    if beside.upper().startswith("LIST") or "%" in beside:
        if packing:
            raise InputError(f"{path} has its voxels in several compressed files; save it as one file.")
        raise InputError(f"{path} has its voxels in several files; save it as one file.")
    _check_voxels(_beside(path, beside), size, max(skipped, 0), packing)
    return shape


def _head(path: Path) -> bytes:
    """As much of a file as a header of text may take."""
    with path.open("rb") as file:
        return file.read(1 << 20)


def _integers(text: str, path: Path) -> tuple[int, ...]:
    if not re.fullmatch(r"\s*-?\d{1,18}(\s+-?\d{1,18})*\s*", text):
        raise InputError(f"{path} is damaged: its header says nothing usable of size and type; export it again.")
    return tuple(map(int, text.split()))


def _beside(path: Path, name: str) -> Path:
    """The file of voxels that a header names: in its folder or one inside it, and not anywhere on the machine."""
    parts = re.split(r"[/\\]", name)
    if os.path.isabs(name) or ":" in name or ".." in parts or "\0" in name:
        raise InputError(f"{path} has its voxels in {name[:100]}, which is not beside it; put both into one folder.")
    beside = path.parent.joinpath(*parts)
    try:
        check_regular(beside)
    except InputError as error:
        raise InputError(
            f"{path} is incomplete: its voxels should be in {name[:100]} ({str(error).rstrip('.')})."
        ) from None
    return beside


def _check_voxels(path: Path, size: int, start: int, packing: str) -> None:
    """Refuse a file that holds fewer bytes than it should."""
    if packing:
        unpacked(path, size, start, packing, keep=False)
    elif (there := check_regular(path) - start) < size:
        raise _too_short(path, there, size)
