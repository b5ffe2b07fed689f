"""Distance of generated data from recorded data, by step, target return-to-go and temperature.

Offline learning is safe where generated data resemble recorded data, and useful where they are better; an optimistic
return-to-go and a low temperature trade one for the other. Distances are MMD² and the nearest-neighbour estimate of
KL(generated || recorded) of states, state-actions (of models that generate later actions) and rewards, together with
the same distances between recorded data. Models that follow a policy follow the cloned behaviour."""

from collections.abc import Callable

import torch

from dwm_ray.evaluation.clone import BehaviourClone
from dwm_ray.evaluation.futures import QUANTITIES, Futures, Quantity, distances
from dwm_ray.options import PositiveInt
from dwm_ray.report.findings import Findings
from dwm_ray.report.panels import Figure, Line, Panel, plot_panels
from dwm_ray.report.table import Cell, Table
from dwm_ray.studies.base import Study, StudyContext, StudyOptions, Subject, subjects, summary_line
from dwm_ray.studies.futures import clone_of, futures_in, generate_like, halves
from dwm_ray.types import Json

METRICS: dict[str, Callable[[Json], float]] = {"MMD²": lambda row: row["mmd"]["value"], "KL": lambda row: row["kl"]}
RECORDED = "recorded halves"
Panels = dict[tuple[str, Quantity], Panel]


class ShiftOptions(StudyOptions):
    """Options of the study."""

    horizon: PositiveInt = 7
    """Maximum number of generated steps; models with shorter segments generate fewer."""
    num_points: PositiveInt = 800
    """Generated and recorded points that are compared per step."""
    target_rtgs: tuple[float, ...] = (0.3, 0.5, 0.7)
    """Target returns-to-go in units of the task's scale, in addition to that of each window."""
    temperatures: tuple[float, ...] = (0.5, 1.0)
    """Scales of the sampling noise, for models that have one."""
    clone_updates: PositiveInt = 3000
    """Gradient steps of the cloned behaviour policy."""


def measure(context: StudyContext, options: ShiftOptions) -> Findings:
    """Measure the distances of all world models and settings."""
    models = subjects(context, options)
    clone = clone_of(context, options.clone_updates, options.study_seed)
    shifts = [shift for subject in models for shift in _shifts_of(context, subject, clone, options)]
    floor = _floor(context, options)
    stats, scale = context.task_data.stats, context.task_data.task.rtg_scale
    return Findings(
        title=f"Shift from the recorded data: {context.config.task}",
        summary=[
            f"{options.num_points} generated and as many recorded points per step, in standard deviations of the data. "
            f"Returns-to-go of the data: {stats.rtg_min / scale:.2f} to {stats.rtg_max / scale:.2f}.",
            summary_line(context, [subject.config for subject in models], options),
        ],
        tables=[_table(metric, [*shifts, floor]) for metric in METRICS],
        figures=[_by_step(shifts, floor)],
        numbers={"shifts": [*shifts, floor]},
    )


def settings_of(subject: Subject, options: ShiftOptions) -> list[tuple[float | None, float | None]]:
    """Return (target return-to-go, temperature) for every combination of sampling options that a world model has.

    A target of None is the window's own; models without a temperature have None.
    """
    rtgs = [None, *options.target_rtgs] if subject.model.uses_rtg else [None]
    temperatures = options.temperatures if "temperature" in subject.model.config.SAMPLING else [None]
    return [(rtg, temperature) for rtg in rtgs for temperature in temperatures]


def _shifts_of(context: StudyContext, subject: Subject, clone: BehaviourClone, options: ShiftOptions) -> list[Json]:
    horizon = min(options.horizon, subject.model.max_horizon)
    windows = context.windows(subject.config, horizon + 1)
    starts, references = halves(windows, options.num_points, context.generator(options.study_seed))
    recorded, shifts = futures_in(context, references), []
    for rtg, temperature in settings_of(subject, options):
        context.log(f"{subject.label}: {_setting(rtg, temperature)}")
        values = {} if temperature is None else {"temperature": temperature}
        model, generator = subject.model.with_options(values), context.generator(options.study_seed + 1)
        segments = generate_like(context, model, starts, clone, generator, rtg)
        futures = futures_in(context, segments)
        rows = _compare(futures, recorded, options, subject.model.starts_from_data)
        shifts.append({"model": subject.label, "target_rtg": rtg, "temperature": temperature, **rows})
    return shifts


def _setting(rtg: float | None, temperature: float | None) -> str:
    description = "own RTG" if rtg is None else f"RTG {rtg:g}"
    return description if temperature is None else f"{description}, temperature {temperature:g}"


def _name(shift: Json) -> str:
    """Return the world model with its sampling options; recorded data have none."""
    if "target_rtg" not in shift:
        return str(shift["model"])
    return f"{shift['model']}, {_setting(shift['target_rtg'], shift['temperature'])}"


def _compare(first: Futures, second: Futures, options: ShiftOptions, given_start: bool) -> Json:
    """Return distances by quantity and step, without the first state-action if it is given to the model."""
    shuffles = torch.Generator().manual_seed(options.study_seed)
    rows: Json = {q: distances(first, second, q, shuffles) for q in QUANTITIES}
    if given_start:
        rows["state-actions"] = [row for row in rows["state-actions"] if row["step"] > 1]
    return rows


def _floor(context: StudyContext, options: ShiftOptions) -> Json:
    """Compare recorded data with recorded data that followed other starts."""
    windows = context.windows(context.config, options.horizon + 1)
    pair = halves(windows, options.num_points, context.generator(options.study_seed))
    first, second = (futures_in(context, half) for half in pair)
    return {"model": RECORDED, **_compare(first, second, options, given_start=True)}


def _table(metric: str, shifts: list[Json]) -> Table:
    rows: list[list[Cell]] = [[_name(shift), *(_mean(shift[q], metric) for q in QUANTITIES)] for shift in shifts]
    unit = " in nats" if metric == "KL" else ""
    note = f"Means over steps{unit}. A value is meaningful if it exceeds that of the recorded halves."
    return Table(f"{metric} from recorded data", ["data", *QUANTITIES], rows, note)


def _mean(rows: list[Json], metric: str) -> float | None:
    """Return the mean over steps; None if no step was compared."""
    return sum(map(METRICS[metric], rows)) / len(rows) if rows else None


def _panels() -> Panels:
    return {
        (metric, quantity): Panel(
            f"{metric}, {quantity}", "generated step", "nats" if metric == "KL" else "distance", []
        )
        for metric in METRICS
        for quantity in QUANTITIES
    }


def _by_step(shifts: list[Json], floor: Json) -> Figure:
    """Plot the first temperature of each model, to keep lines distinguishable."""
    panels, first = _panels(), dict[str, float | None]()
    for shift in shifts:
        if first.setdefault(shift["model"], shift["temperature"]) == shift["temperature"]:
            _add_lines(panels, shift, shift["model"])
    _add_lines(panels, floor, "", reference=True)
    caption = "At the first temperature of the options. The dashed line compares recorded data with recorded data."
    return plot_panels("by-step", "Distance by step", caption, list(panels.values()))


def _add_lines(panels: Panels, shift: Json, group: str, reference: bool = False) -> None:
    for (metric, quantity), panel in panels.items():
        if rows := shift[quantity]:
            steps, values = [row["step"] for row in rows], list(map(METRICS[metric], rows))
            panel.lines.append(Line(_name(shift), steps, values, group, reference))


STUDY = Study(ShiftOptions, measure)
