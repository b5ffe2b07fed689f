"""One panel of lines, points, bands and intervals as an SVG image.

Each panel is a separate image, so that a page can arrange panels according to its width. Colours are CSS classes of the
page, which has a light and a dark scheme. Browsers show the value of a point on hover.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import escape

from dwm_ray.report.scales import Kind, Scale, categories, scale_of, short

NUM_COLORS = 6
DASHES = ("", "6 4", "2 3", "8 3 2 3")
MARKERS = ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", "M-3.5-3.5h7v7h-7z", "M0-4.5l4.5 8h-9z", "M0-5l5 5-5 5-5-5z")
WIDTH, NARROW = 400, 330
"""Width of an image; one unit is about one pixel."""
HEIGHT, ROW_HEIGHT = 170, 26
"""Units of the plot area, and of one row of an axis of names."""
LETTER, CAPITAL = 6.7, 8.6
"""Approximate width of a character in tick labels, and in names of rows."""
MAX_NAME = 24
"""Maximum length of a name at an axis; longer names are truncated."""
MAX_MARKED = 40
"""Lines with more points have no markers."""
WIDE_RANGE = 20
"""Ratio of the highest to the lowest value from which a `log` axis is logarithmic."""


@dataclass(frozen=True)
class Style:
    """Colour, line style and marker of a method, as list indices."""

    color: int | None = None
    """None: the text colour of the page."""
    dash: int = 0
    marker: int = 0

    @property
    def css(self) -> str:
        return "ink" if self.color is None else f"c{self.color % NUM_COLORS}"


@dataclass(frozen=True)
class Line:
    """One series. A label has the same style in all panels of a figure; labels of one `group` share a colour."""

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    group: str = ""
    """Labels of one group share a colour and differ in line style and marker; default: the label itself."""
    reference: bool = False
    """A baseline, such as a lower bound: dashed, in the text colour, without markers."""
    style: Style | None = None
    """Fixed style, for a method that appears in several figures."""
    band: tuple[Sequence[float], Sequence[float]] | None = None
    """Lowest and highest value at each x, plotted as an area."""
    interval: tuple[float, float] | None = None
    """Ends of the horizontal error bar of a single point."""
    connected: bool = True
    """False: points only."""
    faint: bool = False
    """Background line, such as a single run: thin and pale, not in the legend."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    xlabel: str
    ylabel: str
    lines: list[Line] = field(default_factory=list)
    yscale: Kind = "linear"
    """Scale of the y axis; `log` falls back to linear if a value is negative or the values are similar."""
    xnames: Sequence[str] = ()
    """Names at x = 0, 1, ... instead of numbers."""
    ynames: Sequence[str] = ()
    xends: tuple[float, float] | None = None
    height: int = HEIGHT


@dataclass(frozen=True)
class _Area:
    """Plot area of an image, with its axes."""

    panel: Panel
    x: Scale
    y: Scale
    left: float
    top: float
    width: float
    height: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the position of a point; values below a logarithmic axis are placed on its edge."""
        return self.left + self.x(x) * self.width, self.top + (1 - max(self.y(y), 0.0)) * self.height


def panel_svg(panel: Panel, styles: Mapping[str, Style], yscale: Scale, alt: str, width: int = WIDTH) -> str:
    """Return the image of a panel; `alt` is its text alternative."""
    area = _area(panel, yscale, width)
    staggered = sum(len(label) + 2 for _, label in area.x.ticks) * LETTER > area.width
    bottom = area.top + area.height + (48 if staggered else 36)
    elements = [*_headings(panel), *_axes(panel, area, staggered, bottom)]
    for line in sorted(panel.lines, key=lambda line: (not line.reference, not line.faint)):
        elements += _series(line, styles[line.label], area)
    size = f'viewBox="0 0 {width} {bottom:.0f}"'
    return f'<svg class="panel" role="img" aria-label="{escape(alt)}" {size}>{"".join(elements)}</svg>'


def yscale_of(panels: Sequence[Panel]) -> Scale:
    """Return the y axis that panels share."""
    if panels[0].ynames:
        return categories(panels[0].ynames, downwards=True)
    lines = [line for panel in panels for line in panel.lines]
    values = [value for line in lines for value in (*line.y, *(v for side in line.band or () for v in side))]
    finite = [value for value in values if value is not None and math.isfinite(value)] or [0.0]
    wide = min(finite) >= 0 and max(finite) > WIDE_RANGE * min(finite)
    return scale_of(finite, "linear" if panels[0].yscale == "log" and not wide else panels[0].yscale)


def _area(panel: Panel, yscale: Scale, width: int) -> _Area:
    xs = [x for line in panel.lines for x in (*line.x, *(line.interval or ()))]
    is_range = xs and min(xs) < max(xs) and not panel.ynames  # rows have free space at both ends
    ends = panel.xends or ((min(xs), max(xs)) if is_range else None)
    x = categories(panel.xnames) if panel.xnames else scale_of(xs, ends=ends)
    labels = max((min(len(label), MAX_NAME) for _, label in yscale.ticks), default=1)
    left = labels * (CAPITAL if panel.ynames else LETTER) + 8
    top = 10 + 16 * bool(panel.title) + 16 * bool(panel.ylabel)
    height = ROW_HEIGHT * len(panel.ynames) or panel.height
    return _Area(panel, x, yscale, left, top, width - left - 14, height)


def _headings(panel: Panel) -> Iterator[str]:
    if panel.title:
        yield f'<text class="t" y="13">{escape(panel.title)}</text>'
    if panel.ylabel:
        yield f'<text class="s" y="{29 if panel.title else 13}">{escape(panel.ylabel)}</text>'


def _axes(panel: Panel, area: _Area, staggered: bool, bottom: float) -> Iterator[str]:
    """Yield grid lines, ticks and the label of the x axis."""
    base, right = area.top + area.height, area.left + area.width
    for value, label in area.y.ticks:
        y = area.at(area.x.ends[0], value)[1]
        short_label = label if len(label) <= MAX_NAME else label[: MAX_NAME - 1] + "…"
        yield f'<text x="{area.left - 7:.1f}" y="{y + 4:.1f}" text-anchor="end">{escape(short_label)}</text>'
        if not panel.ynames:
            yield f'<path class="g" d="M{area.left:.1f} {y:.1f}H{right:.1f}"/>'
    for i, (value, label) in enumerate(area.x.ticks):
        x = area.left + area.x(value) * area.width
        if panel.ynames:
            yield f'<path class="g" d="M{x:.1f} {area.top}V{base}"/>'
        row = base + 15 + (12 * (i % 2) if staggered else 0)
        yield f'<text x="{x:.1f}" y="{row:.1f}" text-anchor="middle">{escape(label)}</text>'
    yield f'<path class="a" d="M{area.left:.1f} {base}H{right:.1f}"/>'
    yield f'<text class="s" x="{right:.1f}" y="{bottom - 5:.1f}" text-anchor="end">{escape(panel.xlabel)}</text>'


def _series(line: Line, style: Style, area: _Area) -> Iterator[str]:
    """Yield the band, error bar, line and markers of a series."""
    yield f'<g class="{_css(line, style)}">'
    if line.band:
        low, high = ([area.at(x, v) for x, v in zip(line.x, side, strict=True)] for side in line.band)
        yield f'<path class="b" d="M{"L".join(map(_coordinates, [*low, *reversed(high)]))}z"/>'
    if line.interval:
        (start, y), (end, _) = (area.at(x, line.y[0] or 0.0) for x in line.interval)
        yield f'<path class="i" d="M{start:.1f} {y:.1f}H{end:.1f}"/>'
    if line.connected and len(line.x) > 1:
        name = f"<title>{escape(line.label)}</title>"
        for run in _runs(line, area):
            yield f'<path class="l" d="M{"L".join(map(_coordinates, run))}"{_dashed(style)}>{name}</path>'
    if not line.reference and (not line.connected or not line.faint) and len(line.x) <= MAX_MARKED:
        yield from _markers(line, style, area)
    yield "</g>"


def _runs(line: Line, area: _Area) -> Iterator[list[tuple[float, float]]]:
    """Yield the connected parts of a line, which missing values separate."""
    run: list[tuple[float, float]] = []
    for x, y in zip(line.x, line.y, strict=True):
        if y is not None and math.isfinite(y):
            run.append(area.at(x, y))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _markers(line: Line, style: Style, area: _Area) -> Iterator[str]:
    shape = MARKERS[style.marker % len(MARKERS)]
    for x, y in zip(line.x, line.y, strict=True):
        if y is not None and math.isfinite(y):
            position = "{:.1f} {:.1f}".format(*area.at(x, y))
            size = " scale(.8)" if line.faint else ""
            yield f'<path class="m" transform="translate({position}){size}" d="{shape}">'
            yield f"<title>{escape(_hover(line, x, y, area.panel))}</title></path>"


def _hover(line: Line, x: float, y: float, panel: Panel) -> str:
    """Return the hover text of a point: its series and values."""
    if panel.ynames:
        ends = f" [{', '.join(map(value_text, line.interval))}]" if line.interval else ""
        return f"{line.label}: {value_text(x)}{ends}"
    position = panel.xnames[round(x)] if panel.xnames else short(x)
    return f"{line.label}: {value_text(y)} at {position}"


def value_text(value: float) -> str:
    """Return a value with three or four significant digits."""
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _coordinates(point: tuple[float, float]) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"


def _dashed(style: Style) -> str:
    dash = DASHES[style.dash % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def swatch(style: Style, line: Line) -> str:
    """Return the legend entry of a line, hidden from screen readers."""
    pale = line.reference or (line.faint and line.connected)
    stroke = f'<path class="l" d="M0 7H34"{_dashed(style)}/>' if line.connected else ""
    marker = f'<path class="m" transform="translate(17 7)" d="{MARKERS[style.marker % len(MARKERS)]}"/>'
    content = f'<g class="{_css(line, style)}">{stroke}{"" if pale else marker}</g>'
    return f'<svg class="key" viewBox="0 0 34 14" aria-hidden="true">{content}</svg>'


def _css(line: Line, style: Style) -> str:
    """Return the classes of a series."""
    return f"{style.css} faint" if line.faint else f"{style.css} ref" if line.reference else style.css
