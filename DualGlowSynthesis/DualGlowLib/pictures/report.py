"""One page about one synthetic PET: what it shows, how it was made, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ..provenance import ORIGIN_TITLES, QUESTION_TITLES, covariate_title, covariates_of
from .page import figure_html, page_html
from .sheet import value_text

__all__ = ["RESEARCH_ONLY", "report_html", "split_provenance", "warnings_of"]

RESEARCH_ONLY = "Synthetic image, computed from an MRI and not acquired. Research use only, not for diagnosis."


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
    body = (
        f'<div class="warning">{warnings}</div>\n'
        f"{''.join(figure_html(*picture) for picture in pictures)}{paragraphs}"
        f'<div class="columns">\n<div>\n<h2>Parameters</h2>\n{_pairs(parameters)}'
        f"<h2>Quality of the MRI</h2>\n{_verdict(verdict)}</div>\n<div>\n{_rows(*table)}</div>\n</div>\n"
        f"<h2>Model and source</h2>\n{_pairs(model)}"
    )
    return page_html(title, "report", body)


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
