"""Figures of a run: learning curves, scores by axis, Q values, and errors, futures and losses of world models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dwm_ray.experiment.names import agent_label, world_model_label
from dwm_ray.report.calibration import calibration_figure, model_calibrations
from dwm_ray.report.chart import Line, Panel, Style
from dwm_ray.report.collect import measured
from dwm_ray.report.panels import Figure, RunStyles, plot_panels
from dwm_ray.report.ranking import CURVES, curve, method_rows, ranking_figure
from dwm_ray.report.run_tables import axes_of, label
from dwm_ray.types import Json

FUTURE_HEIGHT = 120


def run_figures(results: Json) -> dict[str, Figure]:
    """Return all figures for which the results have data, by name."""
    styles = RunStyles(results["trials"], results["world_models"])
    plots = (ranking, learning_curves, axis_scores, model_errors, futures, model_calibration, q_values, model_losses)
    figures = [plot(results, styles) for plot in plots]
    return {figure.name: figure for figure in figures if figure.panels}


def ranking(results: Json, styles: RunStyles) -> Figure:
    """Plot score and probability of improvement over the model-free agent, with the best method at the top."""
    rows = method_rows(results)
    by_name = {row["name"]: styles.of(row) for row in rows}
    groups = {"": (rows, results["score_unit"])} if rows else {}
    return ranking_figure(groups, by_name, "its agent without a world model")


def learning_curves(results: Json, styles: RunStyles) -> Figure:
    """Plot score over updates by agent, with the setting of each method in the ranking."""
    lines: dict[str, list[Line]] = {}
    for row in method_rows(results):
        lines.setdefault(row["agent"], []).append(curve(row, styles.of(row)))
    panels = [Panel(agent_label(name), "updates", results["score_unit"], curves) for name, curves in lines.items()]
    caption = f"Each method has its setting from the ranking. {CURVES}"
    return plot_panels("curves", "Learning curves", caption, panels, same_scale=True)


def axis_scores(results: Json, styles: RunStyles) -> Figure:
    """Plot the final score per value of each searched axis by agent, with model-free means as reference lines."""
    done = [trial for trial in results["trials"] if measured(trial) is not None]
    names = [name for name in axes_of(done) if len(_axis_values(done, name)) > 1]
    agents = {agent: [t for t in done if t["agent"] == agent] for agent in dict.fromkeys(t["agent"] for t in done)}
    panels = [
        _axis_panel(trials, name, _axis_values(done, name), styles, results["score_unit"])
        for name in names
        for trials in agents.values()
    ]
    caption = (
        "Small points are finished trials; lines connect the means over all other axes and seeds. Methods without this "
        "axis are horizontal lines."
    )
    return plot_panels("axes", "Effect of each searched axis", caption, panels, same_scale=True)


def _axis_values(trials: list[Json], name: str) -> list[Any]:
    """Return the distinct values of a searched axis: sorted numbers, then text."""
    values = dict.fromkeys(trial["values"][name] for trial in trials if name in trial["values"])
    ordered = sorted(value for value in values if isinstance(value, int | float))
    return ordered + [value for value in values if value not in ordered]


def _axis_panel(trials: list[Json], name: str, values: list[Any], styles: RunStyles, unit: str) -> Panel:
    """Return the panel of one agent's trials."""
    lines = []
    for group in by_method(trials):
        method, style = group[0]["method"], styles.of(group[0])
        searched = [(values.index(t["values"][name]), measured(t)) for t in group if name in t["values"]]
        if searched:
            positions, scores = zip(*searched, strict=True)
            lines.append(Line(method, positions, scores, style=style, connected=False, faint=True))
            means = pd.Series(scores, dtype=float).groupby(np.array(positions)).mean()
            lines.append(Line(method, means.index.tolist(), means.tolist(), style=style))
        else:
            level = float(numbers([measured(trial) for trial in group]).mean())
            lines.append(Line(method, [-0.5, len(values) - 0.5], [level, level], style=style, reference=True))
    return Panel(agent_label(trials[0]["agent"]), label(name), unit, lines, xnames=[str(value) for value in values])


def model_errors(results: Json, styles: RunStyles) -> Figure:
    """Plot the held-out error of each world model by step, and the errors of two baselines without a model."""
    models = [model for model in results["world_models"] if model["error"]]
    widest = max((model["error"] for model in models), key=lambda error: len(error["steps"]), default=None)
    panels = [_error_panel(models, name, styles) for name in ("states", "rewards")]
    if widest is None:
        return plot_panels("errors", "", "", [])
    steps = widest["steps"]
    panels[0].lines.append(Line("no change", steps, widest["no_change_obs_mse"], reference=True))
    for panel in panels:
        panel.lines.append(Line("mean of the data", [steps[0], steps[-1]], [1.0, 1.0], reference=True))
    caption = (
        f"In squares of {widest['unit']}, on {widest['num_windows']} held-out windows; lower is better. Baselines: an "
        "unchanged state, and the mean of the data, whose error is about 1 by definition of the unit. Do not compare a "
        "model that is conditioned on later actions with one that is not: the error of the latter includes the "
        "randomness of the behaviour policy."
    )
    return plot_panels("errors", "Error of world models and of baselines", caption, panels)


def _error_panel(models: list[Json], quantity: str, styles: RunStyles) -> Panel:
    column = {"states": "obs_mse", "rewards": "rew_mse"}[quantity]
    lines = [
        Line(
            f"{world_model_label(model['name'])}, driven by {model['error']['driven_by']}",
            model["error"]["steps"],
            model["error"][column],
            style=styles.of_model(model["name"]),
        )
        for model in models
    ]
    return Panel(quantity, "predicted step", "mean squared error", lines, yscale="log")


def futures(results: Json, styles: RunStyles) -> Figure:
    """Plot recorded and imagined futures of the same held-out starts."""
    models = [model for model in results["world_models"] if model["futures"]]
    several = len(models) > 1
    panels = [
        _future_panel(model, i, name, styles, several)
        for model in models
        for i in range(len(model["futures"]["starts"]))
        for name in model["futures"]["names"]
    ]
    caption = (
        "Each row is one held-out start with a low, medium or high recorded return. The dark line is the recorded "
        "future. Thin lines are futures that the world model imagines from the same state, first action and "
        "return-to-go, with different noise; they agree with the recording where they surround it closely. The panels "
        "show the state dimensions with the largest variance, and the reward."
    )
    return plot_panels("futures", "Imagined and recorded futures of the same starts", caption, panels, values=False)


def _future_panel(model: Json, start: int, name: str, styles: RunStyles, several: bool) -> Panel:
    future = model["futures"]["starts"][start]
    steps, style = model["futures"]["steps"][name], styles.of_model(model["name"])
    title = f"{future['return']} return: {name}"
    lines = [Line("imagined", steps, values, style=style, faint=True) for values in future["imagined"][name]]
    lines.append(Line("recorded", steps, future["recorded"][name], reference=True, style=Style()))
    prefix = f"{world_model_label(model['name'])}, " if several else ""
    return Panel(prefix + title, "step", "", lines, height=FUTURE_HEIGHT)


def model_calibration(results: Json, styles: RunStyles) -> Figure:
    """Plot the fraction of ended segments and the mean reward by step of each world model."""
    return calibration_figure(model_calibrations(results, styles))


def q_values(results: Json, styles: RunStyles) -> Figure:
    """Plot the mean Q value of each trial over updates, to show overestimation."""
    trials = _logged(results["trials"], "q_mean")
    caption = (
        "One line per trial. Q estimates a discounted return: a line far above the others shows overestimation, and "
        "the policy of that trial is unreliable."
    )
    lines: dict[str, list[Line]] = {}
    for trial in trials:
        line = Line(trial["method"], trial["learning"]["update"], trial["learning"]["q_mean"], style=styles.of(trial))
        lines.setdefault(trial["agent"], []).append(line)
    panels = [Panel(agent_label(name), "updates", "mean Q", curves, yscale="log") for name, curves in lines.items()]
    return plot_panels("q", "Q values", caption, panels, values=False)


def model_losses(results: Json, styles: RunStyles) -> Figure:
    """Plot the loss of each world model on training and held-out windows."""
    lines = []
    for model in _logged(results["world_models"], "loss"):
        name, style, learning = world_model_label(model["name"]), styles.of_model(model["name"]), model["learning"]
        held_out = dict(zip(learning["update"], learning["holdout_loss"], strict=True))
        measured = {update: loss for update, loss in held_out.items() if loss is not None}
        lines.append(Line(f"{name}, training", learning["update"], learning["loss"], style=style, faint=True))
        lines.append(Line(f"{name}, held out", list(measured), list(measured.values()), style=style))
    caption = "Thin: training windows. Thick: held-out windows. Losses of different models are not comparable."
    panel = Panel("", "updates", "loss", lines, yscale="log")
    return plot_panels("losses", "World model training", caption, [panel])


def by_method(trials: Sequence[Json]) -> list[list[Json]]:
    """Group trials by method, model-free methods first, then by name."""
    names = sorted({(trial["world_model"] is not None, trial["method"]) for trial in trials})
    return [[trial for trial in trials if trial["method"] == name] for _, name in names]


def numbers(values: Sequence[float | None]) -> np.ndarray:
    """Return a column of a log as floats; missing values become NaN."""
    return np.array(values, np.float64)


def _logged(items: Sequence[Json], column: str) -> list[Json]:
    """Return the trials or models whose learning log has at least one finite value in a column."""
    return [item for item in items if np.isfinite(numbers(item["learning"][column])).any()]
