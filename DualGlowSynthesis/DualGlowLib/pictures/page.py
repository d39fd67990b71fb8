"""Pages of HTML that stand alone: pictures are inside them, they run no script and load nothing."""

from __future__ import annotations

import base64
from html import escape

from ..outputs import generator

__all__ = ["figure_html", "page_html"]

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
h3 { font-size: .95rem; margin: .8rem 0 .2rem; }
.wide { overflow-x: auto; }
@media print {
  body { margin: 0; max-width: none; font-size: 11px; }
  img { max-height: 11cm; }
  .wide { overflow: visible; }
  .part { break-before: page; }
  .part h2, h3 { break-after: avoid; }
  figure, tr { break-inside: avoid; }
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


def figure_html(caption: str, png: bytes) -> str:
    """A picture with its caption; ``png`` is the content of the file."""
    code = base64.b64encode(png).decode("ascii")
    alternative = escape(caption, quote=True)
    return (
        f'<figure><img src="data:image/png;base64,{code}" alt="{alternative}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )
