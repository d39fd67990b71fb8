"""Pages of HTML that stand alone: pictures are inside them, they run no script and load nothing."""

from __future__ import annotations

import base64
from html import escape

from ..outputs import generator

__all__ = ["figure_html", "page_html"]

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #5c5c5c; }
:root { --good: #1a7f37; --doubtful: #b35900; --refused: #c62828; }
@media (prefers-color-scheme: dark) {
  :root { --faint: #b0b0b0; --good: #4cc26a; --doubtful: #f0a040; --refused: #ff7b72; }
}
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1100px; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 1.1rem 0 .3rem; }
.warning { border: 2px solid var(--refused); border-radius: 4px; padding: .5rem .8rem; font-weight: 600; }
.warning p { margin: .1rem 0; }
.good { color: var(--good); } .doubtful { color: var(--doubtful); } .refused { color: var(--refused); }
.status { font-weight: 600; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 0 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: normal; color: var(--faint); padding: 0 1rem 0 0; vertical-align: top; }
td { overflow-wrap: anywhere; padding: 0 1rem 0 0; }
.rows td + td, .rows th + th { text-align: right; white-space: nowrap; }
.rows { font-size: .83rem; }
.rows tr > :not(:last-child) { padding-right: .7rem; }
.rows tr > :last-child { padding-right: 0; }
figure { margin: .8rem 0; } figcaption { font-size: .85rem; color: var(--faint); }
img { max-width: 100%; }
h3 { font-size: .95rem; margin: .8rem 0 .2rem; }
.wide { overflow-x: auto; }
.rows td:first-child { overflow-wrap: normal; min-width: 7em; }
@media print {
  html { font-size: 12px; }
  body { margin: 0; max-width: none; font-size: 11px; padding: 0; }
  img { max-height: 17cm; }
  figure + figure img, figure:has(+ figure) img { max-height: 11.5cm; }
  .wide { overflow: visible; }
  .rows { font-size: 8.5px; }
  h2, h3 { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  thead { display: table-header-group; }
}
"""


def page_html(title: str, kind: str, body: str) -> str:
    """The page.

    Args:
        title: above it.
        kind: what ``outputs.kind_of`` will call it, a word.
        body: HTML below the title.
    """
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'{generator(kind)}<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n{body}</body>\n</html>\n"
    )


def figure_html(caption: str, png: bytes, alternative: str = "") -> str:
    """A picture.

    Args:
        caption: below it; none if empty.
        png: the content of the file.
        alternative: what it is, for those who can't see it; by default the caption.
    """
    code = base64.b64encode(png).decode("ascii")
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    text = escape(alternative or caption, quote=True)
    return f'<figure><img src="data:image/png;base64,{code}" alt="{text}">{below}</figure>\n'
