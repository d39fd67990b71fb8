"""Which files may be written: none that is read, and none that holds what somebody else made.

DualGlow knows what it wrote by what is in the file, and replaces it by more of the same kind alone:

| file | what says that it is DualGlow's |
|---|---|
| NIfTI | ``intent_name`` of the header is "DualGlow"; its description is the kind |
| JSON | "GeneratedBy" names DualGlow, and the kind in its "Description"; or it is the provenance of a synthetic PET |
| PNG | the text "Software" names DualGlow |
| HTML | the ``<meta name="generator">`` names DualGlow and the kind of page |
| transform (.h5, .tfm) | the file's last line, which ITK passes over |
| SVG | the creator of its metadata |
| Markdown | the comment at its end |
| table (.tsv) | its exact header; in tables of regions and folds the words of the first rows too |
| table (.csv) that the window exports | the JSON file beside it |

A JSON file that lies beside an image or a table describes it. One that somebody else wrote is never replaced, and no
new one is put beside somebody else's image.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import __version__
from .errors import InputError

__all__ = [
    "CALIBRATION",
    "DRAWING",
    "EVALUATION",
    "FOLDS",
    "FOLD_SUMMARY",
    "FOLD_SUMMARY_TABLE",
    "FOLD_TABLE",
    "MARKDOWN_MARK",
    "NAME",
    "PHOTO_PAIRS",
    "PICTURE",
    "RECIPE",
    "REGIONS",
    "SIDECAR",
    "STUDY",
    "STUDY_RUN",
    "STUDY_TABLE",
    "TEXT",
    "TRANSFORM",
    "TRANSFORM_MARK",
    "Output",
    "check_outputs",
    "files_in",
    "generated_by",
    "generator",
    "image_kind",
    "kind_of",
    "kind_of_file",
    "lies_in",
    "other_source",
    "refuse_links",
    "says_synthetic",
    "sidecar_of",
]

NAME = "DualGlow"
SIDECAR, FOLDS, EVALUATION = "JSON image", "JSON folds", "JSON evaluation"
CALIBRATION, STUDY, STUDY_RUN = "JSON calibration", "JSON study", "JSON run of a study"
RECIPE, PHOTO_PAIRS = "JSON recipe of a cohort", "JSON pairs of photos"
STUDY_TABLE, DRAWING, TEXT = "table of a study", "drawing", "text of a study"
FOLD_SUMMARY, FOLD_SUMMARY_TABLE = "JSON summary of folds", "table of a summary of folds"
FOLD_TABLE, REGIONS, PICTURE, TRANSFORM = "table of folds", "table of regions", "picture", "transform"
"""Kinds of files, as ``kind_of`` tells them."""

TRANSFORM_MARK = b"\nWritten: by DualGlow\n"
"""The end of a transform file. In text ITK passes over a key that it doesn't know, and reads HDF5 no further than that
says it goes. No remark: nitransforms takes every # for the beginning of another transform."""

MARKDOWN_MARK = "\n<!-- written by DualGlow -->\n"
"""The end of a page of Markdown."""

_TRANSFORM_MARKS = (TRANSFORM_MARK, b"\n#Written by DualGlow\n")  # the second before 2026-11-28
_REMEDY = "give another name"
_IMAGES = (".nii.gz", ".nii", ".hdr", ".img", ".mgz", ".mgh", ".nrrd", ".nhdr", ".mha", ".mhd")
_PARTS = (
    ".json",
    ".hdr",
    ".img",
    ".raw",
    ".raw.gz",
    ".zraw",
    ".hdr.gz",
    ".img.gz",
)  # files beside an image it is read with
_PNG, _HDF = b"\x89PNG\r\n\x1a\n", b"\x89HDF\r\n\x1a\n"
_HEAD, _MOST = 1 << 16, 1 << 28  # bytes that are looked at, of binary files and of text
_FIRST_REGION = "posterior_cingulate_precuneus"
_SYNTHETIC = re.compile(r"SYNTHETIC[\W_]*(FDG|computed)")
_STRATUM = re.compile(r".*, (age unknown|(youngest|middle|oldest) third)")
_HEADERS = {  # of tables, tab between the columns
    "participant_id\tage\tsex\tdiagnosis\tanatomy\tseed": "simulated participants",
    "method,metric,fold,mean,sd,cases": FOLD_SUMMARY_TABLE,
    "table,row,column,value,sd,n": STUDY_TABLE,
    "participant_id\tregion\tmean\tsd\tslope\trelative_slope\tdrawn": "simulated regions",
}
_BEGINNINGS = {
    "participant_id\tage\tsex\tdiagnosis\tpreparation": "prepared participants",
    "session_id\tage\tsex\tdiagnosis\tpreparation": "prepared sessions",
}


@dataclass(frozen=True)
class Output:
    """A file that is to be written.

    Attributes:
        path: where.
        kind: what ``kind_of`` will say of it.
        makes_folder: whether its folder is made where there is none.
    """

    path: Path
    kind: str
    makes_folder: bool = False

    @classmethod
    def by_ending(cls, path: Path | str, kinds: Mapping[str, str], what: str) -> Output:
        """The file whose kind its name's ending says.

        Args:
            path: where.
            kinds: by ending, in lower case.
            what: is to be written, as a sentence begins with it.

        Raises:
            InputError: for another ending.
        """
        path = Path(path)
        if (ending := path.suffix.lower()) not in kinds:
            raise InputError(f"{what} can't be written to {path}; end the name in {' or '.join(kinds)}.")
        return cls(path, kinds[ending])


# ------------------------------------------------------------------------------------------------ what a file is


def says_synthetic(words: str) -> bool:
    """Whether a description is one of those that DualGlow gives its synthetic images, as it was written or converted.

    Converters put other characters between the words: SYNTHETIC_FDG_… in names of files and series.
    """
    return bool(_SYNTHETIC.search(words))


def generated_by(kind: str) -> list[dict[str, str]]:
    """For the key "GeneratedBy" of a JSON file (as in BIDS), with one of the kinds above."""
    return [{"Name": NAME, "Version": __version__, "Description": kind.removeprefix("JSON ")}]


def generator(kind: str) -> str:
    """For the head of a page of HTML."""
    return f'<meta name="generator" content="{NAME} {kind}">\n'


def image_kind(description: str) -> str:
    """The kind of a NIfTI file with this description in its header."""
    return f"image {description.encode('utf-8')[:80].decode('utf-8', 'ignore')}"


def kind_of(content: bytes) -> str:
    """What of DualGlow's a file with this content is; empty if it is not DualGlow's, or doesn't say so."""
    if content.endswith(_TRANSFORM_MARKS):
        return TRANSFORM
    if content.startswith(_PNG):
        return PICTURE if _png_software(content).startswith(NAME) else ""
    if content.startswith(b"\x1f\x8b"):
        try:
            content = zlib.decompressobj(31).decompress(content, 1024)
        except zlib.error:
            return ""
    if 348 in (int.from_bytes(content[:4], order) for order in ("little", "big")):
        return _nifti_kind(content)
    if b"\0" in content[:_HEAD]:
        return ""
    text = content.decode("utf-8", "replace")
    if text.startswith("{"):
        return _json_kind(text)
    if text.startswith("<?xml"):
        return DRAWING if f"<dc:title>{NAME} " in text[:_HEAD] else ""
    if text.endswith(MARKDOWN_MARK):
        return TEXT
    if text.startswith("<!DOCTYPE html>"):
        found = re.search(f'<meta name="generator" content="{NAME} (\\w+)">', text[:_HEAD])
        return f"page {found[1]}" if found else ""
    return _table_kind(text)


def kind_of_file(path: str | Path) -> str:
    """``kind_of`` a file, without reading more of it than needed; empty for one that can't be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
            if head.startswith(_HDF):
                file.seek(max(0, file.seek(0, os.SEEK_END) - len(TRANSFORM_MARK)))
                return TRANSFORM if file.read().endswith(_TRANSFORM_MARKS) else ""
            is_text = b"\0" not in head and head[:1] != b"\x1f"
            return kind_of(head + file.read(_MOST) if is_text else head)
    except OSError:
        return ""


def other_source(path: str | Path, sha256: str) -> str:
    """The T1 that a synthetic image on disk was made from, if that is another one; empty if not, or if nothing says.

    Args:
        path: of the NIfTI file; the JSON beside it says what it was made from.
        sha256: of the T1's voxels, ``SourceVoxelsSHA256`` of the provenance.
    """
    try:
        values = json.loads(sidecar_of(Path(path)).read_text(encoding="utf-8"))
        before = values.get("SourceVoxelsSHA256")
    except (OSError, ValueError, AttributeError):
        return ""
    return str(values.get("Source") or "an unnamed T1") if before not in (None, sha256) else ""


def _nifti_kind(head: bytes) -> str:
    description, name = (head[a:b].split(b"\0")[0].decode("utf-8", "replace") for a, b in ((148, 228), (328, 344)))
    return f"image {description}" if name == NAME else ""


def _json_kind(text: str) -> str:
    try:
        values = json.loads(text)
        maker = values.get("GeneratedBy", [{}])[0]
        if maker.get("Name") == NAME:
            return f"JSON {maker.get('Description', '')}"
    except (ValueError, AttributeError, KeyError, IndexError, TypeError):
        return ""
    if values.keys() & {"BundleSHA256", "DualGlowVersion"}:
        return SIDECAR
    return ""


def _png_software(content: bytes) -> str:
    """The text that goes by "Software" in a PNG, from the chunks before its pixels."""
    place = len(_PNG)
    while content[place + 4 : place + 8] not in (b"IDAT", b"IEND", b""):
        size, name = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        key, _, value = content[place + 8 : place + 8 + size].partition(b"\0")
        if name == b"tEXt" and key == b"Software":
            return value.decode("latin-1")
        place += size + 12
    return ""


def _table_kind(text: str) -> str:
    lines = text.splitlines()
    header, rows = (lines or [""])[0], [line.split("\t") for line in lines[1:]]
    if header in _HEADERS:
        return _HEADERS[header]
    for beginning, kind in _BEGINNINGS.items():
        if header == beginning or header.startswith(f"{beginning}\t"):
            return kind
    if header == "subject\tfold\tstratum":
        own = rows and all(len(row) == 3 and row[1].isdigit() and _STRATUM.fullmatch(row[2]) for row in rows)
        return FOLD_TABLE if own else ""
    if header in ("region\tmean", "region\tmean\tsd", "region\tmean\tsd\tlow90\thigh90"):
        own = (
            rows and rows[0][0] == _FIRST_REGION and all(re.fullmatch(r"-?\d+\.\d{4}", v) for r in rows for v in r[1:])
        )
        return REGIONS if own else ""
    return ""


# ------------------------------------------------------------------------------------------- what may be written


def check_outputs(
    outputs: Iterable[Output],
    inputs: Iterable[str | Path] = (),
    force: bool = False,
    remedy: str = _REMEDY,
) -> None:
    """Refuse what must not be written; to be called with all outputs of a job together, before any work is done.

    Links are followed: what counts is the file that would be changed.

    Args:
        outputs: what is to be written.
        inputs: files that the job reads, and folders that it reads from (a series, a model, a directory of cases).
            Of a file, what belongs to it counts too: the JSON beside it, the voxels of a header, the other slices of a
            DICOM series.
        force: also allow to replace what DualGlow did not write, but neither inputs nor JSON files beside images.
        remedy: what the sentence advises where a file of somebody else stands in the way.

    Raises:
        InputError: if an output is an input, holds what somebody else made or another kind of result of DualGlow, is
            write-protected, a folder or no file at all, has no folder or one that can't be written, would become the
            JSON of somebody else's image, or is the same as another output.
    """
    outputs = list(outputs)
    _check_distinct([output.path for output in outputs])
    read = _Inputs(inputs)
    for output in outputs:
        _check_place(output)
        if os.path.exists(output.path):
            _check_replaced(output, read, force, remedy)
        if output.path.suffix.lower() == ".json":
            _check_neighbours(output.path, outputs, read)


def lies_in(path: str | Path, folder: str | Path) -> bool:
    """Whether a file, or what a link leads to, lies in a folder or below it."""
    inside = os.path.realpath(folder)
    try:
        return os.path.commonpath([inside, os.path.realpath(path)]) == inside
    except ValueError:  # on another drive
        return False


def refuse_links(folder: str | Path) -> None:
    """Refuse a folder with a link that leads out of it: what is written to the folder would change files elsewhere.

    Raises:
        InputError: naming the first such link.
    """
    for place, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            path = os.path.join(place, name)
            if os.path.islink(path) and not lies_in(path, folder):
                raise InputError(
                    f"{path} is a link that leads out of {folder}, so that writing there would change files elsewhere; "
                    "put a copy in its place or give another folder."
                )


def _check_distinct(paths: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        place = os.path.realpath(path).casefold()
        if place in seen:
            raise InputError(f"{path} can't be written: {seen[place]} would be the same file; give each its own name.")
        seen[place] = path


def _check_place(output: Output) -> None:
    path = output.path
    try:
        found = os.stat(path) if os.path.lexists(path) else None
    except FileNotFoundError:  # a link to a file that is still to be made
        found = None
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror or error}.") from None
    if found is not None and not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a device or a pipe"
        raise InputError(f"{path} can't be written: it is {what}; give a file name.")
    if found is not None and not found.st_mode & 0o222:
        raise InputError(f"{path} can't be written: it is write-protected; {_REMEDY}.")
    folder = Path(os.path.realpath(path)).parent
    while output.makes_folder and not os.path.lexists(folder):
        folder = folder.parent
    if not os.path.isdir(folder):
        if os.path.exists(folder):
            raise InputError(f"{path} can't be written: {folder} is a file; give another folder.")
        raise InputError(f"{path} can't be written: the folder {folder} does not exist; make it first.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{path} can't be written: the folder {folder} may not be written to; give another.")


def _check_replaced(output: Output, read: _Inputs, force: bool, remedy: str) -> None:
    """Refuse to replace the file that is there, if it is an input or not an earlier output of the same kind."""
    path, kind = output.path, kind_of_file(output.path)
    if read.has(path):
        raise InputError(f"{path} can't be written: it is an input of this command; {_REMEDY}.")
    if kind and kind == output.kind:
        return
    what = "it exists and holds another kind of result" if kind else "it exists and DualGlow did not write it"
    if output.kind == SIDECAR:
        raise InputError(f"{path} can't be written: {what}; {_REMEDY} to the image that it would describe.")
    if not force:
        raise InputError(f"{path} can't be written: {what}; {remedy}.")
    if folder := read.folder_of(path):
        raise InputError(f"{path} can't be written: it is part of the input {folder}; {_REMEDY}.")


def _check_neighbours(path: Path, outputs: Sequence[Output], read: _Inputs) -> None:
    """Refuse a JSON file that would describe an input, or an image or a table of somebody else or of another kind."""
    stem = path.name[: -len(".json")]
    places = [path.with_name(stem + end) for ending in (*_IMAGES, ".tsv") for end in (ending, ending.upper())]
    described = {output.path: output.kind for output in outputs if output.path in places}
    for other in places:
        if other not in described and os.path.isfile(other):
            kind = kind_of_file(other)
            if read.has(other) or not kind or (described and kind not in described.values()):
                raise InputError(f"{path} can't be written: it would be taken for a description of {other}; {_REMEDY}.")


def sidecar_of(image: Path) -> Path:
    """The JSON file that describes an image."""
    ending = next((end for end in _IMAGES if image.name.lower().endswith(end)), "")
    return image.with_name(image.name[: len(image.name) - len(ending)] + ".json")


class _Inputs:
    """Files and folders that a job reads, known again under whatever name; looked for when they are asked about."""

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._given = paths

    @cached_property
    def _paths(self) -> list[Path]:
        return [Path(path) for path in self._given]

    @cached_property
    def _files(self) -> set:
        return {_identity(file) for path in self._paths if not path.is_dir() for file in _with_parts(path)} - {None}

    def has(self, path: Path) -> bool:
        """Whether it is one of the files, or belongs to one of them."""
        return _identity(path) in self._files

    def folder_of(self, path: Path) -> Path | None:
        """The folder that it lies in, if that is an input."""
        own = _identity(path)
        folders = (path for path in self._paths if path.is_dir())
        return next((folder for folder in folders if any(_identity(file) == own for file in files_in(folder))), None)


def _identity(path: str | Path) -> tuple[int, int] | str | None:
    """The same for every name of a file (link, hard link, spelling), as ``os.path.samefile`` compares them."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.normcase(os.path.realpath(path))


def _with_parts(path: Path) -> Iterator[Path]:
    """A file, and what lies beside it that is read with it."""
    yield path
    ending = next((end for end in (*_IMAGES, ".hdr.gz", ".img.gz") if path.name.lower().endswith(end)), "")
    stem = path.name[: len(path.name) - len(ending)] if ending else path.stem
    for part in _PARTS:
        yield path.with_name(stem + part)
        yield path.with_name(stem + part.upper())
    if _is_dicom(path):  # the others of its series; their names don't say which they are
        yield from (other for other in path.parent.iterdir() if _is_dicom(other))


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return False
    return head[128:] == b"DICM" or head[:2] == b"\x08\x00"


def files_in(folder: Path) -> Iterator[str]:
    """All files below a folder, also those that links in it lead to."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if _identity(place) in seen:
            folders.clear()
            continue
        seen.add(_identity(place))
        yield from (os.path.join(place, name) for name in files)
