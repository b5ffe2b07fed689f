"""A row of panels with lines in the report's style: the one drawing that studies need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dwm_ray.report.style import INK, LINES, MARKERS, PALETTE, WIDTH, Figure, canvas, legend_above, to_svg

MAX_COLUMNS = 3
ROW_INCHES = 2.9
MOST_TICKS = 9
WIDE_RANGE = 20
"""A panel that may be logarithmic is where its values differ by more than this factor."""
LEAST_SHOWN = 1e-4
"""Of its highest value: what is smaller in a logarithmic panel is 0 to the eye, and lies below the axis."""


@dataclass(frozen=True)
class Line:
    """One series. Lines of one label look the same in all panels of a figure; `group` shares a colour among labels."""

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    group: str = ""
    """What the colour stands for; the label itself if empty. Line style and marker set labels of a group apart."""
    reference: bool = False
    """A level to compare with, such as a floor: in the page's ink, dashed, without points."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    xlabel: str
    ylabel: str
    lines: list[Line] = field(default_factory=list)
    log: bool = False


def draw_panels(name: str, title: str, caption: str, panels: list[Panel], same_scale: bool = False) -> Figure:
    """A figure of panels, side by side in rows of three (four: two by two); panels without a line are left out."""
    panels = [panel for panel in panels if panel.lines]
    looks = _looks([line for panel in panels for line in panel.lines])
    columns = 2 if len(panels) in (1, 2, 4) else MAX_COLUMNS
    rows = max(1, -(-len(panels) // columns))
    with canvas(WIDTH, ROW_INCHES * rows + 0.25 * math.ceil(len(looks) / 3)) as figure:
        axes = figure.subplots(rows, columns, squeeze=False, sharey=same_scale)
        for panel, place in zip(panels, axes.flat, strict=False):
            _draw(place, panel, looks)
        for unused in axes.flat[len(panels) :]:
            unused.remove()
        keys = [Line2D([], [], label=label, **look) for label, look in looks.items()]
        if keys:
            legend_above(figure, keys, columns=3)
        svg = to_svg(figure, name, f"{title}: {', '.join(panel.title for panel in panels)}")
    return Figure(name, title, caption, svg)


def _looks(lines: list[Line]) -> dict[str, dict[str, Any]]:
    """matplotlib's options for each label, in the order of their first lines."""
    groups = list(dict.fromkeys(line.group or line.label for line in lines if not line.reference))
    members: dict[str, list[str]] = {group: [] for group in groups}
    looks: dict[str, dict[str, Any]] = {}
    for line in lines:
        if line.label in looks:
            continue
        if line.reference:
            places = sum(1 for look in looks.values() if look["color"] == INK)
            looks[line.label] = {"color": INK, "linestyle": LINES[1:][places % 3], "alpha": 0.6, "linewidth": 1.3}
            continue
        group = line.group or line.label
        members[group].append(line.label)
        again, place = divmod(groups.index(group), len(PALETTE))  # a colour that comes again has other lines and points
        nth = len(members[group]) - 1 + again
        looks[line.label] = {
            "color": PALETTE[place],
            "linestyle": LINES[nth % len(LINES)],
            "marker": MARKERS[nth % len(MARKERS)],
        }
    return looks


def _draw(axes: Axes, panel: Panel, looks: dict[str, dict[str, Any]]) -> None:
    for line in panel.lines:
        y = [math.nan if value is None else value for value in line.y]
        axes.plot(line.x, y, **looks[line.label])
    axes.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.ylabel)
    ticks = sorted({x for line in panel.lines for x in line.x})
    if len(ticks) <= MOST_TICKS:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    heights = [value for line in panel.lines for value in line.y if value is not None]
    if panel.log and min(heights) >= 0 and max(heights) > WIDE_RANGE * min(heights):
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(min(heights) / 1.5, max(heights) * LEAST_SHOWN))
