"""Figures of a comparison: ranking with intervals, learning curves, performance profiles.

A method has the same colour and marker in all figures, according to its position in the list.
"""

from collections.abc import Mapping

import numpy as np

from dwm_ray.evaluation import stats
from dwm_ray.report.chart import DASHES, NUM_COLORS, Line, Look, Panel
from dwm_ray.report.comparison import NORMALISED
from dwm_ray.report.panels import Figure, plot_panels
from dwm_ray.report.ranking import CURVES, curve, ranked, ranking_figure, scores
from dwm_ray.types import Json

NUM_THRESHOLDS = 100


def comparison_figures(comparison: Json) -> list[Figure]:
    """Return all figures with finished runs, in reading order."""
    return [figure for plot in (ranking, curves, profiles) if (figure := plot(comparison)).panels]


def look(i: int) -> Look:
    """Return the look of the method at position `i`; the first 24 differ."""
    return Look(i % NUM_COLORS, i // NUM_COLORS % len(DASHES), i % len(DASHES))


def looks_by_name(comparison: Json) -> dict[str, Look]:
    return {name: look(i) for i, name in enumerate(comparison["methods"])}


def ranking(comparison: Json) -> Figure:
    """Plot scores and probabilities of improvement by task, with the best method at the top."""
    groups = {task["task"]: (ranked(task["methods"]), task["score_unit"]) for task in _scored(comparison)}
    if comparison["all_tasks"]:
        groups["all tasks"] = (ranked(comparison["all_tasks"]), NORMALISED)
    return ranking_figure(groups, looks_by_name(comparison), comparison["reference"])


def curves(comparison: Json) -> Figure:
    """Plot score over updates by task: the mean of a method's finished runs, and the range as a band."""
    looks = looks_by_name(comparison)
    panels = []
    for task in _scored(comparison):
        lines = [curve(method, looks[method["name"]]) for method in task["methods"]]
        panels.append(Panel(task["task"], "updates", task["score_unit"], lines))
    return plot_panels("curves", "Learning curves", CURVES, panels)


def profiles(comparison: Json) -> Figure:
    """Plot the performance profile of each method by task, and over all tasks if their scores have one unit."""
    tasks, looks = _scored(comparison), looks_by_name(comparison)
    groups = {task["task"]: [[scores(method)] for method in task["methods"]] for task in tasks}
    units = {task["task"]: task["score_unit"] for task in tasks}
    if len(tasks) > 1 and set(units.values()) == {NORMALISED}:
        groups["all tasks"] = [
            [scores(row) for row in rows] for rows in zip(*(t["methods"] for t in tasks), strict=True)
        ]
    panels = [
        Panel(title, units.get(title, NORMALISED), "fraction of runs above", _profiles(found, looks))
        for title, found in groups.items()
    ]
    caption = (
        "Fraction of runs with a score above a threshold. Curves further to the right are better. Bands are pointwise "
        "95 % bootstrap intervals."
    )
    return plot_panels("profiles", "Performance profiles", caption, panels, same_scale=True)


def _scored(comparison: Json) -> list[Json]:
    """Return the tasks that have a finished run."""
    return [task for task in comparison["tasks"] if any(method["num_runs"] for method in task["methods"])]


def _profiles(found: list[list[np.ndarray]], looks: Mapping[str, Look]) -> list[Line]:
    """Return a line per method from scores by method and task."""
    everything = np.concatenate([runs for tasks in found for runs in tasks])
    margin = 0.05 * (np.ptp(everything) or 1.0)
    thresholds = np.linspace(everything.min() - margin, everything.max() + margin, NUM_THRESHOLDS)
    lines = []
    for (name, shown), tasks in zip(looks.items(), found, strict=True):
        if all(map(len, tasks)):
            many = min(map(len, tasks)) > 1
            band = stats.profile_band(tasks, thresholds, np.random.default_rng(0)) if many else None
            sides = None if band is None else (band[0].tolist(), band[1].tolist())
            heights = stats.profile(tasks, thresholds).tolist()
            lines.append(Line(name, thresholds.tolist(), heights, look=shown, band=sides))
    return lines
