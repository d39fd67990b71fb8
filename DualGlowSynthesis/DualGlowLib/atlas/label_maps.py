"""Regions of one's own: a label map in template space (AAL, DKT, …) and the table of its names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..volumes.grid import Grid
from ..volumes.reading import read_scan
from ..volumes.resampling import resample
from ..volumes.scan import Scan

__all__ = ["LabelMap", "check_table", "name_labels", "read_label_map", "read_labels", "read_names"]

_MOST_LABELS = 1000
_ROW = re.compile(r"""\s*"?([0-9]{1,9})"?\s*[\t,; ]\s*"?([^"\t,;]+?)"?\s*(?:[\t,;].*|(?:\s+\d+){3,4}\s*)?$""")
_INTEGER = re.compile(r"([0-9]{1,9})(?:\.0*)?")  # as tables have it that were saved as numbers
_INDEX, _NAME = ("index", "label", "id", "value", "no", "no."), ("name", "region", "structure", "label name")


@dataclass(frozen=True)
class LabelMap:
    """Regions on a grid.

    Attributes:
        names: of the regions, in the order of their labels.
        weights: float32 ``(regions, *grid.shape)``; each sums to 1 over voxels.
        missing: names of labels that the map or the table has, but no voxel of the grid.
    """

    names: list[str]
    weights: np.ndarray
    missing: list[str]


def read_label_map(path: Path | str, grid: Grid, table: Path | str | None = None) -> LabelMap:
    """A label map in the template's space (MNI152), brought to a grid by nearest label.

    Args:
        path: an image of whole numbers on any lattice; 0 is no region.
        grid: where to.
        table: names of the labels, see ``read_names``; without it, and for labels that it lacks, ``label 12``.

    Raises:
        InputError: if the file is no label map, lies elsewhere than the grid, or a table can't be read.
    """
    scan, values = read_labels(path)
    named = {} if table is None else read_names(table)
    check_table(table, named, path, values)
    found = np.rint(resample(scan.data, scan.affine, grid.shape, grid.affine, order=0))
    wanted = {value: named.get(value, f"label {value}") for value in sorted({*values, *(named.keys() - {0})})}
    there = {value: found == value for value in wanted}
    kept = [value for value in wanted if there[value].any()]
    if not kept:
        raise InputError(f"{path} has no label where the grid {grid.name!r} lies; give one in MNI152 space.")
    weights = np.array([there[value] / np.count_nonzero(there[value]) for value in kept], np.float32)
    names = list(name_labels(kept, named).values())
    return LabelMap(names, weights, [name for value, name in wanted.items() if value not in kept])


def read_labels(path: Path | str) -> tuple[Scan, list[int]]:
    """A label map, and its labels in order without 0.

    Raises:
        InputError: if the file is no label map.
    """
    scan = read_scan(path)
    whole = np.rint(scan.data)
    if not np.allclose(scan.data, whole, atol=1e-3) or whole.min() < 0:
        raise InputError(f"{path} holds values that are no labels (whole numbers from 0); give a label map.")
    values = [int(value) for value in np.unique(whole) if value > 0]
    if not values or len(values) > _MOST_LABELS:
        raise InputError(f"{path} holds {len(values)} labels, a label map 1 to {_MOST_LABELS}; give a label map.")
    return replace(scan, data=whole.astype(np.float32)), values


def check_table(table: Path | str | None, named: Mapping[int, str], path: Path | str, labels: Sequence[int]) -> None:
    """Refuse a table of names that is another label map's.

    Args:
        table: the file; None for none.
        named: what ``read_names`` gives of it.
        path: of the label map.
        labels: of it, in order.

    Raises:
        InputError: if it names none of the labels.
    """
    if table is not None and not named.keys() & set(labels):
        raise InputError(
            f"{table} names none of the labels of {path} ({labels[0]} to {labels[-1]}); give its own table."
        )


def name_labels(labels: Sequence[int], named: Mapping[int, str]) -> dict[int, str]:
    """Names of labels, each its own: ``label 12`` for one that has none, its number behind a name of several.

    >>> name_labels([3, 5, 8], {3: "cortex", 5: "cortex"})
    {3: 'cortex (3)', 5: 'cortex (5)', 8: 'label 8'}
    """
    names = [named.get(label, f"label {label}") for label in labels]
    return {
        label: f"{name} ({label})" if names.count(name) > 1 else name for label, name in zip(labels, names, strict=True)
    }


def read_names(path: Path | str) -> dict[int, str]:
    """Names of labels.

    A table with a header (BIDS' ``dseg.tsv``: ``index`` and ``name``), or lines of a number and a name with anything
    behind them, as FreeSurfer's lookup tables have; lines that begin with ``#`` are remarks.

    Raises:
        InputError: if the file can't be read or names nothing.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from None
    text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    names = _with_header(lines) or {int(m[1]): m[2].strip() for line in lines if (m := _ROW.match(line))}
    if not names:
        raise InputError(f"{path} names no labels; give lines of a number and a name, or the columns index and name.")
    return names


def _with_header(lines: list[str]) -> dict[int, str]:
    """Of a table whose header names a column of numbers and one of names; empty if it has no such header."""
    if not lines:
        return {}
    separator = max("\t;,", key=lines[0].count)
    header, *rows = (_cells(line, separator) for line in lines)
    columns = [name.strip().lower() for name in header]
    index, name = (next((columns.index(one) for one in known if one in columns), None) for known in (_INDEX, _NAME))
    if index is None or name is None:
        return {}
    cells = [(row[index].strip(), row[name].strip()) for row in rows if len(row) > max(index, name)]
    return {int(found[1]): text for label, text in cells if (found := _INTEGER.fullmatch(label)) and text}


def _cells(line: str, separator: str) -> list[str]:
    """Of one line; a quote that is not closed in it is left out, so that it takes no other line for its cell."""
    import csv

    if line.count('"') % 2:
        return line.replace('"', "").split(separator)
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error:  # longer than any cell
        return line.split(separator)
