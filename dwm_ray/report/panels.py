"""Figures of all reports: panels of lines with a shared legend, and their values as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dwm_ray.report.chart import NARROW, NUM_COLORS, WIDTH, Line, Panel, Style, panel_svg, swatch, value_text, yscale_of
from dwm_ray.report.scales import short
from dwm_ray.report.table import Cell, Table
from dwm_ray.types import Json

__all__ = ["Figure", "Line", "Panel", "RunStyles", "Style", "plot_panels"]

MAX_COLUMNS = 3
MAX_VALUES = 12
"""Maximum number of rows in a table of values; longer lines are thinned."""


@dataclass(frozen=True)
class Figure:
    """Images with their title, caption, legend and values."""

    name: str
    title: str
    caption: str
    panels: list[str]
    """SVG images."""
    legend: list[tuple[str, str]]
    """Label and sample of each line."""
    values: list[Table]
    """One table per panel, for screen readers and devices without a pointer."""
    columns: int
    """Panels per row on a wide page."""


class RunStyles:
    """Style of each world model and method of a run, the same in every figure.

    The colour shows the world model; line style and marker show the agent.
    """

    def __init__(self, trials: Sequence[Json], world_models: Sequence[Json]) -> None:
        names = [trial["world_model"] for trial in trials] + [model["name"] for model in world_models]
        self._models = sorted({name for name in names if name is not None})
        self._agents = sorted({trial["agent"] for trial in trials})

    def of_model(self, world_model: str | None) -> Style:
        """Return the style of a world model; model-free methods have the page's text colour."""
        return Style(None if world_model is None else self._models.index(world_model))

    def of(self, trial: Json) -> Style:
        """Return the style of a trial's method."""
        index = self._agents.index(trial["agent"])
        return replace(self.of_model(trial["world_model"]), dash=index, marker=index)


def plot_panels(
    name: str, title: str, caption: str, panels: Sequence[Panel], same_scale: bool = False, values: bool = True
) -> Figure:
    """Return a figure of the panels that have lines.

    Args:
        name: Id of the figure on its page.
        title: Heading.
        caption: Content of the figure and how to read it.
        panels: Panels in reading order.
        same_scale: Use the same y axis in all panels.
        values: Add the values as tables; set to False if a table next to the figure contains them.
    """
    panels = [panel for panel in panels if panel.lines]
    styles = styles_of([line for panel in panels for line in panel.lines])
    shared = yscale_of(panels) if same_scale and panels else None
    columns = _columns(panels)
    width = NARROW if columns == MAX_COLUMNS else WIDTH
    images = [
        panel_svg(panel, styles, shared or yscale_of([panel]), _alternative(title, panel), width) for panel in panels
    ]
    tables = [_values(panel) for panel in panels] if values else []
    return Figure(name, title, caption, images, _legend(panels, styles), tables, columns)


def _legend(panels: Sequence[Panel], styles: Mapping[str, Style]) -> list[tuple[str, str]]:
    """Return label and sample of each line that is not named at an axis."""
    named = {name for panel in panels for name in panel.ynames}
    shown = {line.label: line for panel in panels for line in panel.lines if line.label not in named}
    return [(label, swatch(styles[label], line)) for label, line in shown.items()]


def _columns(panels: Sequence[Panel]) -> int:
    if len(panels) < MAX_COLUMNS:
        return len(panels)
    return 2 if len(panels) == 4 or any(panel.ynames for panel in panels) else MAX_COLUMNS


def _alternative(title: str, panel: Panel) -> str:
    """Return the text alternative of a panel: its axes and the last value of each line."""
    lines = [line for line in panel.lines if not line.faint and len(line.y)]
    values = [line.x[-1] if panel.ynames else line.y[-1] for line in lines]
    ends = [f"{line.label} {_cell(value) or 'no value'}" for line, value in zip(lines, values, strict=True)]
    axes = ", ".join(filter(None, (panel.title, " by ".join(filter(None, (panel.ylabel, panel.xlabel))))))
    return f"{title}: {axes}. {'; '.join(ends)}"


def _values(panel: Panel) -> Table:
    """Return the values of all lines except background lines, one row per x."""
    lines = [line for line in panel.lines if not line.faint]
    columns = [dict(zip(line.x, line.y, strict=True)) for line in lines]
    xs = sorted({x for line in lines if not line.reference for x in line.x} or set(lines[0].x))
    if len(xs) > MAX_VALUES:
        xs = [xs[i * (len(xs) - 1) // (MAX_VALUES - 1)] for i in range(MAX_VALUES)]
    rows: list[list[Cell]] = [
        [panel.xnames[round(x)] if panel.xnames else short(x), *(_cell(c.get(x, _level(c))) for c in columns)]
        for x in xs
    ]
    heading = ", ".join(part for part in (panel.title, panel.ylabel) if part)
    return Table(heading, [panel.xlabel, *(line.label for line in lines)], rows)


def _level(column: Mapping[float, float | None]) -> float | None:
    """Return the value of a horizontal line; None for other lines."""
    values = set(column.values())
    return values.pop() if len(values) == 1 else None


def _cell(value: float | None) -> str | None:
    return None if value is None else value_text(value)


def styles_of(lines: Sequence[Line]) -> Mapping[str, Style]:
    """Return the style of each label; labels without a fixed style get one in the order of their first lines."""
    fixed = {line.label: line.style for line in lines if line.style is not None}
    references = dict.fromkeys(line.label for line in lines if line.reference)
    groups: dict[str, dict[str, None]] = {}
    for line in lines:
        if line.label not in references:
            groups.setdefault(line.group or line.label, {})[line.label] = None
    return {
        **{label: Style(None, 1 + i % 3) for i, label in enumerate(references)},
        # A colour that is used again gets different line styles and markers.
        **{
            label: Style(i, cycle, cycle)
            for i, labels in enumerate(groups.values())
            for cycle, label in enumerate(labels, i // NUM_COLORS)
        },
        **fixed,
    }
