"""Figures of outcomes: score by searched axis, error of world models by predicted step."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dwm_ray.experiment.names import world_model_label
from dwm_ray.report.series import Json, by_method, method_keys
from dwm_ray.report.style import INK, WIDTH, Figure, Look, Looks, canvas, legend_above, to_svg
from dwm_ray.report.table import dimensions, label

MAX_COLUMNS = 3
SHIFT = 0.06
"""Sideways distance of two methods' points, as a share of the distance of two values."""
NO_CHANGE: dict[str, Any] = {"color": INK, "linestyle": "--", "alpha": 0.6}


def axis_scores(results: Json, looks: Looks) -> Figure | None:
    """Final score per value of each searched axis, with model-free means as reference lines."""
    done = [trial for trial in results["trials"] if trial["score_mean"] is not None]
    names = [name for name in dimensions(done) if len(_axis_values(done, name)) > 1]
    if not names:
        return None
    columns = min(MAX_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    with canvas(WIDTH / MAX_COLUMNS * max(columns, 2), 2.5 * rows + 0.4) as figure:
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for panel, name in zip(panels.flat, names, strict=False):
            _axis_panel(panel, done, name, looks)
        for unused in panels.flat[len(names) :]:
            unused.remove()
        for panel in panels[:, 0]:
            panel.set_ylabel(results["score_unit"])
        legend_above(figure, method_keys(done, looks), columns)
        svg = to_svg(figure, "axes", f"Final score by value of {', '.join(map(label, names))}")
    caption = (
        "Points are finished trials; lines join the means over all other axes and seeds. Level lines are the means "
        "of model-free trials."
    )
    return Figure("axes", "Score by searched axis", caption, svg)


def _axis_values(trials: list[Json], name: str) -> list[Any]:
    """The distinct values of a searched axis: numbers in order, then words."""
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
        look = looks.of(group[0])
        mean = np.mean([trial["score_mean"] for trial in group])
        panel.axhline(mean, color=look.color, linestyle=look.linestyle, linewidth=1.2, alpha=0.7)
    panel.set_xticks(range(len(values)), [f"{value}" for value in values])
    panel.set(title=label(name), xlim=(-0.4, len(values) - 0.6))


def _axis_line(panel: Axes, trials: list[Json], name: str, values: list[Any], look: Look, shift: float) -> None:
    """Points of one method, moved sideways by `shift` so that methods do not cover each other, and their means."""
    by_value = {v: [t["score_mean"] for t in trials if t["values"].get(name) == v] for v in values}
    for place, scores in enumerate(by_value.values()):
        panel.plot([place + shift] * len(scores), scores, look.marker, color=look.color, alpha=0.45, markersize=4)
    places = [place + shift for place, scores in enumerate(by_value.values()) if scores]
    means = [np.mean(scores) for scores in by_value.values() if scores]
    panel.plot(places, means, color=look.color, linestyle=look.linestyle)


def model_errors(results: Json, looks: Looks) -> Figure | None:
    """Held-out error of each world model by step, against predicting no change."""
    models = [model for model in results["world_models"] if model["error"]]
    if not models:
        return None
    widest = max((model["error"] for model in models), key=lambda error: len(error["steps"]))
    with canvas(WIDTH, 3.3) as figure:
        states, rewards = figure.subplots(1, 2)
        for axes, what, key in ((states, "states", "obs_mse"), (rewards, "rewards", "rew_mse")):
            for model in models:
                axes.plot(model["error"]["steps"], model["error"][key], color=looks.color(model["name"]), marker="o")
            axes.set(title=what, xlabel="predicted step", yscale="log", xticks=widest["steps"])
        states.plot(widest["steps"], widest["no_change_obs_mse"], **NO_CHANGE)
        states.set_ylabel("mean squared error")
        legend_above(figure, _error_keys(models, looks), columns=2)
        svg = to_svg(figure, "errors", f"Prediction error by step of {len(models)} world models, states and rewards")
    caption = (
        f"In squares of {widest['unit']}, on {widest['num_windows']} held-out windows. A model that sees the later "
        "actions and one that does not are not alike: the latter's distance holds the behaviour's randomness too."
    )
    return Figure("errors", "World model error", caption, svg)


def _error_keys(models: list[Json], looks: Looks) -> list[Line2D]:
    drivers = dict.fromkeys((model["name"], model["error"]["driven_by"]) for model in models)
    keys = [
        Line2D([], [], color=looks.color(name), marker="o", label=f"{world_model_label(name)}, driven by {driver}")
        for name, driver in drivers
    ]
    return [*keys, Line2D([], [], label="no change (states)", **NO_CHANGE)]
