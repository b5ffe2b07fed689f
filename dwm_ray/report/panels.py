"""A grid of panels with lines in the report's style: the plot of all studies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dwm_ray.report.style import INK, LINES, MARKERS, PALETTE, Figure, finish, panel_grid

MAX_COLUMNS = 3
ROW_INCHES = 2.9
MAX_TICKS = 9
WIDE_RANGE = 20
"""A panel with `log` has a logarithmic axis if its values differ by more than this factor."""
LEAST_SHOWN = 1e-4
"""Lower end of a logarithmic axis as a fraction of the highest value; smaller values lie below the axis."""


@dataclass(frozen=True)
class Line:
    """One series. Lines of one label look the same in all panels of a figure; `group` shares a colour among labels."""

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    group: str = ""
    """Meaning of the colour; the label if empty. Line style and marker distinguish the labels of a group."""
    reference: bool = False
    """A level to compare with, such as a floor: dashed, in the page's text colour, without points."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    xlabel: str
    ylabel: str
    lines: list[Line] = field(default_factory=list)
    log: bool = False


def plot_panels(name: str, title: str, caption: str, panels: list[Panel], same_scale: bool = False) -> Figure:
    """Return a figure of panels in rows of three (four panels: two by two), without panels that have no line."""
    panels = [panel for panel in panels if panel.lines]
    titles = [panel.title for panel in panels]
    looks = _looks([line for panel in panels for line in panel.lines])
    columns = 2 if len(panels) in (1, 2, 4) else MAX_COLUMNS
    with panel_grid(titles, columns, ROW_INCHES, same_scale=same_scale) as (figure, axes):
        for place, panel in zip(axes, panels, strict=True):
            _plot(place, panel, looks)
        keys = [Line2D([], [], label=label, **look) for label, look in looks.items()]
        return finish(figure, name, title, caption, f"{title}: {', '.join(titles)}", keys, columns=3)


def _looks(lines: list[Line]) -> dict[str, dict[str, Any]]:
    """Return matplotlib's options for each label, in the order of their first lines."""
    groups: dict[str, list[str]] = {line.group or line.label: [] for line in lines if not line.reference}
    references: list[str] = []
    for line in lines:
        labels = references if line.reference else groups[line.group or line.label]
        if line.label not in labels:
            labels.append(line.label)
    looks = {
        label: {"color": INK, "linestyle": LINES[1 + i % 3], "alpha": 0.6, "linewidth": 1.3}
        for i, label in enumerate(references)
    }
    for i, labels in enumerate(groups.values()):
        again, place = divmod(i, len(PALETTE))  # a colour that is used again has other line styles and markers
        for nth, label in enumerate(labels, again):
            style = {"linestyle": LINES[nth % len(LINES)], "marker": MARKERS[nth % len(MARKERS)]}
            looks[label] = {"color": PALETTE[place], **style}
    return {line.label: looks[line.label] for line in lines}


def _plot(axes: Axes, panel: Panel, looks: dict[str, dict[str, Any]]) -> None:
    for line in panel.lines:
        y = [math.nan if value is None else value for value in line.y]
        axes.plot(line.x, y, **looks[line.label])
    axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
    ticks = sorted({x for line in panel.lines for x in line.x})
    if len(ticks) <= MAX_TICKS:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    heights = [value for line in panel.lines for value in line.y if value is not None]
    if panel.log and min(heights) >= 0 and max(heights) > WIDE_RANGE * min(heights):
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(min(heights) / 1.5, max(heights) * LEAST_SHOWN))
