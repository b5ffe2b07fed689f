"""Figures over updates: learning curves, Q values, losses of world models."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dwm_ray.experiment.names import world_model_label
from dwm_ray.report.series import Json, by_method, logged, method_keys, numbers, shared_scores, update_axis
from dwm_ray.report.style import WIDTH, Figure, Look, Looks, canvas, legend_above, to_svg

MAX_LINEAR_SPREAD = 20.0
"""Beyond this ratio of Q values a linear axis would hide all trials but the diverging one."""


def learning_curves(results: Json, looks: Looks) -> Figure | None:
    """Score over updates: a thin line a trial, a thick one for the mean of a method, a band of one deviation."""
    trials = [trial for trial in results["trials"] if trial["curve"]["update"]]
    if not trials:
        return None
    with canvas(WIDTH, 3.6) as figure:
        axes = figure.subplots()
        for group in by_method(trials):
            _method_curve(axes, group, looks.of(group[0]))
        axes.set_ylabel(results["score_unit"])
        update_axis(axes)
        legend_above(figure, method_keys(trials, looks))
        svg = to_svg(figure, "curves", f"Learning curves of {len(trials)} trials: score over updates, by method")
    caption = (
        "Thin lines are single trials. Thick lines are means over a method's trials, all searched values and seeds "
        "together; bands are one standard deviation. Failed trials enter no mean."
    )
    return Figure("curves", "Learning curves", caption, svg)


def _method_curve(axes: Axes, trials: list[Json], look: Look) -> None:
    for trial in trials:
        curve = trial["curve"]
        axes.plot(curve["update"], numbers(curve["score_mean"]), color=look.color, alpha=0.3, linewidth=0.8)
    updates, scores = shared_scores([trial for trial in trials if trial["status"] != "failed"])
    if not updates.size:
        return
    mean, std = scores.mean(0), scores.std(0)
    axes.plot(updates, mean, **look.line())
    if len(scores) > 1:
        axes.fill_between(updates, mean - std, mean + std, color=look.color, alpha=0.12, linewidth=0)


def q_values(results: Json, looks: Looks) -> Figure | None:
    """Mean Q over updates of each trial, to see overestimation."""
    trials = logged(results["trials"], "q_mean")
    if not trials:
        return None
    with canvas(WIDTH, 3.0) as figure:
        axes = figure.subplots()
        for trial in trials:
            look, learning = looks.of(trial), trial["learning"]
            line = axes.plot(learning["update"], numbers(learning["q_mean"]), linewidth=1.1, alpha=0.75)[0]
            line.set(color=look.color, linestyle=look.linestyle)
        axes.set_ylabel("mean Q value")
        if _spread([trial["learning"]["q_mean"] for trial in trials]) > MAX_LINEAR_SPREAD:
            axes.set_yscale("symlog", linthresh=100)
        update_axis(axes)
        legend_above(figure, method_keys(trials, looks))
        svg = to_svg(figure, "q", f"Mean Q value over updates of {len(trials)} trials")
    caption = (
        "One line per trial. Q estimates a discounted return: a line that climbs far above the others overestimates, "
        "and its policy is not to be trusted."
    )
    return Figure("q", "Q values", caption, svg)


def _spread(columns: list[list[float | None]]) -> float:
    """How far the largest value of any trial stands above a usual trial's largest."""
    peaks = [np.nanmax(np.abs(numbers(column))) for column in columns]
    return float(max(peaks) / max(np.median(peaks), 1e-9))


def model_losses(results: Json, looks: Looks) -> Figure | None:
    """Loss of each world model on training and held-out windows."""
    models = logged(results["world_models"], "loss")
    if not models:
        return None
    with canvas(WIDTH, 3.0) as figure:
        axes = figure.subplots()
        for model in models:
            color, learning = looks.color(model["name"]), model["learning"]
            axes.plot(learning["update"], numbers(learning["loss"]), color=color, alpha=0.55, linewidth=1.1)
            axes.plot(learning["update"], numbers(learning["holdout_loss"]), color=color, linestyle="", marker="o")
        axes.set_ylabel("loss")
        if all(np.nanmin(numbers(model["learning"]["loss"])) > 0 for model in models):
            axes.set_yscale("log")
        update_axis(axes)
        names = dict.fromkeys(model["name"] for model in models)
        legend_above(figure, [Line2D([], [], color=looks.color(n), label=world_model_label(n)) for n in names])
        svg = to_svg(figure, "losses", f"Training and held-out loss of {len(models)} world models over updates")
    caption = "Lines: training windows. Points: held-out windows. Losses of different models do not compare."
    return Figure("losses", "World model training", caption, svg)
