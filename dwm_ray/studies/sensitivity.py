"""Effect of world-model and synthesis options on prediction error and generated data.

Each axis is varied while the others are constant. For every point, the world model is trained unless it is stored, its
error by step is measured on held-out episodes, and a block of segments is generated and filtered as in the run. The
effect on scores is the subject of a sweep."""

from collections import Counter

import torch
from torch import Tensor

from dwm_ray.blocks.stream import generate_from
from dwm_ray.config import RunConfig
from dwm_ray.errors import reason
from dwm_ray.evaluation.clone import BehaviourClone
from dwm_ray.evaluation.model_error import prediction_error
from dwm_ray.experiment import profiles
from dwm_ray.experiment.dimension import Dimension
from dwm_ray.experiment.names import world_model_label
from dwm_ray.experiment.plan import effective
from dwm_ray.experiment.search_space import describe, parse_dimension
from dwm_ray.options import PositiveInt
from dwm_ray.replay.sources import selection, start_rtg
from dwm_ray.report.findings import Findings
from dwm_ray.report.panels import Figure, Line, Panel, plot_panels
from dwm_ray.report.table import Cell, Table
from dwm_ray.studies.base import Study, StudyContext, StudyOptions, configs_of, summary_line
from dwm_ray.studies.bursts import timed
from dwm_ray.studies.futures import clone_of
from dwm_ray.types import Json, Segments
from dwm_ray.world_models.base import WorldModel

FIGURES = {
    "error": "mean squared error",
    "reward": "generated reward per step",
    "outside": "fraction outside the range of the data",
}
"""Quantities that are plotted by option -> axis label."""
STREAM_HEADERS = ("reward", "recorded", "outside", "ended", "penalty", "selected", "segments/s")
STREAM_NOTE = (
    "Of selected rows: generated reward per step, reward of the recorded steps that segments start from, fraction of "
    "state entries outside the range of the data, penalty of the model. Of all rows: fraction of segments that end the "
    "task, fraction of rows that the filter selects, segments per second."
)


class SensitivityOptions(StudyOptions):
    """Options of the study."""

    world_models: tuple[str, ...] = ("dwm",)
    axes: tuple[str, ...] = ("target_rtg", "sequence_length", "diffusion_steps", "solver_steps")
    """Axes of tune_spaces, NAME=V1,V2 for other values, or PATH=V1,V2 for an option without an axis, by its dotted
    path, such as world_model.num_refinements=1,2."""
    num_windows: PositiveInt = 1024
    """Held-out windows for the errors."""
    num_segments: PositiveInt = 2048
    """Segments that are generated per point for the statistics."""
    clone_updates: PositiveInt = 2000
    """Gradient steps of the cloned behaviour policy, which drives world models that follow a policy."""


def measure(context: StudyContext, options: SensitivityOptions) -> Findings:
    """Measure all points. Raise ValueError if no point can run."""
    if options.run is not None:
        raise ValueError("--run: this study varies options of training; expected it to be unset")
    axes = [parse_dimension(axis, "--axes") for axis in options.axes]
    dropped = Counter[str]()
    bases = configs_of(context, options)
    clone = clone_of(context, options.clone_updates, options.study_seed)
    outcomes = [outcome for base in bases for outcome in _outcomes(context, base, axes, clone, options, dropped)]
    if not outcomes:
        raise ValueError(f"--axes: no point can run: {'; '.join(dropped)}")
    rows: list[list[Cell]] = [
        [outcome["model"], describe(outcome["point"]), *outcome["stream"].values()] for outcome in outcomes
    ]
    return Findings(
        title=f"Sensitivity: {context.config.task}",
        summary=[
            f"Errors on up to {options.num_windows} windows of held-out episodes; statistics of {options.num_segments} "
            f"segments; agent {profiles.name_of(context.config.agent)}.",
            summary_line(context, bases, options),
            *(f"{count} points left out: {cause}." for cause, count in dropped.items()),
        ],
        tables=[
            _error_table(outcomes),
            Table("Generated data", ["model", "point", *STREAM_HEADERS], rows, STREAM_NOTE),
        ],
        figures=[*_by_value(context, outcomes, axes), _by_step(outcomes)],
        numbers={"outcomes": outcomes},
    )


def _outcomes(
    context: StudyContext,
    base: RunConfig,
    axes: list[Dimension],
    clone: BehaviourClone,
    options: SensitivityOptions,
    dropped: Counter[str],
) -> list[Json]:
    """Return the point, the error by step and the statistics of the stream for every point that can run.

    The error is None for a model that does not start from recorded pairs.
    """
    label, outcomes = world_model_label(profiles.name_of(base.world_model)), []
    paths = {axis.name: axis.path for axis in axes}
    candidates = [{axis.name: value} for axis in axes for value in axis.for_profile(context.profile)]
    points = [effective(base, point, paths) for point in candidates]
    for point in [point for i, point in enumerate(points) if point and point not in points[:i]]:
        try:
            config = base.with_values({paths[name]: value for name, value in point.items()})
        except ValueError as error:  # includes pydantic's ValidationError
            dropped[reason(error)] += 1
            continue
        context.log(f"{label}: {describe(point)}")
        model = context.trained(config)
        stream = _stream_statistics(context, config, model, clone, options.num_segments, options.study_seed)
        errors = _error(context, config, model, options)
        outcomes.append({"model": label, "point": point, "error": errors, "stream": stream})
    return outcomes


def _error(context: StudyContext, config: RunConfig, model: WorldModel, options: SensitivityOptions) -> Json | None:
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


def _quantity(outcome: Json, name: str) -> float | None:
    """Return a quantity that is plotted by option."""
    if name != "error":
        return float(outcome["stream"][name])
    errors = outcome["error"] and outcome["error"]["obs_mse"]
    return sum(errors) / len(errors) if errors else None


def _error_table(outcomes: list[Json]) -> Table:
    rows: list[list[Cell]] = []
    for outcome in outcomes:
        last = outcome["error"]["obs_mse"][-1] if outcome["error"] else None
        rows.append([outcome["model"], describe(outcome["point"]), _quantity(outcome, "error"), last])
    note = "Mean squared error of states, in squares of standard deviations of the data; the last step of DWM is T - 1."
    return Table("Error", ["model", "point", "all steps", "last step"], rows, note)


def _by_value(context: StudyContext, outcomes: list[Json], axes: list[Dimension]) -> list[Figure]:
    """Plot quantities by the values of each axis."""
    return [
        plot_panels(name, f"By option: {label}", "", [_panel(context, outcomes, axis, name) for axis in axes])
        for name, label in FIGURES.items()
    ]


def _panel(context: StudyContext, outcomes: list[Json], axis: Dimension, name: str) -> Panel:
    values = axis.for_profile(context.profile)
    points: dict[str, dict[float, float]] = {}
    for outcome in outcomes:
        value, measured = outcome["point"].get(axis.name), _quantity(outcome, name)
        if value is not None and measured is not None:
            x = values.index(value) if isinstance(value, str) else float(value)
            points.setdefault(outcome["model"], {})[x] = measured
    lines = [Line(label, sorted(curve), [curve[x] for x in sorted(curve)]) for label, curve in points.items()]
    return Panel(axis.name, axis.name, FIGURES[name], lines)


def _by_step(outcomes: list[Json]) -> Figure:
    panels: dict[str, Panel] = {}
    for outcome in outcomes:
        if error := outcome["error"]:
            names = ", ".join(outcome["point"])
            panel = panels.setdefault(names, Panel(names, "predicted step", "mean squared error", [], yscale="log"))
            label = f"{outcome['model']} {describe(outcome['point'])}"
            panel.lines.append(Line(label, error["steps"], error["obs_mse"], names))
    caption = "States, on held-out episodes, in squares of standard deviations of the data."
    return plot_panels("by-step", "Error by step", caption, list(panels.values()))


def _stream_statistics(
    context: StudyContext, config: RunConfig, model: WorldModel, clone: BehaviourClone, num_segments: int, seed: int
) -> dict[str, float]:
    """Return statistics of a block, filtered as in the run: the data that a learner would receive.

    Segments start from random recorded pairs. A model that follows a policy follows the clone.
    """
    generator = context.generator(seed)
    starts = context.task_data.start_pairs(config.training.discount, context.device)
    rows = torch.randint(len(starts), (num_segments,), generator=generator, device=context.device)
    rtg = start_rtg(config, context.task_data, context.device)
    pairs, results = starts[rows], list[Segments]()

    def sample() -> None:
        segments = generate_from(
            model,
            pairs,
            context.task_data.task.termination,
            config.training.discount,
            policy=clone.policy(generator),
            horizon=min(config.synthesis.horizon, model.max_horizon),
            rtg=rtg[rows],
            generator=generator,
        )
        results.append(segments)

    seconds = timed(sample, context.device)
    [segments], select = results, selection(config)
    selected = select.apply(segments, generator)
    # The step that ends the task counts; later ones do not.
    alive = selected.alive
    return {
        "reward": _mean_over(selected.rew, alive),
        "recorded_reward": float(starts.rew[rows].mean()),
        "outside": _outside(context, selected.obs[:, 1:][alive]),
        "ended": float((segments.discount[:, -1] == 0).float().mean()),
        "penalty": _mean_over(selected.penalty, alive),
        "selected": len(selected) / (num_segments * select.rows_per_segment),
        "segments_per_s": num_segments / seconds,
    }


def _mean_over(values: Tensor, mask: Tensor) -> float:
    return float((values * mask).sum() / mask.sum())


def _outside(context: StudyContext, states: Tensor) -> float:
    """Return the fraction of entries [..., O] outside the recorded range of their dimension."""
    obs = torch.from_numpy(context.task_data.episodes.obs).to(states.device)
    low, high = obs.amin(0), obs.amax(0)
    return float(((states < low) | (states > high)).float().mean())


STUDY = Study(SensitivityOptions, measure)
