"""Tables of text: TSV, CSV with commas or semicolons, as spreadsheets of any country write them."""

from __future__ import annotations

import csv
from pathlib import Path

from ..errors import InputError

__all__ = ["read_table", "table_text"]


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a table with a header line.

    The separator is the one of tab, semicolon and comma that the header has most of; a byte order mark, UTF-16 (with
    one) and Windows' Latin letters are understood. Column names come in lower case, values without blanks around them;
    empty lines are passed over.

    Raises:
        InputError: if the file can't be read, has no header, a column twice, or a row longer than its header.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from None
    try:
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty; it must have a header line and a row for each case.")
    separator = max("\t;,", key=lines[0].count)
    header, *rows = csv.reader(lines, delimiter=separator)
    names = [name.strip().lower() for name in header]
    double = sorted({name for name in names if name and names.count(name) > 1})
    if double:
        raise InputError(f"{path} has the column {double[0]!r} twice; remove one of them.")
    table = []
    for index, row in enumerate(rows, start=2):
        while len(row) > len(names) and not row[-1].strip():
            row.pop()
        if len(row) > len(names):
            raise InputError(
                f"{path}, line {index}, has {len(row)} fields under {len(names)} columns; put text that holds a "
                f"{'tab' if separator == chr(9) else separator!r} in quotes."
            )
        cells = {name: cell.strip() for name, cell in zip(names, row, strict=False) if name}
        if any(cells.values()):
            table.append(cells)
    return table


def table_text(columns: list[str], rows: list[list[str]]) -> str:
    """A TSV as BIDS wants it: ``n/a`` for what is missing, no quotes; blanks in place of tabs and line ends."""

    def cell(value: str) -> str:
        return " ".join(str(value).split()) or "n/a"

    return "".join("\t".join(map(cell, row)) + "\n" for row in [columns, *rows])
