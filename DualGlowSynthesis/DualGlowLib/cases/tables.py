"""Tables of text: TSV, CSV with commas or semicolons, as spreadsheets of any country write them."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from ..errors import InputError, one_line
from ..files import is_unfetched
from ..spellings import number

__all__ = ["harmless_cell", "read_table", "table_text"]

_FORMULA = ("=", "+", "-", "@")


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a table with a header line.

    The separator is the one of tab, semicolon and comma that the header has most of; a byte order mark, UTF-16 (with
    one) and Windows' Latin letters are understood. Column names come in lower case, values without blanks around them;
    empty lines are passed over. A quote that is never closed is a character like others where its line is a whole row
    nevertheless; it never makes other rows a part of its cell.

    Raises:
        InputError: if the file can't be read, is no text, its content was not fetched, it has no header, a column
            twice, a row longer than its header, a quote that is not closed, or an end in the middle of a row.
    """
    if is_unfetched(path):
        raise InputError(f"{path} is a link whose content was not fetched; fetch it first (datalad get).")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from None
    try:
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
    if "\0" in text:
        raise InputError(f"{path} is no table of text; save it as TSV or CSV in UTF-8.")
    text = re.sub("[\u200b\u2060\ufeff]", "", text)  # which have no width, and make of a name another
    # Not splitlines, which also splits at characters that a cell may hold.
    lines = [(index, line) for index, line in enumerate(re.split("\r\n|\r|\n", text), start=1) if line.strip()]
    if lines and re.fullmatch(r'"?sep=.?"?\s*', lines[0][1], re.IGNORECASE):  # which Excel understands and hides
        lines = lines[1:]
    if not lines:
        raise InputError(f"{path} is empty; it must have a header line and a row for each case.")
    separator = max("\t;,", key=lines[0][1].count)
    (_, header), *rows = _records(path, lines, separator)
    names = [name.strip().lower() for name in header]
    double = sorted({name for name in names if name and names.count(name) > 1})
    if double:
        raise InputError(f"{path} has the column {double[0]!r} twice; remove one of them.")
    short = [line for line, row in rows if len(row) < len(names)]
    if len(rows) > 1 and short == [rows[-1][0]] and text[-1] not in "\r\n":
        raise InputError(f"{path} ends in the middle of line {short[0]}; copy it again.")
    table = []
    for line, row in rows:
        while len(row) > len(names) and not row[-1].strip():
            row.pop()
        if len(row) > len(names):
            raise InputError(
                f"{path}, line {line}, has {len(row)} fields under {len(names)} columns; put text that holds a "
                f"{'tab' if separator == chr(9) else separator!r} in quotes."
            )
        cells = {name: _own_text(cell) for name, cell in zip(names, row, strict=False) if name}
        if any(cells.values()):
            table.append(cells)
    return table


def _records(path: Path, lines: list[tuple[int, str]], separator: str) -> list[tuple[int, list[str]]]:
    """Each record's first line and fields. Records go over several lines only within quotes that close again before
    any line that is a whole row by itself.
    """

    def fields(start: int, text: str) -> list[str]:
        try:
            (row,) = csv.reader([text], delimiter=separator)
        except (csv.Error, ValueError) as error:
            raise InputError(f"{path}, line {start}, is no row of a table ({error}); correct it.") from None
        return row

    columns, found, index = lines[0][1].count(separator) + 1, [], 0
    while index < len(lines):
        (start, text), end = lines[index], index + 1
        while text.count('"') % 2 and end < len(lines) and lines[end][1].count(separator) + 1 < max(columns, 2):
            text, end = f"{text} {lines[end][1]}", end + 1
        if text.count('"') % 2:  # it never closes, or not before the next row
            text, end = lines[index][1], index + 1
            if text.count(separator) + 1 != columns:
                raise InputError(f"{path}, line {start}, has a quote that is not closed; close it or take it out.")
            row = text.split(separator)
        else:
            row = fields(start, text)
            if len(row) < columns == text.count(separator) + 1:  # two cells that begin with a quote
                row = text.split(separator)
        found.append((start, row))
        index = end
    return found


def _own_text(cell: str) -> str:
    """The cell without blanks around it, and without the apostrophe of ``harmless_cell``."""
    cell = cell.strip()
    return cell[1:] if cell[:1] == "'" and cell[1:2] in _FORMULA else cell


def table_text(columns: list[str], rows: list[list[str]]) -> str:
    """A TSV as BIDS wants it: ``n/a`` for what is missing, no quotes; blanks in place of tabs and line ends.

    Text that a spreadsheet would take for a formula gets an apostrophe before it (``harmless_cell``).
    """
    return "".join("\t".join(map(harmless_cell, row)) + "\n" for row in [columns, *rows])


def harmless_cell(value: str) -> str:
    """A cell of a TSV that nothing takes for markup: on one line, without control characters, never empty.

    Text that begins with ``=``, ``+``, ``-`` or ``@`` and is no number is a formula to spreadsheets, which may run it;
    with an apostrophe before it, it is text.
    """
    text = " ".join(one_line(value).split()) or "n/a"
    return f"'{text}" if text[0] in _FORMULA and number(text) is None else text
