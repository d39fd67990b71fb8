"""The tables and figures of a study as files and as one page, from whatever of its runs is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path

from ..cases.layouts import is_simulated
from ..errors import InputError
from ..files import make_folder, write_whole
from ..outputs import MARKDOWN_MARK
from ..pictures.page import figure_html, page_html
from .agreement import regions
from .classifier import table2
from .curves import fig4, fig7, fig14
from .images import fig5, fig6, fig9, fig12, fig13, fig17
from .numbers import leaderboard, table1, table3
from .results import Results, read_results
from .table import Part, csv_text
from .validity import validity

__all__ = ["PAGE", "PARTS", "part_html", "report", "write_part"]

PARTS: dict[str, Callable[[Results], Part]] = {
    "table1": table1,
    "fig4": fig4,
    "table2": table2,
    "table3": table3,
    "regions": regions,
    "validity": validity,
    "fig5": fig5,
    "fig6": fig6,
    "fig7": fig7,
    "fig9": fig9,
    "fig12": fig12,
    "fig13": fig13,
    "fig14": fig14,
    "fig17": fig17,
    "leaderboard": leaderboard,
}
"""By the names that the command line has for them; fig9 is all of Figs. 9 to 11."""

PAGE = "index.html"
_LONG = 60  # rows of a table that a page leaves out


def report(
    folder: Path | str,
    parts: Sequence[str] = tuple(PARTS),
    groups: Sequence[str] | None = None,
    note: Callable[[str], None] | None = None,
    progress: Callable[[str, float, str], None] | None = None,
) -> tuple[list[Path], str]:
    """Write parts into ``report/`` of a study: CSV, Markdown, PNG and SVG; and, if all are asked for, one page.

    Args:
        folder: of the study.
        parts: names of ``PARTS``.
        groups: the two groups of Table 2, see ``classifier.comparison_of``.
        note: called with why a part can't be made; if one alone is asked for, that is an error.
        progress: called with "report", how much is done (0 to 1), and the part.

    Returns:
        The files that were written, and the tables as Markdown; of figures' only if one alone is asked for.

    Raises:
        InputError: if the study can't be read, none of its runs is done, or a file can't be written.
    """
    results = read_results(folder)
    out = results.study.folder / "report"
    make_folder(out)
    makers = {**PARTS, "table2": partial(table2, groups=groups, seed=results.study.settings.seed)}
    made: dict[str, Part] = {}
    left_out: dict[str, str] = {}
    for done, name in enumerate(parts):
        if progress:
            progress("report", done / len(parts), name)
        try:
            made[name] = makers[name](results)
        except InputError as error:
            if len(parts) == 1:
                raise
            left_out[name] = str(error)
            if note:
                note(f"{name} is left out: {error}")
    paths = [path for name, part in made.items() for path in write_part(part, out, name)]
    if set(parts) == set(PARTS):
        html = page_html(f"Study of {results.study.source.name}", "study", _body(results, made, left_out))
        paths.append(write_whole(out / PAGE, html))
    if progress:
        progress("report", 1.0, "")
    missing = "".join(f"\n- {one}" for one in results.missing)
    shown = [part for name, part in made.items() if part.tables and (len(parts) == 1 or not name.startswith("fig"))]
    text = "\n\n".join(part.markdown() for part in shown)
    return paths, text + (f"\n\nRuns that are missing:\n{missing}" if missing else "")


def write_part(part: Part, out: Path, name: str) -> list[Path]:
    """Write the files of a part, whose names begin with ``name``.

    Raises:
        InputError: if one can't be written.
    """
    paths = [write_whole(out / f"{name}.md", part.markdown() + "\n" + MARKDOWN_MARK)]
    if part.tables:
        paths.append(write_whole(out / f"{name}.csv", csv_text(part.tables)))
    for files, ending in ((part.pictures, "png"), (part.drawings, "svg")):
        for which, content in files.items():
            stem = f"{name}-{which}" if which else name
            paths.append(write_whole(out / f"{_harmless(stem)}.{ending}", content))
    return paths


def _harmless(name: str) -> str:
    """A diagnosis as a part of a file's name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


def _body(results: Results, made: dict[str, Part], left_out: dict[str, str]) -> str:
    study, total = results.study, len(results.study.runs)
    warnings = ["Synthetic images, computed from MRIs and not acquired. Research use only, not for diagnosis."]
    if is_simulated(study.source):
        warnings.append("The cohort is simulated: nobody was scanned, and the numbers say nothing of patients.")
    settings = study.settings
    about = [
        f"{len(results.cases)} cases, {settings.folds} folds by subject, grid {study.grid().name}, seed "
        f"{settings.seed}, {settings.samples} samples a case; methods: {', '.join(study.methods)}.",
        f"{len(results.found)} of {total} runs are done.",
    ]
    if settings.tested:
        about.append(f"Of each diagnosis and fold at most {settings.tested} held-out cases count.")
    if settings.steps:
        about.append(f"Every method was trained for {settings.steps} steps, whatever its settings say.")
    said = "".join(f"<p>{escape(text)}</p>" for text in warnings)
    parts = [f'<div class="warning">{said}</div>\n', *(f"<p>{escape(text)}</p>\n" for text in about)]
    absent = [*results.missing, *(f"{name}: {reason}" for name, reason in left_out.items())]
    if absent:
        parts.append("<h2>What is missing</h2>\n" + _list(absent))
    return "".join([*parts, *map(part_html, made.values())])


def part_html(part: Part) -> str:
    """A part as a section of a page."""
    tables = "".join(f'<div class="wide">{table.html()}</div>\n' for table in part.tables if len(table.rows) <= _LONG)
    long = ["The numbers are in the table beside this page."] if any(len(t.rows) > _LONG for t in part.tables) else []
    figures = "".join(
        figure_html(which, png, ", ".join(filter(None, (part.title, which)))) for which, png in part.pictures.items()
    )
    notes = _list([*part.notes, *long]) if part.notes or long else ""
    return f'<section class="part">\n<h2>{escape(part.title)}</h2>\n{figures}{tables}{notes}</section>\n'


def _list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(one)}</li>" for one in sentences) + "</ul>\n"
