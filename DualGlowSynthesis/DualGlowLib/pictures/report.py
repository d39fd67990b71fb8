"""One page about one synthetic PET: what it shows, how it was made, and what it must not be used for.

The page stands alone: pictures are inside it, it runs no script and loads nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

from ..outputs import generator
from ..provenance import ORIGIN_TITLES, QUESTION_TITLES, covariate_title, covariates_of
from .sheet import value_text

__all__ = ["RESEARCH_ONLY", "report_html", "split_provenance", "warnings_of"]

RESEARCH_ONLY = "Synthetic image, computed from an MRI and not acquired. Research use only, not for diagnosis."

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --doubtful: #b35900; --refused: #c62828; }
@media (prefers-color-scheme: dark) { :root { --good: #4cc26a; --doubtful: #f0a040; --refused: #ff7b72; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1100px; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 1.1rem 0 .3rem; }
.warning { border: 2px solid var(--refused); border-radius: 4px; padding: .5rem .8rem; font-weight: 600; }
.warning p { margin: .1rem 0; }
.good { color: var(--good); } .doubtful { color: var(--doubtful); } .refused { color: var(--refused); }
.status { font-weight: 600; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 0 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: normal; opacity: .75; padding: 0 1rem 0 0; vertical-align: top; }
td { overflow-wrap: anywhere; padding: 0 1rem 0 0; }
.rows td + td, .rows th + th { text-align: right; }
figure { margin: .8rem 0; } figcaption { font-size: .85rem; opacity: .75; }
img { max-width: 100%; background: #000; border-radius: 3px; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } img { max-height: 11cm; } }
"""


def report_html(
    title: str,
    pictures: Sequence[tuple[str, bytes]],
    provenance: Mapping,
    verdict: Mapping | None = None,
    table: tuple[Sequence[str], Sequence[Sequence]] = ((), ()),
    notes: Sequence[str] = (),
) -> str:
    """The page, as HTML.

    Args:
        title: above it; the name of the image.
        pictures: captions, and the bytes of PNG files.
        provenance: ``Synthesis.provenance``, or as much of it as is known.
        verdict: ``status`` and ``reasons`` of the MRI's quality check; by default the provenance's.
        table: titles of the columns, and rows of texts and numbers (None: an empty cell).
        notes: further paragraphs below the pictures, such as how an acquired PET compares.
    """
    verdict = verdict or provenance.get("Verdict") or {}
    parameters, model = split_provenance(provenance)
    warnings = "".join(f"<p>{escape(text)}</p>" for text in warnings_of(provenance, verdict))
    paragraphs = "".join(f"<p>{escape(note)}</p>\n" for note in notes)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'{generator("report")}<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n</head>\n"
        f'<body>\n<h1>{escape(title)}</h1>\n<div class="warning">{warnings}</div>\n'
        f"{''.join(_figure(*picture) for picture in pictures)}{paragraphs}"
        f'<div class="columns">\n<div>\n<h2>Parameters</h2>\n{_pairs(parameters)}'
        f"<h2>Quality of the MRI</h2>\n{_verdict(verdict)}</div>\n<div>\n{_rows(*table)}</div>\n</div>\n"
        f"<h2>Model and source</h2>\n{_pairs(model)}</body>\n</html>\n"
    )


def split_provenance(provenance: Mapping) -> tuple[dict, dict]:
    """What the user chose, and what it was made with and from; both by the words of the page.

    The rest is left out: numbers of the registration that the sidecar of the image holds.
    """
    chosen = {covariate_title(name): value for name, value in covariates_of(provenance).items()}
    chosen |= {title: provenance[key] for key, title in QUESTION_TITLES.items() if key in provenance}
    return chosen, {title: provenance[key] for key, title in ORIGIN_TITLES.items() if key in provenance}


def warnings_of(provenance: Mapping, verdict: Mapping) -> list[str]:
    """What the reader must know before the picture, the research use first."""
    found = [RESEARCH_ONLY]
    if provenance.get("TrainedOnSimulatedPET"):
        found.append("The model was trained on simulated PET, not on patients.")
    if provenance.get("WithinTrainingRange") is False:
        found.append("What is said of the person lies outside the training range: the model extrapolates.")
    if verdict.get("status", "good") != "good":
        found.append(f"The quality check of the MRI says: {verdict['status']}.")
    return found


def _figure(caption: str, png: bytes) -> str:
    code = base64.b64encode(png).decode("ascii")
    alternative = escape(caption, quote=True)
    return (
        f'<figure><img src="data:image/png;base64,{code}" alt="{alternative}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def _pairs(values: Mapping) -> str:
    texts = ((escape(str(key)), escape(value_text(value, ".6g"))) for key, value in values.items())
    rows = "".join(f"<tr><th>{key}</th><td>{text}</td></tr>\n" for key, text in texts)
    return f"<table>\n{rows}</table>\n"


def _verdict(verdict: Mapping) -> str:
    status = str(verdict.get("status", "not checked"))
    mark = status if status in ("good", "doubtful", "refused") else ""
    reasons = "".join(f"<li>{escape(str(reason))}</li>" for reason in verdict.get("reasons", ()))
    return f'<p class="status {mark}">{escape(status)}</p>\n{f"<ul>{reasons}</ul>" if reasons else ""}\n'


def _rows(titles: Sequence[str], rows: Sequence[Sequence]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(str(title))}</th>" for title in titles)
    cells = ([escape(value_text(value, ".3f", "")) for value in row] for row in rows)
    body = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in row)}</tr>\n" for row in cells)
    return (
        f'<h2>Regions</h2>\n<table class="rows">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n'
    )
