"""What the options of world model and synthesis do: error, imagined data and, if asked for, scores.

Each axis is varied while the others stay as they are (--together: all combinations, as T against H needs). For every
point the world model is trained or found, its error by step measured on held-out episodes, and a block of segments
imagined and filtered as the run's learner would get it. Scores need a whole run for every point: they are trained in
this process, and kept, so that the study can be stopped and started again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from dwm_ray import __version__
from dwm_ray.config import RunConfig
from dwm_ray.evaluation.clone import BehaviourClone
from dwm_ray.evaluation.model_error import ModelError, prediction_error
from dwm_ray.experiment import profiles
from dwm_ray.experiment.names import world_model_label
from dwm_ray.experiment.plan import effective
from dwm_ray.experiment.search_space import Point, Trial, describe
from dwm_ray.local.run import run
from dwm_ray.options import PositiveInt
from dwm_ray.report.findings import Findings
from dwm_ray.report.panels import Line, Panel, plot_panels
from dwm_ray.report.style import Figure
from dwm_ray.report.table import Cell, Table
from dwm_ray.runs.folder import read_json, status_of
from dwm_ray.runs.row_log import read_rows
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.studies.base import Lab, Study, StudyOptions, configs_of, used, with_updates
from dwm_ray.studies.futures import clone_of
from dwm_ray.studies.points import Axis, applied, parse_axis, points_of
from dwm_ray.studies.stream import StreamStatistics, stream_statistics
from dwm_ray.training.agent import NonFiniteLoss
from dwm_ray.world_models.base import WorldModel


class SensitivityOptions(StudyOptions):
    """Options of the study."""

    world_models: tuple[str, ...] = ("dwm",)
    """World models to study, or 'all'. The one of --world-model takes its flags, others their presets."""
    axes: tuple[str, ...] = ("target_rtg", "sequence_length", "diffusion_steps", "solver_steps")
    """Axes of tune_spaces, NAME=V1,V2 for values of your own, or PATH=V1,V2 for an option by its dotted path."""
    together: bool = False
    """Every combination of the axes, in place of one at a time."""
    with_scores: bool = False
    """Train and evaluate an agent at each point: minutes to hours each."""
    num_windows: PositiveInt = 1024
    """Held-out windows for the errors."""
    num_segments: PositiveInt = 2048
    """Segments that are imagined for the statistics of each point."""
    clone_updates: PositiveInt = 2000
    """Gradient steps of the cloned behaviour policy, which drives world models that follow one."""


@dataclass(frozen=True)
class Outcome:
    """What came out at one point."""

    label: str
    point: Point
    error: ModelError | None
    """None for a model that does not start where it is told to."""
    stream: StreamStatistics
    score: float | None

    @property
    def mean_error(self) -> float | None:
        return None if self.error is None else sum(self.error.obs_mse) / len(self.error.obs_mse)


def measure(lab: Lab, options: SensitivityOptions) -> Findings:
    """See the module."""
    if options.run is not None:
        raise ValueError("--run: this study varies options of training; it trains its own world models")
    axes, dropped = [parse_axis(text, lab.profile) for text in options.axes], Counter[str]()
    bases = [with_updates(config, options) for config in configs_of(lab, options)]
    clone = clone_of(lab, options.clone_updates, options.study_seed)
    outcomes = [outcome for base in bases for outcome in _outcomes(lab, base, axes, clone, options, dropped)]
    if not outcomes:
        raise ValueError(f"--axes: no point can run: {'; '.join(dropped)}")
    skipped = [f"{count} points left out: {why}." for why, count in dropped.items()]
    return Findings(
        title=f"Sensitivity: {lab.config.task}",
        summary=[
            f"Errors on up to {options.num_windows} windows of held-out episodes; statistics of {options.num_segments} "
            f"segments; agent {profiles.name_of(lab.config.agent)}.",
            used(lab, bases, options),
            *skipped,
        ],
        tables=[_error_table(outcomes), _stream_table(outcomes)],
        figures=[*_by_value(outcomes, axes, options), _by_step(outcomes)],
        numbers={"outcomes": [_numbers(outcome) for outcome in outcomes]},
    )


def _outcomes(
    lab: Lab,
    base: RunConfig,
    axes: list[Axis],
    clone: BehaviourClone,
    options: SensitivityOptions,
    dropped: Counter[str],
) -> list[Outcome]:
    label, found = world_model_label(profiles.name_of(base.world_model)), []
    points = [effective(base, point) for point in points_of(axes, options.together)]
    for point in [point for i, point in enumerate(points) if point and point not in points[:i]]:
        config = applied(base, point, axes, dropped)
        if config is None:
            continue
        lab.say(f"{label}: {describe(point)}")
        model = lab.trained(config)
        stream = stream_statistics(lab, config, model, clone, options.num_segments, options.study_seed)
        score = _score(lab, config, point) if options.with_scores else None
        found.append(Outcome(label, point, _error(lab, config, model, options), stream, score))
    return found


def _error(lab: Lab, config: RunConfig, model: WorldModel, options: SensitivityOptions) -> ModelError | None:
    if not model.starts_from_data:
        return None
    steps = min(model.max_horizon, model.sequence_length - 1 if model.sequence_length > 2 else config.synthesis.horizon)
    return prediction_error(
        model,
        lab.holdout(config, steps + 1),
        lab.task_data.stats.obs_std,
        float(lab.task_data.episodes.rew.std()),
        lab.generator(options.study_seed),
        num_windows=options.num_windows,
    )


def _score(lab: Lab, config: RunConfig, point: Point) -> float | None:
    """Mean score of the last checkpoint, from an earlier study of the same data and code or from a run that is made
    now; None where learning diverged."""
    trial = Trial(config, point)
    folder, made_of = lab.store.trial(trial.id), {"data": lab.task_data.identity.fingerprint, "code": __version__}
    if status_of(folder) != "done" or read_json(folder / "made_of.json") != made_of:
        lab.say(f"  trial {trial.id}: {config.training.num_updates} updates of {profiles.name_of(config.agent)}")
        write_json(folder / "config.json", config.model_dump(mode="json"))
        try:
            run(config, lab.store)
        except NonFiniteLoss as error:
            lab.say(f"  {error}")
            return None
        write_json(folder / "made_of.json", made_of)
    return float(read_rows(folder / "evaluations.jsonl")[-1]["score_mean"])


def _error_table(outcomes: list[Outcome]) -> Table:
    rows: list[list[Cell]] = [
        [
            outcome.label,
            describe(outcome.point),
            outcome.mean_error,
            None if outcome.error is None else outcome.error.obs_mse[-1],
            outcome.score,
        ]
        for outcome in outcomes
    ]
    note = "Mean squared error of states, in squares of standard deviations of the data; DWM's last step is T - 1."
    return Table("Error and score", ["model", "point", "all steps", "last step", "score"], rows, note)


def _stream_table(outcomes: list[Outcome]) -> Table:
    rows: list[list[Cell]] = [[one.label, describe(one.point), *one.stream.cells()] for one in outcomes]
    return Table("Imagined data", ["model", "point", *StreamStatistics.HEADERS], rows, StreamStatistics.NOTE)


def _by_value(outcomes: list[Outcome], axes: list[Axis], options: SensitivityOptions) -> list[Figure]:
    """Error, imagined reward and score against the values of each axis; means where other axes vary too."""
    reads: list[tuple[str, str, Any]] = [
        ("error", "mean squared error", lambda outcome: outcome.mean_error),
        ("reward", "imagined reward a step", lambda outcome: outcome.stream.reward),
        ("outside", "share outside the data's range", lambda outcome: outcome.stream.outside),
    ]
    if options.with_scores:
        reads.append(("score", "score", lambda outcome: outcome.score))
    caption = "Means over the other axes, where they vary."
    return [
        plot_panels(name, f"By option: {ylabel}", caption, [_panel(outcomes, axis, ylabel, read) for axis in axes])
        for name, ylabel, read in reads
    ]


def _panel(outcomes: list[Outcome], axis: Axis, ylabel: str, read: Any) -> Panel:
    panel = Panel(axis.name, axis.name, ylabel, [])
    for label in dict.fromkeys(outcome.label for outcome in outcomes):
        groups: dict[float, list[float]] = {}
        for outcome in outcomes:
            value, result = outcome.point.get(axis.name), read(outcome)
            if outcome.label == label and value is not None and result is not None:
                place = axis.values.index(value) if isinstance(value, str) else float(value)
                groups.setdefault(place, []).append(result)
        x = sorted(groups)
        if x:
            panel.lines.append(Line(label, x, [sum(groups[value]) / len(groups[value]) for value in x]))
    return panel


def _by_step(outcomes: list[Outcome]) -> Figure:
    panels: dict[str, Panel] = {}
    for outcome in outcomes:
        if outcome.error is None:
            continue
        names = ", ".join(outcome.point)
        panel = panels.setdefault(names, Panel(names, "predicted step", "mean squared error", [], log=True))
        steps = range(1, len(outcome.error.obs_mse) + 1)
        panel.lines.append(Line(f"{outcome.label} {describe(outcome.point)}", steps, outcome.error.obs_mse, names))
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


STUDY = Study(
    name="sensitivity",
    help="what options do to error, imagined data and scores: return-to-go, T against H, K, N, and any other axis",
    options=SensitivityOptions,
    measure=measure,
)
