"""Figures of a comparison: ranking with intervals, and learning curves.

A method has the same colour and marker in all figures, according to its position in the list.
"""

from dwm_ray.report.chart import DASHES, NUM_COLORS, Look, Panel
from dwm_ray.report.comparison import NORMALISED
from dwm_ray.report.panels import Figure, plot_panels
from dwm_ray.report.ranking import CURVES, curve, ranked, ranking_figure
from dwm_ray.types import Json


def comparison_figures(comparison: Json) -> list[Figure]:
    """Return all figures with finished runs, in reading order."""
    return [figure for plot in (ranking, curves) if (figure := plot(comparison)).panels]


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


def _scored(comparison: Json) -> list[Json]:
    """Return the tasks that have a finished run."""
    return [task for task in comparison["tasks"] if any(method["num_runs"] for method in task["methods"])]
