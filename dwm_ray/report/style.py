"""How figures look, and how one becomes SVG that lives inside a page.

Colour stands for the world model (Okabe and Ito's palette, safe for colour-blind readers), line style and marker for
the agent, so that a method looks the same in every figure. Text and axes take the page's own colour, which follows its
light or dark scheme.
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
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as PlotFigure

INK = "#010203"
"""Stands for the page's text colour until the SVG is written; nothing else uses it."""
# Okabe and Ito's colours without black (ours is the ink) and yellow (too pale on white); the page may override them.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
WIDTH = 9.0
"""Inches of a full-width figure, as wide as the page's text column."""
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
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), INK
    ),
}


@dataclass(frozen=True)
class Figure:
    """A drawn figure and the words around it."""

    name: str
    title: str
    caption: str
    svg: str


LEGEND_ROW = 0.19
"""Height of a row of a legend, inches."""


@dataclass(frozen=True)
class Look:
    """How the lines of a method are drawn."""

    color: str
    linestyle: str
    marker: str

    def line(self) -> dict[str, Any]:
        """matplotlib's options for a line of this method with its points."""
        return {"color": self.color, "linestyle": self.linestyle, "marker": self.marker}


class Looks:
    """The look of each world model and method of a run, the same in every figure."""

    def __init__(self, trials: Sequence[dict[str, Any]], world_models: Sequence[dict[str, Any]]) -> None:
        names = [trial["world_model"] for trial in trials] + [model["name"] for model in world_models]
        self._models = sorted({name for name in names if name is not None})
        self._agents = sorted({trial["agent"] for trial in trials})

    def color(self, world_model: str | None) -> str:
        """Colour of a world model; model-free methods are drawn in the page's ink."""
        return INK if world_model is None else PALETTE[self._models.index(world_model) % len(PALETTE)]

    def of(self, trial: dict[str, Any]) -> Look:
        i = self._agents.index(trial["agent"])
        return Look(self.color(trial["world_model"]), LINES[i % len(LINES)], MARKERS[i % len(MARKERS)])


@contextmanager
def canvas(width: float, height: float) -> Iterator[PlotFigure]:
    """A figure (inches) in the report's style; the style holds only inside the context."""
    with matplotlib.rc_context(SETTINGS):
        figure = PlotFigure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure


def legend_above(figure: PlotFigure, handles: Sequence[Any], columns: int = 4) -> None:
    """A legend that covers no data and is no wider than the figure, of at most so many columns; the figure grows by its
    rows beyond the first, so that the axes keep their size."""
    columns = _fitting(figure, handles, min(columns, len(handles)))
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * (rows - 1))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, borderaxespad=0.2)


def _fitting(figure: PlotFigure, handles: Sequence[Any], most: int) -> int:
    """Most columns of a legend that the figure is wide enough for; at least 1."""
    for columns in range(most, 1, -1):
        legend = figure.legend(handles=handles, ncols=columns)
        width = legend.get_window_extent().width
        legend.remove()
        if width <= figure.bbox.width:
            return columns
    return 1


def to_svg(figure: PlotFigure, name: str, alt: str) -> str:
    """Inline SVG with its text alternative; ids get the figure's name, so that figures on one page do not clash."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue().replace(INK, "currentColor")
    for i, color in enumerate(PALETTE):
        svg = svg.replace(color, f"var(--series-{i}, {color})")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1)
