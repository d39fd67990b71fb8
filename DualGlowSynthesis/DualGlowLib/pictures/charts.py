"""Charts of numbers, as PNG and SVG: boxes of methods, curves with bands. matplotlib draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from ..errors import InputError
from ..outputs import NAME

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Chart", "Curve", "boxes", "curves"]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")  # Okabe & Ito's
_DPI = 150


@dataclass(frozen=True)
class Chart:
    """A chart's files.

    Attributes:
        png, svg: their contents; equal numbers give equal bytes.
    """

    png: bytes
    svg: bytes


@dataclass(frozen=True)
class Curve:
    """A line, with the band around it.

    Attributes:
        name: in the legend.
        x, y: points.
        low, high: the band; empty for none.
        group: curves of one group have one colour.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    group: int = 0


def boxes(values: Mapping[str, Sequence[float]], title: str, label: str, best: float | None = None) -> Chart:
    """A box for each method: median, quartiles, whiskers to 1.5 times their distance; and every value as a point.

    Args:
        values: by method.
        title: above it.
        label: of the axis.
        best: a value that no method can beat on average, drawn as a line; None for none.

    Raises:
        InputError: if matplotlib is missing.
    """
    with _drawing() as new:
        figure = new(figsize=(max(4.5, 1.3 * len(values) + 1.5), 4.2), layout="constrained")
        axes = figure.subplots()
        axes.boxplot(list(values.values()), showfliers=False, widths=0.5, medianprops={"color": _COLOURS[1]})
        for place, own in enumerate(values.values(), 1):
            spread = [place + 0.16 * ((7 * i % 11) / 5 - 1) for i in range(len(own))]  # apart, and the same each time
            axes.plot(spread, own, ".", color=_COLOURS[0], alpha=0.5, markersize=5)
        if best is not None:
            axes.axhline(best, color=_COLOURS[2], linestyle="--", label="best possible, on average")
            figure.legend(loc="outside lower center", fontsize=8)
        turned = 30 if max(map(len, values)) > 12 else 0
        axes.set_xticks(range(1, len(values) + 1), list(values), rotation=turned, ha="right" if turned else "center")
        axes.set(ylabel=label, title=title)
        _tidy(axes)
        return _files(figure)


def curves(panels: Mapping[str, Sequence[Curve]], title: str, x_label: str, y_label: str, columns: int = 3) -> Chart:
    """Panels of curves with their bands, one legend for all.

    Args:
        panels: curves by the panel's title.
        title: above all.
        x_label, y_label: of the axes.
        columns: panels side by side.

    Raises:
        InputError: if matplotlib is missing.
    """
    with _drawing() as new:
        columns = min(columns, len(panels))
        rows = -(-len(panels) // columns)
        size = (3.1 * columns + 0.8, 2.5 * rows + 1.2) if columns > 1 else (5.6, 4.0 * rows)
        figure = new(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
        shown: dict[str, object] = {}
        for axes, (name, own) in zip(grid.flat, panels.items(), strict=False):
            for curve in own:
                colour = _COLOURS[curve.group % len(_COLOURS)]
                (line,) = axes.plot(curve.x, curve.y, marker="o", markersize=3, color=colour, label=curve.name)
                if len(curve.low):
                    axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.2, linewidth=0)
                shown.setdefault(curve.name, line)
            axes.set_title(name, fontsize=9)
            _tidy(axes)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_axis_off()
        figure.suptitle(title, fontsize=11)
        for lowest in grid.flat[max(0, len(panels) - columns) : len(panels)]:
            lowest.tick_params(labelbottom=True)
            lowest.set_xlabel(x_label, fontsize=8)
        figure.supylabel(y_label, fontsize=9)
        figure.legend(
            list(shown.values()),
            list(shown),
            loc="outside lower center",
            ncols=min(2 * columns, 4, len(shown)),
            fontsize=8,
        )
        return _files(figure)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#8884", linewidth=0.5)


@contextmanager
def _drawing() -> Iterator[Callable[..., Figure]]:
    """What makes figures without a window, whatever the user's own settings are."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("Charts need the Python package matplotlib; install it with: pip install matplotlib") from None
    usual = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
    with matplotlib.rc_context({**usual, "svg.hashsalt": NAME, "svg.fonttype": "none"}):
        yield Figure


def _files(figure: Figure) -> Chart:
    from .. import __version__

    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # once for both
    made, png, svg = f"{NAME} {__version__}", BytesIO(), BytesIO()
    figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": made})
    figure.savefig(svg, format="svg", metadata={"Creator": made, "Date": None})
    return Chart(png.getvalue(), svg.getvalue())
