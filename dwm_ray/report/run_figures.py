"""Figures of a run: learning curves, scores by axis, errors, calibration and losses of world models, Q values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dwm_ray.experiment.names import world_model_label
from dwm_ray.report.calibration import calibrated_models, calibration_figure
from dwm_ray.report.run_tables import Json, axes_of, label
from dwm_ray.report.style import INK, WIDTH, Figure, Look, Looks, finish, panel_grid, step_axis, update_axis

MAX_COLUMNS = 3
MAX_LINEAR_SPREAD = 20.0
"""Beyond this ratio of Q values, a linear axis would hide all trials but the diverging one."""
SHIFT = 0.06
"""Sideways distance between the points of two methods, as a fraction of the distance of two values."""
NO_CHANGE: dict[str, Any] = {"color": INK, "linestyle": "--", "alpha": 0.6}


def run_figures(results: Json) -> list[Figure]:
    """Return all figures that these results have data for, in reading order."""
    looks = Looks(results["trials"], results["world_models"])
    plots = (learning_curves, axis_scores, model_errors, model_calibration, q_values, model_losses)
    return [figure for plot in plots if (figure := plot(results, looks)) is not None]


def learning_curves(results: Json, looks: Looks) -> Figure | None:
    """Plot score over updates: a thin line per trial, and mean and standard deviation per method."""
    trials = [trial for trial in results["trials"] if trial["curve"]["update"]]
    if not trials:
        return None
    caption = (
        "Thin lines are single trials. Thick lines are means over a method's trials, over all searched values and "
        "seeds; bands are one standard deviation. Means exclude failed trials."
    )
    alt = f"Learning curves of {len(trials)} trials: score over updates, by method"
    with panel_grid([""], 1, 3.2) as (figure, [axes]):
        for group in by_method(trials):
            _method_curve(axes, group, looks.of(group[0]))
        axes.set_ylabel(results["score_unit"])
        update_axis(axes)
        return finish(figure, "curves", "Learning curves", caption, alt, _method_keys(trials, looks))


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


def axis_scores(results: Json, looks: Looks) -> Figure | None:
    """Plot the final score per value of each searched axis, with model-free means as reference lines."""
    done = [trial for trial in results["trials"] if trial["score_mean"] is not None]
    names = [name for name in axes_of(done) if len(_axis_values(done, name)) > 1]
    if not names:
        return None
    caption = (
        "Points are finished trials; lines connect the means over all other axes and seeds. Horizontal lines are the "
        "means of model-free trials."
    )
    columns = min(MAX_COLUMNS, len(names))
    width = WIDTH / MAX_COLUMNS * max(columns, 2)
    with panel_grid(list(map(label, names)), columns, 2.5, width, same_scale=True) as (figure, panels):
        for panel, name in zip(panels, names, strict=True):
            _axis_panel(panel, done, name, looks)
        for panel in panels[::columns]:
            panel.set_ylabel(results["score_unit"])
        alt = f"Final score by value of {', '.join(map(label, names))}"
        return finish(figure, "axes", "Score by searched axis", caption, alt, _method_keys(done, looks), columns)


def _axis_values(trials: list[Json], name: str) -> list[Any]:
    """Return the distinct values of a searched axis: sorted numbers, then words."""
    values = dict.fromkeys(trial["values"][name] for trial in trials if name in trial["values"])
    ordered = sorted(value for value in values if isinstance(value, int | float))
    return ordered + [value for value in values if value not in ordered]


def _axis_panel(panel: Axes, trials: list[Json], name: str, looks: Looks) -> None:
    values = _axis_values(trials, name)
    searched = by_method([trial for trial in trials if name in trial["values"]])
    for i, group in enumerate(searched):
        shift = SHIFT * (i - (len(searched) - 1) / 2)
        _axis_line(panel, group, name, values, looks.of(group[0]), shift)
    for group in by_method([trial for trial in trials if trial["world_model"] is None and name not in trial["values"]]):
        look, mean = looks.of(group[0]), np.mean([trial["score_mean"] for trial in group])
        panel.axhline(mean, color=look.color, linestyle=look.linestyle, linewidth=1.2, alpha=0.7)
    panel.set_xticks(range(len(values)), [f"{value}" for value in values])
    panel.set_xlim(-0.4, len(values) - 0.6)


def _axis_line(panel: Axes, trials: list[Json], name: str, values: list[Any], look: Look, shift: float) -> None:
    """Plot the points of one method and their means, shifted sideways so that methods do not cover each other."""
    places = np.array([values.index(trial["values"][name]) for trial in trials]) + shift
    scores = np.array([trial["score_mean"] for trial in trials])
    panel.plot(places, scores, look.marker, color=look.color, alpha=0.45, markersize=4)
    means = pd.Series(scores).groupby(places).mean()
    panel.plot(means.index, means, color=look.color, linestyle=look.linestyle)


def model_errors(results: Json, looks: Looks) -> Figure | None:
    """Plot the held-out error of each world model by step, next to the error of predicting no change."""
    models = [model for model in results["world_models"] if model["error"]]
    if not models:
        return None
    widest = max((model["error"] for model in models), key=lambda error: len(error["steps"]))
    caption = (
        f"In squares of {widest['unit']}, on {widest['num_windows']} held-out windows. Do not compare a model that "
        "sees the later actions with one that does not: the error of the latter includes the behaviour's randomness."
    )
    alt = f"Prediction error by step of {len(models)} world models, states and rewards"
    with panel_grid(["states", "rewards"], 2, 2.9) as (figure, panels):
        for axes, key in zip(panels, ("obs_mse", "rew_mse"), strict=True):
            for model in models:
                axes.plot(model["error"]["steps"], model["error"][key], color=looks.color(model["name"]), marker="o")
            axes.set_yscale("log")
            step_axis(axes, "predicted step")
        panels[0].plot(widest["steps"], widest["no_change_obs_mse"], **NO_CHANGE)
        panels[0].set_ylabel("mean squared error")
        return finish(figure, "errors", "World model error", caption, alt, _error_keys(models, looks), 2)


def _error_keys(models: list[Json], looks: Looks) -> list[Line2D]:
    drivers = dict.fromkeys((model["name"], model["error"]["driven_by"]) for model in models)
    keys = [
        Line2D([], [], color=looks.color(name), marker="o", label=f"{world_model_label(name)}, driven by {driver}")
        for name, driver in drivers
    ]
    return [*keys, Line2D([], [], label="no change (states)", **NO_CHANGE)]


def model_calibration(results: Json, looks: Looks) -> Figure | None:
    """Plot the share of ended segments and the mean reward by step of each world model."""
    models = calibrated_models(results, looks)
    return calibration_figure(models) if models else None


def q_values(results: Json, looks: Looks) -> Figure | None:
    """Plot the mean Q value over updates of each trial, which shows overestimation."""
    trials = _logged(results["trials"], "q_mean")
    if not trials:
        return None
    columns = [numbers(trial["learning"]["q_mean"]) for trial in trials]
    peaks = [np.nanmax(np.abs(column)) for column in columns]
    caption = (
        "One line per trial. Q estimates a discounted return: a line far above the others shows overestimation, and "
        "the policy of that trial is unreliable."
    )
    alt = f"Mean Q value over updates of {len(trials)} trials"
    with panel_grid([""], 1, 2.6) as (figure, [axes]):
        for trial, column in zip(trials, columns, strict=True):
            line = axes.plot(trial["learning"]["update"], column, linewidth=1.1, alpha=0.75)[0]
            line.set(color=looks.of(trial).color, linestyle=looks.of(trial).linestyle)
        axes.set_ylabel("mean Q value")
        if max(peaks) > MAX_LINEAR_SPREAD * max(np.median(peaks), 1e-9):
            axes.set_yscale("symlog", linthresh=100)
        update_axis(axes)
        return finish(figure, "q", "Q values", caption, alt, _method_keys(trials, looks))


def model_losses(results: Json, looks: Looks) -> Figure | None:
    """Plot the loss of each world model on training and held-out windows."""
    models = _logged(results["world_models"], "loss")
    if not models:
        return None
    caption = "Lines: training windows. Points: held-out windows. Losses of different models are not comparable."
    alt = f"Training and held-out loss of {len(models)} world models over updates"
    with panel_grid([""], 1, 2.6) as (figure, [axes]):
        for model in models:
            color, learning = looks.color(model["name"]), model["learning"]
            axes.plot(learning["update"], numbers(learning["loss"]), color=color, alpha=0.55, linewidth=1.1)
            axes.plot(learning["update"], numbers(learning["holdout_loss"]), color=color, linestyle="", marker="o")
        axes.set_ylabel("loss")
        if all(np.nanmin(numbers(model["learning"]["loss"])) > 0 for model in models):
            axes.set_yscale("log")
        update_axis(axes)
        names = dict.fromkeys(model["name"] for model in models)
        keys = [Line2D([], [], color=looks.color(name), label=world_model_label(name)) for name in names]
        return finish(figure, "losses", "World model training", caption, alt, keys)


def by_method(trials: Sequence[Json]) -> list[list[Json]]:
    """Group trials by method; model-free methods first, then by name."""
    names = sorted({(trial["world_model"] is not None, trial["method"]) for trial in trials})
    return [[trial for trial in trials if trial["method"] == name] for _, name in names]


def numbers(values: Sequence[float | None]) -> np.ndarray:
    """Return a log's column as floats; missing values are NaN, a gap in a line."""
    return np.array(values, np.float64)


def shared_scores(trials: Sequence[Json]) -> tuple[np.ndarray, np.ndarray]:
    """Return (updates [U], scores [trials, U]) at the updates where every one of the trials was evaluated."""
    curves = [pd.Series(trial["curve"]["score_mean"], trial["curve"]["update"], np.float64) for trial in trials]
    shared = pd.concat(curves, axis=1, join="inner").sort_index() if curves else pd.DataFrame()
    return shared.index.to_numpy(), shared.to_numpy().T


def _logged(items: Sequence[Json], column: str) -> list[Json]:
    """Return the trials or models whose learning log has at least one finite value in a column."""
    return [item for item in items if np.isfinite(numbers(item["learning"][column])).any()]


def _method_keys(trials: Sequence[Json], looks: Looks) -> list[Line2D]:
    return [Line2D([], [], label=group[0]["method"], **looks.of(group[0]).line()) for group in by_method(trials)]
