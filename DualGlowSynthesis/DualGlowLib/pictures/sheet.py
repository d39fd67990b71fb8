"""Sheets of a whole cohort: one HTML page with a row per case, and one PNG with all the pictures."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from ..files import write_whole
from ..outputs import generator
from .drawing import SMALL, text_size, write_png, write_text

__all__ = ["value_text", "write_contact_sheet", "write_sheet"]

_GAP = 4  # pixels between the pictures of a contact sheet
_ORDER = ("refused", "doubtful", "good")
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --doubtful: #b35900; --refused: #c62828; }
@media (prefers-color-scheme: dark) { :root { --good: #4cc26a; --doubtful: #f0a040; --refused: #ff7b72; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1500px; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; }
.counts span { margin-right: 1.5rem; font-weight: 600; }
.good { color: var(--good); } .doubtful { color: var(--doubtful); } .refused { color: var(--refused); }
article { display: grid; grid-template-columns: minmax(15rem, 22rem) 1fr; gap: 1rem 1.5rem; padding: 1rem 0;
  border-top: 1px solid var(--line); }
h2 { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere; }
.status { font-weight: 600; }
ul { margin: .3rem 0 .6rem; padding-left: 1.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: normal; opacity: .75; padding: 0 1rem 0 0; }
td { overflow-wrap: anywhere; }
.pictures { display: flex; flex-wrap: wrap; gap: .8rem; align-items: flex-start; }
figure { margin: 0; } figcaption { font-size: .85rem; opacity: .75; }
img { height: 260px; max-width: 100%; object-fit: contain; background: #000; border-radius: 3px; }
@media (max-width: 800px) { article { grid-template-columns: 1fr; } img { height: auto; } }
"""


def write_sheet(rows: Sequence[dict], path: str | Path, title: str = "Quality check") -> Path:
    """Write one HTML page for a cohort: no scripts, no network, pictures by relative links.

    Args:
        rows: one dict for each case, of which only ``name`` must be there: ``verdict`` (a ``quality.Verdict``, or
            its ``to_dict``), ``notes`` (sentences), ``numbers`` (name → number or text, in the order wanted),
            ``pictures`` (caption → path of a PNG). Refused cases come first, then doubtful ones, each by name.
        path: where to; pictures are linked relative to its folder.
        title: above the page.

    Raises:
        InputError: if the page can't be written.
    """
    path = Path(path)
    cases = sorted(((_verdict(row), row) for row in rows), key=lambda case: (_rank(case[0][0]), str(case[1]["name"])))
    counts = [(status, sum(case[0][0] == status for case in cases)) for status in _ORDER]
    other = len(cases) - sum(count for _, count in counts)
    counts += [("not checked", other)] if other else []
    summary = "".join(f'<span class="{status}">{count} {status}</span>' for status, count in reversed(counts))
    body = "\n".join(_article(status, reasons, row, path.parent) for (status, reasons), row in cases)
    return write_whole(
        path,
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'{generator("sheet")}<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n</head>\n"
        f'<body>\n<h1>{escape(title)}</h1>\n<p class="counts"><span>{len(cases)} cases</span>{summary}</p>\n'
        "<p>Pictures are in radiological convention: the patient&#8217;s right is on the left. Click one to enlarge it."
        f"</p>\n{body}\n</body>\n</html>\n",
    )


def _verdict(row: dict) -> tuple[str, list[str]]:
    verdict = row.get("verdict") or {}
    verdict = verdict if isinstance(verdict, dict) else verdict.to_dict()
    return str(verdict.get("status", "not checked")), [str(reason) for reason in verdict.get("reasons", [])]


def _rank(status: str) -> int:
    return _ORDER.index(status) if status in _ORDER else len(_ORDER)


def _article(status: str, reasons: list[str], row: dict, folder: Path) -> str:
    mark = status if status in _ORDER else ""
    items = "".join(f"<li>{escape(text)}</li>" for text in (*reasons, *map(str, row.get("notes") or ())))
    numbers = "".join(
        f"<tr><th>{escape(str(name))}</th><td>{escape(value_text(value))}</td></tr>"
        for name, value in (row.get("numbers") or {}).items()
    )
    pictures = []
    for caption, picture in (row.get("pictures") or {}).items():
        link = escape(quote(_relative(Path(picture), folder)))
        name = escape(str(caption))
        alternative = f"{name} of {escape(str(row['name']))}"
        pictures.append(
            f'<figure><a href="{link}"><img src="{link}" alt="{alternative}" loading="lazy"></a>'
            f"<figcaption>{name}</figcaption></figure>"
        )
    return (
        f'<article>\n<div><h2>{escape(str(row["name"]))}</h2>\n<div class="status {mark}">{escape(status)}</div>\n'
        f"{f'<ul>{items}</ul>' if items else ''}\n<table>{numbers}</table></div>\n"
        f'<div class="pictures">{"".join(pictures)}</div>\n</article>'
    )


def _relative(picture: Path, folder: Path) -> str:
    """The link from the page to a picture; a path from the root where no relative one exists (another drive)."""
    try:
        return Path(os.path.relpath(picture.absolute(), folder.absolute())).as_posix()
    except ValueError:
        return picture.absolute().as_posix()


def value_text(value: object, form: str = ".4g", missing: str = "unknown") -> str:
    """A value for the reader of a page.

    Args:
        value: text, a number, a truth value, None, or several of these.
        form: of numbers that are not whole.
        missing: what stands for None.
    """
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(value_text(part, form, missing) for part in value)
    if value is None:
        return missing
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:{form}}" if isinstance(value, float | np.floating) else str(value)


def write_contact_sheet(
    pngs: Sequence[str | Path], path: str | Path, names: Sequence[str] | None = None, width: int = 400
) -> Path:
    """Write all pictures, made small, on one PNG.

    Args:
        pngs: the pictures' files; one that can't be read leaves its place empty.
        path: where to; a name that ends in .png.
        names: below each picture; by default the files' names.
        width: pixels that a picture may be wide, roughly; halved as often as keeps the sheet below 12,000 pixels.

    Raises:
        InputError: if the sheet can't be written.
    """
    names = [Path(png).stem for png in pngs] if names is None else names
    columns = max(1, math.ceil(math.sqrt(len(pngs))))
    while columns * width > 12000:
        width //= 2
    tiles = [_tile(Path(png), name, width) for png, name in zip(pngs, names, strict=True)]
    wide, tall = (max((tile.size[axis] for tile in tiles), default=20) + _GAP for axis in (0, 1))
    sheet = Image.new("RGB", (columns * wide, max(1, math.ceil(len(tiles) / columns)) * tall))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % columns * wide, number // columns * tall))
    return write_png(np.asarray(sheet), path)


def _tile(png: Path, name: str, width: int) -> Image.Image:
    """A picture shrunk by a whole number, with its name below."""
    try:
        with Image.open(png) as picture:
            small = picture.convert("RGB").reduce(max(1, math.ceil(picture.width / width)))
    except (OSError, SyntaxError):  # what Pillow raises for a damaged file
        small = Image.new("RGB", (width, width // 2), (40, 40, 40))
        name = f"{name}: no picture"
    height = text_size("", SMALL)[0]
    line = np.zeros((height + 2, small.width, 3), np.uint8)
    write_text(line, _fitting(name, small.width - 4), 1, 2, SMALL)
    tile = Image.new("RGB", (small.width, small.height + len(line)))
    tile.paste(small)
    tile.paste(Image.fromarray(line), (0, small.height))
    return tile


def _fitting(text: str, width: int) -> str:
    """The text, or as much of its beginning as fits."""
    if text_size(text, SMALL)[1] <= width:
        return text
    return next((cut for n in range(len(text), 0, -1) if text_size(cut := text[:n] + "…", SMALL)[1] <= width), "")
