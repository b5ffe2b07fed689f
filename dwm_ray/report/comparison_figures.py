"""Figures of a comparison: scores with intervals, learning curves, performance profiles, probability of improvement.

A method has the same colour and marker in all figures, by its position in the list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dwm_ray.evaluation import stats
from dwm_ray.report.comparison import NORMALISED, Json, scores
from dwm_ray.report.run_figures import shared_scores
from dwm_ray.report.style import INK, LINES, MARKERS, PALETTE, Figure, Look, finish, panel_grid, update_axis

MAX_COLUMNS = 2
NUM_THRESHOLDS = 200


def comparison_figures(comparison: Json) -> list[Figure]:
    """Return all figures that have finished runs, in reading order."""
    plots = (intervals, improvements, curves, profiles)
    return [figure for plot in plots if (figure := plot(comparison)) is not None]


def look(i: int) -> Look:
    """Return the look of the method at position `i`; the first 24 differ."""
    style = LINES[i // len(PALETTE) % len(LINES)]
    return Look(PALETTE[i % len(PALETTE)], style, MARKERS[i % len(MARKERS)])


def intervals(comparison: Json) -> Figure | None:
    """Plot the interquartile mean of each method with its interval and its runs, by task."""
    groups, num_methods = _groups(comparison, "iqm"), len(comparison["methods"])
    if not groups:
        return None
    caption = (
        "Markers are interquartile means over runs, lines their 95 % bootstrap intervals (none for a single run), "
        "small points the runs. With few runs the intervals are too narrow."
    )
    alt = f"Interquartile mean score with interval of {num_methods} methods"
    with panel_grid(list(groups), min(MAX_COLUMNS, len(groups)), 0.9 + 0.28 * num_methods) as (figure, panels):
        for panel, (title, rows) in zip(panels, groups.items(), strict=True):
            _interval_rows(panel, rows, "iqm")
            panel.set_xlabel(_unit(comparison, title))
        return finish(figure, "intervals", "Scores", caption, alt)


def improvements(comparison: Json) -> Figure | None:
    """Plot the probability that a run of each method scores higher than one of the reference, by task."""
    groups, reference = _groups(comparison, "improvement"), comparison["reference"]
    if not groups:
        return None
    caption = (
        f"Probability that a run scores higher than a run of {reference}; a tie counts one half. At 0.5 (dashed) "
        "neither is better. The size of the difference does not matter."
    )
    alt, height = f"Probability of improvement over {reference}", 0.9 + 0.28 * len(comparison["methods"])
    with panel_grid(list(groups), min(MAX_COLUMNS, len(groups)), height) as (figure, panels):
        for panel, rows in zip(panels, groups.values(), strict=True):
            _interval_rows(panel, rows, "improvement")
            panel.axvline(0.5, color=INK, linestyle="--", linewidth=1, alpha=0.6)
            panel.set(xlim=(-0.03, 1.03), xlabel=f"P(better than {reference})")
        return finish(figure, "improvements", "Probability of improvement", caption, alt)


def _groups(comparison: Json, statistic: str) -> dict[str, list[Json]]:
    """Return title -> methods of the panels that have a statistic."""
    groups = {task["task"]: task["methods"] for task in comparison["tasks"]}
    if comparison["all_tasks"]:
        groups["all tasks"] = comparison["all_tasks"]
    return {title: rows for title, rows in groups.items() if any(row[statistic] for row in rows)}


def _unit(comparison: Json, title: str) -> str:
    return next((task["score_unit"] for task in comparison["tasks"] if task["task"] == title), NORMALISED)


def _interval_rows(panel: Axes, rows: list[Json], statistic: str) -> None:
    """Plot one line per method, the first on top; methods without the statistic keep their position."""
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
    """Plot score over updates by task: mean of a method's finished runs, band from the lowest to the highest."""
    panels = {task["task"]: partial(_curves, task=task) for task in _scored(comparison)}
    alt = "Score over updates of each method, with bands over seeds"
    caption = (
        "Means over finished runs; bands reach from the lowest to the highest run. All points but the last average "
        "few episodes."
    )
    return _with_legend(comparison, panels, "curves", "Learning curves", caption, alt)


def profiles(comparison: Json) -> Figure | None:
    """Plot the performance profile of each method by task, and over all tasks if their scores have one unit."""
    tasks = _scored(comparison)
    groups = {task["task"]: [[scores(method)] for method in task["methods"]] for task in tasks}
    if len(tasks) > 1 and all(task["score_unit"] == NORMALISED for task in tasks):
        groups["all tasks"] = [
            [scores(row) for row in rows] for rows in zip(*(t["methods"] for t in tasks), strict=True)
        ]
    panels = {title: partial(_profiles, found=found, unit=_unit(comparison, title)) for title, found in groups.items()}
    caption = (
        "Fraction of runs with a score above a threshold: a curve further to the right is better. Bands are pointwise "
        "95 % bootstrap intervals."
    )
    alt = "Fraction of runs above each score, by method"
    return _with_legend(comparison, panels, "profiles", "Performance profiles", caption, alt)


def _scored(comparison: Json) -> list[Json]:
    """Return the tasks that have a finished run."""
    return [task for task in comparison["tasks"] if any(method["num_runs"] for method in task["methods"])]


def _with_legend(
    comparison: Json, plots: Mapping[str, Callable[[Axes], None]], name: str, title: str, caption: str, alt: str
) -> Figure | None:
    """Return a figure with a panel per plot and one legend of the methods; None without a plot."""
    if not plots:
        return None
    with panel_grid(list(plots), min(MAX_COLUMNS, len(plots)), 3.2) as (figure, panels):
        for panel, plot in zip(panels, plots.values(), strict=True):
            plot(panel)
        keys = [Line2D([], [], label=method, **look(i).line()) for i, method in enumerate(comparison["methods"])]
        return finish(figure, name, title, caption, alt, keys, columns=3)


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
    """Plot profiles from scores by method and task."""
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
    panel.set(xlabel=f"{unit} τ", ylabel="fraction of runs above τ", ylim=(-0.02, 1.02))
