"""How far imagined data lie from the behaviour's, by step, return-to-go asked for and temperature.

Offline learning is safe where imagined data look like recorded data, and useful where they are better; an optimistic
return-to-go and a low temperature trade one for the other. Distances are MMD^2 and the nearest-neighbour estimate of
KL(imagined || recorded), of states, of state-actions (models that imagine the later actions) and of rewards, each
beside the same figure for recorded data against recorded data. Models that follow a policy follow the cloned behaviour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from dwm_ray.evaluation.clone import BehaviourClone
from dwm_ray.evaluation.futures import QUANTITIES, Futures, Quantity, StepDistance, distances
from dwm_ray.options import PositiveInt
from dwm_ray.report.findings import Findings
from dwm_ray.report.panels import Line, Panel, plot_panels
from dwm_ray.report.style import Figure
from dwm_ray.report.table import Cell, Table
from dwm_ray.studies.base import Lab, Study, StudyOptions, Subject, subjects, used
from dwm_ray.studies.futures import as_json, clone_of, futures_of, halves, imagined, true_futures

READS: dict[str, Callable[[StepDistance], float]] = {"MMD²": lambda row: row.mmd.value, "KL": lambda row: row.kl}
RECORDED = "recorded halves"


class ShiftOptions(StudyOptions):
    """Options of the study."""

    horizon: PositiveInt = 7
    """Most steps that are imagined; shorter for models whose segments are."""
    num_points: PositiveInt = 800
    """Imagined and recorded points that are compared at each step."""
    target_rtgs: tuple[float, ...] = (0.3, 0.5, 0.7)
    """Returns-to-go to ask for, in units of the task's scale, besides each window's own."""
    temperatures: tuple[float, ...] = (0.5, 1.0)
    """Scales of the noise in sampling, for models that have one."""
    clone_updates: PositiveInt = 3000
    """Gradient steps of the cloned behaviour policy."""


@dataclass(frozen=True)
class Setting:
    """One way of asking a world model."""

    rtg: float | None
    """None is each window's own."""
    temperature: float | None
    """None where the model has none."""

    def describe(self) -> str:
        asked = "own RTG" if self.rtg is None else f"RTG {self.rtg:g}"
        return asked if self.temperature is None else f"{asked}, temperature {self.temperature:g}"


@dataclass(frozen=True)
class Shift:
    """Distances of one setting, by quantity."""

    label: str
    setting: Setting | None
    """None for recorded against recorded data."""
    rows: dict[Quantity, list[StepDistance]]

    @property
    def name(self) -> str:
        return self.label if self.setting is None else f"{self.label}, {self.setting.describe()}"

    def mean(self, quantity: Quantity, read: Callable[[StepDistance], float]) -> float | None:
        """Over steps; None where nothing was compared."""
        values = [read(row) for row in self.rows[quantity]]
        return sum(values) / len(values) if values else None


def measure(lab: Lab, options: ShiftOptions) -> Findings:
    """See the module."""
    chosen = subjects(lab, options)
    clone = clone_of(lab, options.clone_updates, options.study_seed)
    shifts = [shift for subject in chosen for shift in _shifts_of(lab, subject, clone, options)]
    floor = _floor(lab, options)
    stats, scale = lab.task_data.stats, lab.task_data.task.rtg_scale
    return Findings(
        title=f"Shift from the behaviour's data: {lab.config.task}",
        summary=[
            f"{options.num_points} imagined against as many recorded points a step, in standard deviations of the "
            f"data. Returns-to-go of the data lie in {stats.rtg_min / scale:.2f} to {stats.rtg_max / scale:.2f}.",
            used(lab, [subject.config for subject in chosen], options),
        ],
        tables=[_table(name, shifts, floor) for name in READS],
        figures=[_by_step(shifts, floor), *_by_rtg(shifts, floor)],
        numbers={"shifts": [_numbers(shift) for shift in [*shifts, floor]]},
    )


def settings_of(subject: Subject, options: ShiftOptions) -> list[Setting]:
    """Every combination that means something to a world model."""
    rtgs = [None, *options.target_rtgs] if subject.model.uses_rtg else [None]
    temperatures = options.temperatures if "temperature" in subject.model.config.SAMPLING else [None]
    return [Setting(rtg, temperature) for rtg in rtgs for temperature in temperatures]


def _shifts_of(lab: Lab, subject: Subject, clone: BehaviourClone, options: ShiftOptions) -> list[Shift]:
    horizon = min(options.horizon, subject.model.max_horizon)
    windows = lab.windows(subject.config, horizon + 1)
    pair = halves(windows, options.num_points, lab.generator(options.study_seed))
    there, found = true_futures(lab, pair.compare_with), []
    for setting in settings_of(subject, options):
        lab.say(f"{subject.label}: {setting.describe()}")
        chosen = {} if setting.temperature is None else {"temperature": setting.temperature}
        generator = lab.generator(options.study_seed + 1)
        model = subject.model.with_options(chosen)
        futures = futures_of(lab, imagined(lab, model, pair.start_from, clone, generator, setting.rtg))
        found.append(Shift(subject.label, setting, _compare(futures, there, options, subject.model.starts_from_data)))
    return found


def _compare(
    first: Futures, second: Futures, options: ShiftOptions, given_start: bool
) -> dict[Quantity, list[StepDistance]]:
    """By quantity. The first state-action of a model that starts where it is told to is no imagination: left out."""
    shuffles = torch.Generator().manual_seed(options.study_seed)
    rows = {quantity: distances(first, second, quantity, shuffles) for quantity in QUANTITIES}
    if given_start:
        rows["state-actions"] = [row for row in rows["state-actions"] if row.step > 1]
    return rows


def _floor(lab: Lab, options: ShiftOptions) -> Shift:
    """Recorded data against recorded data that followed other starts."""
    windows = lab.windows(lab.config, options.horizon + 1)
    pair = halves(windows, options.num_points, lab.generator(options.study_seed))
    first, second = true_futures(lab, pair.start_from), true_futures(lab, pair.compare_with)
    return Shift(RECORDED, None, _compare(first, second, options, given_start=True))


def _table(name: str, shifts: list[Shift], floor: Shift) -> Table:
    rows: list[list[Cell]] = [
        [shift.name, *(shift.mean(quantity, READS[name]) for quantity in QUANTITIES)] for shift in [*shifts, floor]
    ]
    unit = " in nats" if name == "KL" else ""
    note = f"Means over steps{unit}. A figure means something where it exceeds that of the recorded halves."
    return Table(f"{name} from recorded data", ["data", *QUANTITIES], rows, note)


def _panels(xlabel: str) -> dict[tuple[str, Quantity], Panel]:
    return {
        (name, quantity): Panel(f"{name}, {quantity}", xlabel, "nats" if name == "KL" else "distance", [])
        for name in READS
        for quantity in QUANTITIES
    }


def _by_step(shifts: list[Shift], floor: Shift) -> Figure:
    """Lines of each model's first temperature, so that they can be told apart."""
    panels = _panels("imagined step")
    first: dict[str, float | None] = {}
    for shift in shifts:
        assert shift.setting is not None
        if first.setdefault(shift.label, shift.setting.temperature) == shift.setting.temperature:
            _add_lines(panels, shift, shift.label)
    _add_lines(panels, floor, "", reference=True)
    caption = "Temperature: the first that was asked for. The dashed line is recorded against recorded data."
    return plot_panels("by-step", "Distance by step", caption, list(panels.values()))


def _add_lines(panels: dict[tuple[str, Quantity], Panel], shift: Shift, group: str, reference: bool = False) -> None:
    for (name, quantity), panel in panels.items():
        rows = shift.rows[quantity]
        values = [READS[name](row) for row in rows]
        if rows:
            panel.lines.append(Line(shift.name, [row.step for row in rows], values, group, reference))


def _by_rtg(shifts: list[Shift], floor: Shift) -> list[Figure]:
    """Means over steps against the return-to-go asked for; none without a model that listens to it."""
    asked = [shift for shift in shifts if shift.setting is not None and shift.setting.rtg is not None]
    if not asked:
        return []
    panels = _panels("return-to-go asked for")
    for (name, quantity), panel in panels.items():
        for label, line in _lines_by_rtg(asked).items():
            means = [shift.mean(quantity, READS[name]) for shift in line]
            if any(value is not None for value in means):
                panel.lines.append(Line(label, [_rtg(shift) for shift in line], means, line[0].label))
        level = floor.mean(quantity, READS[name])
        if panel.lines:
            rtgs = sorted({_rtg(shift) for shift in asked})
            panel.lines.append(Line(RECORDED, [rtgs[0], rtgs[-1]], [level, level], reference=True))
    caption = "Means over steps. An optimistic return-to-go is meant to move the data: the question is how far."
    return [plot_panels("by-rtg", "Distance by return-to-go", caption, list(panels.values()))]


def _lines_by_rtg(asked: list[Shift]) -> dict[str, list[Shift]]:
    """One line for each model and temperature."""
    lines: dict[str, list[Shift]] = {}
    for shift in asked:
        assert shift.setting is not None
        temperature = shift.setting.temperature
        name = shift.label if temperature is None else f"{shift.label}, temperature {temperature:g}"
        lines.setdefault(name, []).append(shift)
    return lines


def _rtg(shift: Shift) -> float:
    assert shift.setting is not None
    assert shift.setting.rtg is not None
    return shift.setting.rtg


def _numbers(shift: Shift) -> dict[str, Any]:
    setting = shift.setting
    asked = {} if setting is None else {"target_rtg": setting.rtg, "temperature": setting.temperature}
    return {"model": shift.label, **asked, **{quantity: as_json(rows) for quantity, rows in shift.rows.items()}}


STUDY = Study(
    name="shift",
    help="distance of imagined from recorded data (MMD, KL) by step, return-to-go and temperature",
    options=ShiftOptions,
    measure=measure,
)
