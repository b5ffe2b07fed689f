"""What figures draw again and again: groups of trials, lines over updates, keys of a legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from dwm_ray.report.style import Looks

Json = dict[str, Any]


def by_method(trials: Sequence[Json]) -> list[list[Json]]:
    """Trials of the same method together; model-free methods first, then by name."""
    names = sorted({(trial["world_model"] is not None, trial["method"]) for trial in trials})
    return [[trial for trial in trials if trial["method"] == name] for _, name in names]


def numbers(values: Sequence[float | None]) -> np.ndarray:
    """A log's column as floats; what was not logged is NaN, a gap in a line."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def logged(trials: Sequence[Json], column: str) -> list[Json]:
    """The trials or models whose learning log has at least one finite value in a column."""
    return [trial for trial in trials if np.isfinite(numbers(trial["learning"][column])).any()]


def shared_scores(trials: Sequence[Json]) -> tuple[np.ndarray, np.ndarray]:
    """(updates [U], scores [trials, U]) at the updates where every one of the trials was evaluated."""
    curves = [dict(zip(t["curve"]["update"], numbers(t["curve"]["score_mean"]), strict=True)) for t in trials]
    shared = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    return np.array(shared), np.array([[curve[update] for update in shared] for curve in curves])


def update_axis(axes: Axes) -> None:
    """Let the x axis start at 0 and count updates in short: 0, 50k, 1M."""
    axes.set_xlim(left=0)
    axes.set_xlabel("updates")
    axes.xaxis.set_major_formatter(FuncFormatter(_short_count))


def _short_count(value: float, position: int) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 1e3 else f"{value:g}"


def method_keys(trials: Sequence[Json], looks: Looks) -> list[Line2D]:
    """Legend keys, one per method."""
    return [Line2D([], [], label=group[0]["method"], **looks.of(group[0]).line()) for group in by_method(trials)]
