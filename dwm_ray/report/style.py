"""Style of all figures, and their conversion to SVG inside a page.

Colour stands for the world model (Okabe and Ito's palette, safe for colour-blind readers), line style and marker for
the agent, so that a method looks the same in every figure. Text and axes take the page's text colour, which follows
its light or dark scheme.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as PlotFigure
from matplotlib.ticker import FuncFormatter, MaxNLocator

INK = "#010203"
"""Placeholder for the page's text colour until the SVG is written; nothing else uses it."""
# Okabe and Ito's colours without black (the text colour) and yellow (too pale on white); the page may override them.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
WIDTH = 9.0
"""Inches of a full-width figure, as wide as the page's text column."""
LEGEND_ROW = 0.19
"""Height of a row of a legend, inches."""
LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D")

INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color")
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dwm_ray",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.alpha": 0.14,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    **dict.fromkeys(INKED, INK),
}


@dataclass(frozen=True)
class Figure:
    """A figure as SVG with its title and caption."""

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Look:
    """Line style of a method."""

    color: str
    linestyle: str
    marker: str

    def line(self) -> dict[str, Any]:
        """Return matplotlib's options for a line with points."""
        return {"color": self.color, "linestyle": self.linestyle, "marker": self.marker}


class Looks:
    """Look of each world model and method of a run, the same in every figure."""

    def __init__(self, trials: Sequence[dict[str, Any]], world_models: Sequence[dict[str, Any]]) -> None:
        names = [trial["world_model"] for trial in trials] + [model["name"] for model in world_models]
        self._models = sorted({name for name in names if name is not None})
        self._agents = sorted({trial["agent"] for trial in trials})

    def color(self, world_model: str | None) -> str:
        """Return the colour of a world model; model-free methods have the page's text colour."""
        return INK if world_model is None else PALETTE[self._models.index(world_model) % len(PALETTE)]

    def of(self, trial: dict[str, Any]) -> Look:
        i = self._agents.index(trial["agent"])
        return Look(self.color(trial["world_model"]), LINES[i % len(LINES)], MARKERS[i % len(MARKERS)])


@contextmanager
def canvas(width: float, height: float) -> Iterator[PlotFigure]:
    """Make a figure (inches) in the report's style, which holds only inside the context."""
    with matplotlib.rc_context(SETTINGS):
        figure = PlotFigure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure


@contextmanager
def panel_grid(
    titles: Sequence[str], columns: int, height: float, width: float = WIDTH, same_scale: bool = False
) -> Iterator[tuple[PlotFigure, list[Axes]]]:
    """Make a figure with one titled panel each, in rows of `columns` panels that are `height` inches tall."""
    rows = max(1, -(-len(titles) // columns))
    with canvas(width, height * rows + 0.4) as figure:
        axes = list(figure.subplots(rows, columns, squeeze=False, sharey=same_scale).flat)
        for unused in axes[len(titles) :]:
            unused.remove()
        for panel, title in zip(axes, titles, strict=False):
            panel.set_title(title)
        yield figure, axes[: len(titles)]


def step_axis(axes: Axes, label: str) -> None:
    """Label the x axis and put ticks at whole steps only, ten at most."""
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))


def update_axis(axes: Axes) -> None:
    """Let the x axis start at 0 and print updates in short: 0, 50k, 1M."""
    axes.set_xlim(left=0)
    axes.set_xlabel("updates")
    axes.xaxis.set_major_formatter(FuncFormatter(_short_count))


def _short_count(value: float, position: int) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 1e3 else f"{value:g}"


def finish(
    figure: PlotFigure, name: str, title: str, caption: str, alt: str, keys: Sequence[Any] = (), columns: int = 4
) -> Figure:
    """Add a legend with these keys and return the figure as SVG with `alt` as its text alternative."""
    if keys:
        legend_above(figure, keys, columns)
    return Figure(name, title, caption, to_svg(figure, name, alt))


def legend_above(figure: PlotFigure, handles: Sequence[Any], columns: int = 4) -> None:
    """Add a legend of at most `columns` columns above the axes; the figure grows, so that axes keep their size."""
    columns = _fitting(figure, handles, min(columns, len(handles)))
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * (rows - 1))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, borderaxespad=0.2)


def _fitting(figure: PlotFigure, handles: Sequence[Any], max_columns: int) -> int:
    """Return the most columns of a legend that the figure is wide enough for; at least 1."""
    for columns in range(max_columns, 1, -1):
        legend = figure.legend(handles=handles, ncols=columns)
        width = legend.get_window_extent().width
        legend.remove()
        if width <= figure.bbox.width:
            return columns
    return 1


def to_svg(figure: PlotFigure, name: str, alt: str) -> str:
    """Return inline SVG with its text alternative; ids start with the name, so that figures of a page do not clash."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue().replace(INK, "currentColor")
    for i, color in enumerate(PALETTE):
        svg = svg.replace(color, f"var(--series-{i}, {color})")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1)
