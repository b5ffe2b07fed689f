"""Distance of generated data from recorded data, by step, target return-to-go and temperature.

Offline learning is safe where generated data resemble recorded data, and useful where they are better; an optimistic
return-to-go and a low temperature trade one for the other. Distances are MMD² and the nearest-neighbour estimate of
KL(generated || recorded) of states, state-actions (of models that generate later actions) and rewards, together with
the same distances between recorded data. Models that follow a policy follow the cloned behaviour."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from dwm_ray.evaluation.clone import BehaviourClone
from dwm_ray.evaluation.futures import QUANTITIES, Futures, Quantity, StepDistance, distances
from dwm_ray.options import PositiveInt
from dwm_ray.report.findings import Findings
from dwm_ray.report.panels import Figure, Line, Panel, plot_panels
from dwm_ray.report.table import Cell, Table
from dwm_ray.studies.base import Study, StudyContext, StudyOptions, Subject, subjects, summary_line
from dwm_ray.studies.futures import clone_of, futures_in, generate_like, halves

METRICS: dict[str, Callable[[StepDistance], float]] = {"MMD²": lambda row: row.mmd.value, "KL": lambda row: row.kl}
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


@dataclass(frozen=True)
class Setting:
    """Sampling options of a world model."""

    rtg: float | None
    """Target return-to-go; None uses the window's own."""
    temperature: float | None
    """None for models without a temperature."""

    def describe(self) -> str:
        rtg = "own RTG" if self.rtg is None else f"RTG {self.rtg:g}"
        return rtg if self.temperature is None else f"{rtg}, temperature {self.temperature:g}"


@dataclass(frozen=True)
class Shift:
    """Distances of one setting by quantity."""

    label: str
    setting: Setting | None
    """None for recorded data."""
    rows: dict[Quantity, list[StepDistance]]

    @property
    def name(self) -> str:
        return self.label if self.setting is None else f"{self.label}, {self.setting.describe()}"

    def mean(self, quantity: Quantity, metric: str) -> float | None:
        """Return the mean over steps; None if no step was compared."""
        values = [METRICS[metric](row) for row in self.rows[quantity]]
        return sum(values) / len(values) if values else None


def measure(context: StudyContext, options: ShiftOptions) -> Findings:
    """Measure the distances of all world models and settings."""
    chosen = subjects(context, options)
    clone = clone_of(context, options.clone_updates, options.study_seed)
    shifts = [shift for subject in chosen for shift in _shifts_of(context, subject, clone, options)]
    floor = _floor(context, options)
    stats, scale = context.task_data.stats, context.task_data.task.rtg_scale
    return Findings(
        title=f"Shift from the recorded data: {context.config.task}",
        summary=[
            f"{options.num_points} generated and as many recorded points per step, in standard deviations of the data. "
            f"Returns-to-go of the data: {stats.rtg_min / scale:.2f} to {stats.rtg_max / scale:.2f}.",
            summary_line(context, [subject.config for subject in chosen], options),
        ],
        tables=[_table(metric, [*shifts, floor]) for metric in METRICS],
        figures=[_by_step(shifts, floor)],
        numbers={"shifts": [_numbers(shift) for shift in [*shifts, floor]]},
    )


def settings_of(subject: Subject, options: ShiftOptions) -> list[Setting]:
    """Return every combination of sampling options that a world model has."""
    rtgs = [None, *options.target_rtgs] if subject.model.uses_rtg else [None]
    temperatures = options.temperatures if "temperature" in subject.model.config.SAMPLING else [None]
    return [Setting(rtg, temperature) for rtg in rtgs for temperature in temperatures]


def _shifts_of(context: StudyContext, subject: Subject, clone: BehaviourClone, options: ShiftOptions) -> list[Shift]:
    horizon = min(options.horizon, subject.model.max_horizon)
    windows = context.windows(subject.config, horizon + 1)
    starts, others = halves(windows, options.num_points, context.generator(options.study_seed))
    recorded, found = futures_in(context, others), []
    for setting in settings_of(subject, options):
        context.log(f"{subject.label}: {setting.describe()}")
        values = {} if setting.temperature is None else {"temperature": setting.temperature}
        model, generator = subject.model.with_options(values), context.generator(options.study_seed + 1)
        segments = generate_like(context, model, starts, clone, generator, setting.rtg)
        futures = futures_in(context, segments)
        rows = _compare(futures, recorded, options, subject.model.starts_from_data)
        found.append(Shift(subject.label, setting, rows))
    return found


def _compare(
    first: Futures, second: Futures, options: ShiftOptions, given_start: bool
) -> dict[Quantity, list[StepDistance]]:
    """Return distances by quantity, without the first state-action if it is given to the model."""
    shuffles = torch.Generator().manual_seed(options.study_seed)
    rows = {quantity: distances(first, second, quantity, shuffles) for quantity in QUANTITIES}
    if given_start:
        rows["state-actions"] = [row for row in rows["state-actions"] if row.step > 1]
    return rows


def _floor(context: StudyContext, options: ShiftOptions) -> Shift:
    """Compare recorded data with recorded data that followed other starts."""
    windows = context.windows(context.config, options.horizon + 1)
    pair = halves(windows, options.num_points, context.generator(options.study_seed))
    first, second = (futures_in(context, half) for half in pair)
    return Shift(RECORDED, None, _compare(first, second, options, given_start=True))


def _table(metric: str, shifts: list[Shift]) -> Table:
    rows: list[list[Cell]] = [[shift.name, *(shift.mean(q, metric) for q in QUANTITIES)] for shift in shifts]
    unit = " in nats" if metric == "KL" else ""
    note = f"Means over steps{unit}. A value is meaningful if it exceeds that of the recorded halves."
    return Table(f"{metric} from recorded data", ["data", *QUANTITIES], rows, note)


def _panels() -> Panels:
    return {
        (metric, quantity): Panel(
            f"{metric}, {quantity}", "generated step", "nats" if metric == "KL" else "distance", []
        )
        for metric in METRICS
        for quantity in QUANTITIES
    }


def _by_step(shifts: list[Shift], floor: Shift) -> Figure:
    """Plot the first temperature of each model, to keep lines distinguishable."""
    panels, first = _panels(), dict[str, float | None]()
    for shift in shifts:
        assert shift.setting is not None
        if first.setdefault(shift.label, shift.setting.temperature) == shift.setting.temperature:
            _add_lines(panels, shift, shift.label)
    _add_lines(panels, floor, "", reference=True)
    caption = "At the first temperature of the options. The dashed line is recorded against recorded data."
    return plot_panels("by-step", "Distance by step", caption, list(panels.values()))


def _add_lines(panels: Panels, shift: Shift, group: str, reference: bool = False) -> None:
    for (metric, quantity), panel in panels.items():
        if rows := shift.rows[quantity]:
            values = [METRICS[metric](row) for row in rows]
            panel.lines.append(Line(shift.name, [row.step for row in rows], values, group, reference))


def _numbers(shift: Shift) -> dict[str, Any]:
    setting = shift.setting
    options = {} if setting is None else {"target_rtg": setting.rtg, "temperature": setting.temperature}
    return {
        "model": shift.label,
        **options,
        **{quantity: [asdict(row) for row in rows] for quantity, rows in shift.rows.items()},
    }


STUDY = Study(ShiftOptions, measure)
