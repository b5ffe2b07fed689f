"""Figures of a comparison: scores with intervals, learning curves, performance profiles, probability of improvement.

Every method has a look of its own, the same in all figures: colour and marker by its place in the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as PlotFigure
from matplotlib.lines import Line2D

from dwm_ray.evaluation import stats
from dwm_ray.report.comparison import NORMALISED, scores
from dwm_ray.report.series import Json, shared_scores, update_axis
from dwm_ray.report.style import INK, LINES, MARKERS, PALETTE, WIDTH, Figure, Look, canvas, legend_above, to_svg

MAX_COLUMNS = 2
NUM_THRESHOLDS = 200


def draw_comparison(comparison: Json) -> list[Figure]:
    """All figures that there are finished runs for."""
    drawn = (draw(comparison) for draw in (intervals, improvements, curves, profiles))
    return [figure for figure in drawn if figure is not None]


def look(i: int) -> Look:
    """How the method at place `i` is drawn; different for 24 methods."""
    style = LINES[i // len(PALETTE) % len(LINES)]
    return Look(PALETTE[i % len(PALETTE)], style, MARKERS[i % len(MARKERS)])


@contextmanager
def _panels(titles: list[str], height: float) -> Iterator[tuple[PlotFigure, list[Axes]]]:
    """A figure with one titled panel each, `height` inches tall."""
    columns = min(MAX_COLUMNS, len(titles))
    rows = -(-len(titles) // columns)
    with canvas(WIDTH, height * rows + 0.4) as figure:
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for unused in panels[len(titles) :]:
            unused.remove()
        for panel, title in zip(panels, titles, strict=False):
            panel.set_title(title)
        yield figure, panels[: len(titles)]


def intervals(comparison: Json) -> Figure | None:
    """Interquartile mean and its interval of each method, with its runs, by task."""
    groups = _groups(comparison, "iqm")
    if not groups:
        return None
    with _panels(list(groups), 0.9 + 0.28 * len(comparison["methods"])) as (figure, panels):
        for panel, (title, rows) in zip(panels, groups.items(), strict=True):
            _interval_rows(panel, rows, "iqm")
            panel.set_xlabel(_unit(comparison, title))
        svg = to_svg(
            figure, "intervals", f"Interquartile mean score with interval of {len(comparison['methods'])} methods"
        )
    caption = (
        "Markers are interquartile means over runs, lines their 95 % bootstrap intervals (none for a single run), "
        "small points the runs. With few runs the intervals are too narrow."
    )
    return Figure("intervals", "Scores", caption, svg)


def improvements(comparison: Json) -> Figure | None:
    """Probability that a run of each method beats one of the reference, by task."""
    groups = _groups(comparison, "improvement")
    if not groups:
        return None
    with _panels(list(groups), 0.9 + 0.28 * len(comparison["methods"])) as (figure, panels):
        for panel, rows in zip(panels, groups.values(), strict=True):
            _interval_rows(panel, rows, "improvement")
            panel.axvline(0.5, color=INK, linestyle="--", linewidth=1, alpha=0.6)
            panel.set(xlim=(-0.03, 1.03), xlabel=f"P(a run beats one of {comparison['reference']})")
        svg = to_svg(figure, "improvements", f"Probability of improvement over {comparison['reference']}")
    caption = (
        f"How often a run beats one of {comparison['reference']}; a tie counts one half. At 0.5 (dashed) neither is "
        "better. It says how often, not by how much."
    )
    return Figure("improvements", "Probability of improvement", caption, svg)


def _groups(comparison: Json, statistic: str) -> dict[str, list[Json]]:
    """The panels that have a statistic: title -> methods."""
    groups = {task["task"]: task["methods"] for task in comparison["tasks"]}
    if comparison["all_tasks"]:
        groups["all tasks"] = comparison["all_tasks"]
    return {title: rows for title, rows in groups.items() if any(row[statistic] for row in rows)}


def _unit(comparison: Json, title: str) -> str:
    return next((task["score_unit"] for task in comparison["tasks"] if task["task"] == title), NORMALISED)


def _interval_rows(panel: Axes, rows: list[Json], statistic: str) -> None:
    """One line per method, the first on top; methods without the statistic keep their place."""
    for i, row in enumerate(rows):
        shown, found = look(i), row[statistic]
        if statistic == "iqm" and "runs" in row:
            panel.plot(scores(row), [i] * len(scores(row)), ".", color=shown.color, alpha=0.4, markersize=5)
        if found is None:
            continue
        if found["low"] is not None:
            panel.plot([found["low"], found["high"]], [i, i], color=shown.color, linewidth=2.2, alpha=0.75)
        panel.plot(found["value"], i, shown.marker, color=shown.color, markersize=6)
    panel.set_yticks(range(len(rows)), [row["name"] for row in rows])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.grid(axis="x")


def curves(comparison: Json) -> Figure | None:
    """Score over updates by task: mean of a method's finished runs, band from the lowest to the highest."""
    panels = {task["task"]: partial(_curves, task=task) for task in _scored(comparison)}
    svg = _with_legend(comparison, panels, "curves", "Score over updates of each method, with bands over seeds")
    caption = (
        "Means over finished runs; bands reach from the lowest to the highest run. Points before the last are of few "
        "episodes."
    )
    return Figure("curves", "Learning curves", caption, svg) if panels else None


def profiles(comparison: Json) -> Figure | None:
    """Performance profile of each method by task, and over all tasks where their scores have one unit."""
    tasks = _scored(comparison)
    groups = {task["task"]: [[scores(method)] for method in task["methods"]] for task in tasks}
    if len(tasks) > 1 and all(task["score_unit"] == NORMALISED for task in tasks):
        groups["all tasks"] = [
            [scores(task["methods"][i]) for task in tasks] for i in range(len(comparison["methods"]))
        ]
    panels = {title: partial(_profiles, found=found, unit=_unit(comparison, title)) for title, found in groups.items()}
    svg = _with_legend(comparison, panels, "profiles", "Fraction of runs above each score, by method")
    caption = (
        "Fraction of runs whose score is above a threshold: a curve further to the right is better. Bands are "
        "pointwise 95 % bootstrap intervals."
    )
    return Figure("profiles", "Performance profiles", caption, svg) if panels else None


def _scored(comparison: Json) -> list[Json]:
    """The tasks that have a finished run."""
    return [task for task in comparison["tasks"] if any(method["num_runs"] for method in task["methods"])]


def _with_legend(comparison: Json, drawings: Mapping[str, Callable[[Axes], None]], name: str, alt: str) -> str:
    """SVG with a panel per drawing, by title, and one legend of the methods; empty without a drawing."""
    if not drawings:
        return ""
    with _panels(list(drawings), 3.2) as (figure, panels):
        for panel, draw in zip(panels, drawings.values(), strict=True):
            draw(panel)
        keys = [Line2D([], [], label=method, **look(i).line()) for i, method in enumerate(comparison["methods"])]
        legend_above(figure, keys, columns=3)
        return to_svg(figure, name, alt)


def _curves(panel: Axes, task: Json) -> None:
    for i, method in enumerate(task["methods"]):
        updates, found = shared_scores([run for run in method["runs"] if run["score"] is not None])
        if not updates.size:
            continue
        panel.plot(updates, found.mean(0), **look(i).line())
        if len(found) > 1:
            panel.fill_between(updates, found.min(0), found.max(0), color=look(i).color, alpha=0.13, linewidth=0)
    panel.set_ylabel(task["score_unit"])
    update_axis(panel)


def _profiles(panel: Axes, found: list[list[np.ndarray]], unit: str) -> None:
    """`found`: scores by method and task."""
    everything = np.concatenate([runs for tasks in found for runs in tasks])
    margin = 0.05 * (np.ptp(everything) or 1.0)
    thresholds = np.linspace(everything.min() - margin, everything.max() + margin, NUM_THRESHOLDS)
    for i, tasks in enumerate(found):
        if not all(map(len, tasks)):
            continue
        panel.plot(thresholds, stats.profile(tasks, thresholds), color=look(i).color, linestyle=look(i).linestyle)
        if min(map(len, tasks)) > 1:
            low, high = stats.profile_band(tasks, thresholds, np.random.default_rng(0))
            panel.fill_between(thresholds, low, high, color=look(i).color, alpha=0.08, linewidth=0)
    panel.set(xlabel=f"{unit} τ", ylabel="share of runs above τ", ylim=(-0.02, 1.02))
