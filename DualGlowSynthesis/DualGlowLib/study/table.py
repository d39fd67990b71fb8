"""A table of a study: numbers with their spread, as Markdown, HTML and CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from io import StringIO

from ..evaluation.report import cell_text

__all__ = ["Cell", "Part", "Table", "csv_text"]


@dataclass(frozen=True)
class Cell:
    """A number.

    Attributes:
        value: the number; None for an empty cell.
        sd: its standard deviation over ``n``; None for none.
        n: how many it is of; None: not said.
        form: how it is written.
    """

    value: float | None
    sd: float | None = None
    n: int | None = None
    form: str = ".3f"

    def __str__(self) -> str:
        return cell_text(self.value, self.sd, self.form)


@dataclass(frozen=True)
class Table:
    """Rows and columns of numbers.

    Attributes:
        title: above it.
        columns: their headings, the first that of the rows' names.
        rows: name and cells of each.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]

    def markdown(self) -> str:
        """The table, its title above it.

        >>> print(Table("PSNR", ["method", "dB"], [("mean", [Cell(20.0, 1.0, 3, ".1f")])]).markdown())
        **PSNR**
        <BLANKLINE>
        | method | dB |
        |---|---|
        | mean | 20.0 ± 1.0 |
        """
        lines = ["| " + " | ".join(self.columns) + " |", "|" + "---|" * len(self.columns)]
        lines += ["| " + " | ".join([name, *map(str, cells)]) + " |" for name, cells in self.rows]
        return f"**{self.title}**\n\n" + "\n".join(lines)

    def html(self) -> str:
        """The table, its title as a heading."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        body = "".join(
            f"<tr><td>{escape(name)}</td>{''.join(f'<td>{escape(str(cell))}</td>' for cell in cells)}</tr>\n"
            for name, cells in self.rows
        )
        return (
            f'<h3>{escape(self.title)}</h3>\n<table class="rows">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}'
            "</tbody>\n</table>\n"
        )


@dataclass(frozen=True)
class Part:
    """A table or figure of the paper.

    Attributes:
        title: of it.
        tables: numbers.
        pictures: PNG by the ending of its name, "" for the only one.
        drawings: the same as SVG, of those that are drawings.
        notes: sentences: how it was made, and what is missing.
    """

    title: str
    tables: Sequence[Table] = ()
    pictures: dict[str, bytes] = field(default_factory=dict)
    drawings: dict[str, bytes] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """Title, tables and notes."""
        notes = "\n".join(f"- {note}" for note in self.notes)
        return "\n\n".join(filter(None, [f"## {self.title}", *(table.markdown() for table in self.tables), notes]))


def csv_text(tables: Sequence[Table]) -> str:
    """Every number of tables, a line each: ``table,row,column,value,sd,n``."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["table", "row", "column", "value", "sd", "n"])
    for table in tables:
        for name, cells in table.rows:
            for column, cell in zip(table.columns[1:], cells, strict=True):
                if cell.value is not None:
                    writer.writerow([table.title, name, column, *map(_plain, (cell.value, cell.sd, cell.n))])
    return text.getvalue()


def _plain(value: float | None) -> str:
    return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else repr(value)
