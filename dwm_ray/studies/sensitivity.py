"""Effect of world-model and synthesis options on prediction error, generated data and, optionally, scores.

Each axis is varied while the others are constant (--together: all combinations, needed for T against H). For
every point the world model is trained or found, its error by step is measured on held-out episodes, and a block of
segments is generated and filtered as in the run. Scores need a complete run per point: runs are trained in this process
and stored, so that the study can be stopped and restarted."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dwm_ray import __version__
from dwm_ray.config import RunConfig
from dwm_ray.errors import reason
from dwm_ray.evaluation.clone import BehaviourClone
from dwm_ray.evaluation.model_error import ModelError, prediction_error
from dwm_ray.experiment import profiles
from dwm_ray.experiment.dimension import Value
from dwm_ray.experiment.names import world_model_label
from dwm_ray.experiment.plan import effective
from dwm_ray.experiment.search_space import Point, Trial, describe, grid, parse_dimension
from dwm_ray.local.services import LocalServices
from dwm_ray.options import PositiveInt
from dwm_ray.report.findings import Findings
from dwm_ray.report.panels import Figure, Line, Panel, plot_panels
from dwm_ray.report.table import Cell, Table
from dwm_ray.runs.folder import read_json, status_of
from dwm_ray.runs.row_log import read_rows
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.studies.base import Study, StudyContext, StudyOptions, configs_of, summary_line
from dwm_ray.studies.futures import clone_of
from dwm_ray.studies.stream import StreamStatistics, stream_statistics
from dwm_ray.training.trials import train_trials
from dwm_ray.world_models.base import WorldModel

FIGURES = {
    "error": "mean squared error",
    "reward": "generated reward per step",
    "outside": "fraction outside the range of the data",
    "score": "score",
}
"""Quantities that are plotted by option -> axis label."""


@dataclass(frozen=True)
class Axis:
    """An option and its values."""

    name: str
    path: str
    values: tuple[Value, ...]


class SensitivityOptions(StudyOptions):
    """Options of the study."""

    world_models: tuple[str, ...] = ("dwm",)
    """World models to study, or 'all'. The one chosen by --world-model has the options of the command line; others have
    their presets."""
    axes: tuple[str, ...] = ("target_rtg", "sequence_length", "diffusion_steps", "solver_steps")
    """Axes of tune_spaces, NAME=V1,V2 for other values, or PATH=V1,V2 for an option without an axis, by its dotted
    path, such as world_model.num_refinements=1,2."""
    together: bool = False
    """Vary all axes together instead of one at a time."""
    with_scores: bool = False
    """Train and evaluate an agent at each point, which takes minutes to hours per point."""
    num_windows: PositiveInt = 1024
    """Held-out windows for the errors."""
    num_segments: PositiveInt = 2048
    """Segments that are generated per point for the statistics."""
    clone_updates: PositiveInt = 2000
    """Gradient steps of the cloned behaviour policy, which drives world models that follow a policy."""


@dataclass(frozen=True)
class Outcome:
    """Measurements at one point."""

    label: str
    point: Point
    error: ModelError | None
    """None for a model that does not start from recorded pairs."""
    stream: StreamStatistics
    score: float | None

    def quantities(self) -> dict[str, float | None]:
        """Return the quantities that are plotted by option."""
        mean_error = None if self.error is None else sum(self.error.obs_mse) / len(self.error.obs_mse)
        stream = {"reward": self.stream.reward, "outside": self.stream.outside}
        return {"error": mean_error, **stream, "score": self.score}


def measure(context: StudyContext, options: SensitivityOptions) -> Findings:
    """Measure all points. Raise ValueError if no point can run."""
    if options.run is not None:
        raise ValueError("--run: this study varies options of training; expected it to be unset")
    parsed = [parse_dimension(text, "--axes") for text in options.axes]
    axes = [Axis(one.name, one.path, one.for_profile(context.profile)) for one in parsed]
    dropped = Counter[str]()
    bases = configs_of(context, options)
    clone = clone_of(context, options.clone_updates, options.study_seed)
    outcomes = [outcome for base in bases for outcome in _outcomes(context, base, axes, clone, options, dropped)]
    if not outcomes:
        raise ValueError(f"--axes: no point can run: {'; '.join(dropped)}")
    headers = ["model", "point", *StreamStatistics.HEADERS]
    rows: list[list[Cell]] = [[one.label, describe(one.point), *one.stream.cells()] for one in outcomes]
    return Findings(
        title=f"Sensitivity: {context.config.task}",
        summary=[
            f"Errors on up to {options.num_windows} windows of held-out episodes; statistics of {options.num_segments} "
            f"segments; agent {profiles.name_of(context.config.agent)}.",
            summary_line(context, bases, options),
            *(f"{count} points left out: {why}." for why, count in dropped.items()),
        ],
        tables=[_error_table(outcomes), Table("Generated data", headers, rows, StreamStatistics.NOTE)],
        figures=[*_by_value(outcomes, axes, options), _by_step(outcomes)],
        numbers={"outcomes": [_numbers(outcome) for outcome in outcomes]},
    )


def _outcomes(
    context: StudyContext,
    base: RunConfig,
    axes: list[Axis],
    clone: BehaviourClone,
    options: SensitivityOptions,
    dropped: Counter[str],
) -> list[Outcome]:
    label, found = world_model_label(profiles.name_of(base.world_model)), []
    paths = {axis.name: axis.path for axis in axes}
    one_at_a_time = [{axis.name: value} for axis in axes for value in axis.values]
    chosen = grid((axis.name, axis.values) for axis in axes) if options.together else one_at_a_time
    points = [effective(base, point, paths) for point in chosen]
    for point in [point for i, point in enumerate(points) if point and point not in points[:i]]:
        try:
            config = base.with_values({paths[name]: value for name, value in point.items()})
        except ValueError as error:  # includes pydantic's ValidationError
            dropped[reason(error)] += 1
            continue
        context.log(f"{label}: {describe(point)}")
        model = context.trained(config)
        stream = stream_statistics(context, config, model, clone, options.num_segments, options.study_seed)
        score = _score(context, config, point) if options.with_scores else None
        found.append(Outcome(label, point, _error(context, config, model, options), stream, score))
    return found


def _error(
    context: StudyContext, config: RunConfig, model: WorldModel, options: SensitivityOptions
) -> ModelError | None:
    if not model.starts_from_data:
        return None
    steps = min(model.max_horizon, model.sequence_length - 1 if model.sequence_length > 2 else config.synthesis.horizon)
    return prediction_error(
        model,
        context.holdout(config, steps + 1),
        context.task_data.stats.obs_std,
        float(context.task_data.episodes.rew.std()),
        context.generator(options.study_seed),
        num_windows=options.num_windows,
    )


def _score(context: StudyContext, config: RunConfig, point: Point) -> float | None:
    """Return the mean score of the last checkpoint; None if learning diverged. An earlier study's run with the same
    data and code is reused."""
    trial = Trial(config, point)
    folder = context.store.trial(trial.id)
    made_of = {"data": context.task_data.identity.fingerprint, "code": __version__}
    if status_of(folder) != "done" or read_json(folder / "made_of.json") != made_of:
        context.log(f"  trial {trial.id}: {config.training.num_updates} updates of {profiles.name_of(config.agent)}")
        write_json(folder / "config.json", config.model_dump(mode="json"))
        train_trials([config], context.task_data, context.store, LocalServices(context.task_data, context.store))
        if status_of(folder) == "failed":
            context.log(f"  {read_json(folder / 'status.json')['error']}")
            return None
        write_json(folder / "made_of.json", made_of)
    return float(read_rows(folder / "evaluations.jsonl")[-1]["score_mean"])


def _error_table(outcomes: list[Outcome]) -> Table:
    rows: list[list[Cell]] = []
    for one in outcomes:
        last = None if one.error is None else one.error.obs_mse[-1]
        rows.append([one.label, describe(one.point), one.quantities()["error"], last, one.score])
    note = "Mean squared error of states, in squares of standard deviations of the data; the last step of DWM is T - 1."
    return Table("Error and score", ["model", "point", "all steps", "last step", "score"], rows, note)


def _by_value(outcomes: list[Outcome], axes: list[Axis], options: SensitivityOptions) -> list[Figure]:
    """Plot quantities by the values of each axis; means if other axes vary too."""
    caption = "Means over the other axes, if they vary."
    return [
        plot_panels(name, f"By option: {label}", caption, [_panel(outcomes, axis, name) for axis in axes])
        for name, label in FIGURES.items()
        if name != "score" or options.with_scores
    ]


def _panel(outcomes: list[Outcome], axis: Axis, name: str) -> Panel:
    rows = [
        {"label": one.label, "x": _position(axis, one.point[axis.name]), "y": one.quantities()[name]}
        for one in outcomes
        if one.point.get(axis.name) is not None
    ]
    panel = Panel(axis.name, axis.name, FIGURES[name], [])
    known = pd.DataFrame(rows, columns=["label", "x", "y"]).dropna()
    for label, group in known.groupby("label", sort=False):
        means = group.groupby("x").y.mean()
        panel.lines.append(Line(str(label), means.index.tolist(), means.tolist()))
    return panel


def _position(axis: Axis, value: Any) -> float:
    """Return the position of a value on the axis of a plot."""
    return axis.values.index(value) if isinstance(value, str) else float(value)


def _by_step(outcomes: list[Outcome]) -> Figure:
    panels: dict[str, Panel] = {}
    for one in outcomes:
        if one.error is not None:
            names, steps = ", ".join(one.point), range(1, len(one.error.obs_mse) + 1)
            panel = panels.setdefault(names, Panel(names, "predicted step", "mean squared error", [], yscale="log"))
            panel.lines.append(Line(f"{one.label} {describe(one.point)}", steps, one.error.obs_mse, names))
    caption = "States, on held-out episodes, in squares of standard deviations of the data."
    return plot_panels("by-step", "Error by step", caption, list(panels.values()))


def _numbers(outcome: Outcome) -> dict[str, Any]:
    return {
        "model": outcome.label,
        "point": outcome.point,
        "error": None if outcome.error is None else outcome.error.to_json(),
        "stream": outcome.stream.to_json(),
        "score_mean": outcome.score,
    }


STUDY = Study(SensitivityOptions, measure)
