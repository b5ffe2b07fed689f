"""Tables and figures of the study of prediction error."""

from __future__ import annotations

from dataclasses import dataclass

from dwm_ray.evaluation.clone import CLONED
from dwm_ray.evaluation.futures import StepDistance
from dwm_ray.evaluation.model_error import AHEAD, LOGGED_ACTIONS, UNDRIVEN, ModelError
from dwm_ray.evaluation.simulator import SimulatorError
from dwm_ray.report.panels import Line, Panel, plot_panels
from dwm_ray.report.style import Figure
from dwm_ray.report.table import Cell, Table

DRIVERS = {
    LOGGED_ACTIONS.name: "recorded",
    LOGGED_ACTIONS.name + AHEAD: "recorded, ahead",
    CLONED: "clone",
    UNDRIVEN: "own return",
}
"""What a model is told beside the start: the later actions of someone, or the return-to-go that came true."""
SIMULATED = "simulator, cloned behaviour"
Row = tuple[str, str, list[float]]
"""World model, what it is, values by step."""


@dataclass(frozen=True)
class Measured:
    """What was found out about one world model."""

    label: str
    errors: list[ModelError]
    """One per driver; none for a model that does not start where it is told to."""
    spread: list[float]
    """Between two draws from one start; likewise."""
    distances: list[StepDistance]
    checked: SimulatorError | None
    """Of imagined transitions, one by one; None where there is no simulator to ask."""


@dataclass(frozen=True)
class Reference:
    """What to compare with."""

    floor: list[StepDistance]
    """Between recorded futures of different starts."""
    randomness: list[float] | None
    """Error by step of a simulator that the cloned behaviour drives."""
    checked: SimulatorError | None
    """Of recorded transitions."""
    unsimulated: str | None = None
    """Why there is no simulator."""


def tables(measured: list[Measured], reference: Reference) -> list[Table]:
    """All tables."""
    checks = [(one.label, one.checked) for one in measured] + [("recorded", reference.checked)]
    found = [
        _table("Mean squared error of states", "driven by", _state_rows(measured, reference), OWN_DRAWS),
        _table(
            "Mean squared error of rewards",
            "driven by",
            [(one.label, DRIVERS[error.driven_by], error.rew_mse) for one in measured for error in one.errors],
        ),
        _table("Energy distance from recorded states", "states", _distance_rows(measured, reference), FLOOR),
        _table(
            "Transitions checked in the simulator",
            "mean squared error",
            [
                (label, what, values)
                for label, check in checks
                if check is not None
                for what, values in (("states", check.obs_mse), ("rewards", check.rew_mse))
            ],
            CHECKED,
        ),
    ]
    return [table for table in found if table.rows]


OWN_DRAWS = (
    "Columns are steps. Own draws: between two draws of the model from one start. Simulator: a model without error, "
    "driven by the clone; the randomness of the behaviour, and what the clone gets wrong."
)
FLOOR = (
    "From recorded states that followed other starts: of imagined states, of recorded ones (a perfect model's figure), "
    "and the 95 % quantile of shuffled labels."
)
CHECKED = "Each step by itself, from the state it begins in: the model's error alone. DWM knows its first action only."


def _table(title: str, what: str, rows: list[Row], note: str = "") -> Table:
    steps = max((len(values) for *_, values in rows), default=0)
    cells: list[list[Cell]] = [[label, kind, *values, *[None] * (steps - len(values))] for label, kind, values in rows]
    return Table(title, ["world model", what, *map(str, range(1, steps + 1))], cells, note)


def _state_rows(measured: list[Measured], reference: Reference) -> list[Row]:
    rows = [
        row
        for one in measured
        if one.errors
        for row in (
            *((one.label, DRIVERS[error.driven_by], error.obs_mse) for error in one.errors),
            (one.label, "own draws", one.spread),
        )
    ]
    simulator = [("simulator", "clone", reference.randomness)] if reference.randomness else []
    return [*rows, *simulator, *(("no change", "–", error.no_change_obs_mse) for error in _longest(measured))]


def _distance_rows(measured: list[Measured], reference: Reference) -> list[Row]:
    rows = [
        row
        for one in measured
        for row in (
            (one.label, "imagined", [step.energy.value for step in one.distances]),
            (one.label, "shuffled", [step.energy.floor for step in one.distances]),
        )
    ]
    return [*rows, ("recorded", "recorded", [step.energy.value for step in reference.floor])]


def _longest(measured: list[Measured]) -> list[ModelError]:
    """The error with the most steps, if there is one."""
    errors = [error for one in measured for error in one.errors]
    return [max(errors, key=lambda error: len(error.obs_mse))] if errors else []


def figures(measured: list[Measured], reference: Reference) -> list[Figure]:
    """All figures."""
    found = [_distance_figure(measured, reference)]
    return [_error_figure(measured, reference), *found] if any(one.errors for one in measured) else found


def _line(label: str, values: list[float], group: str = "", reference: bool = False) -> Line:
    return Line(label, range(1, len(values) + 1), values, group, reference)


def _error_figure(measured: list[Measured], reference: Reference) -> Figure:
    states, rewards = (
        Panel(what, "predicted step", "mean squared error", [], log=True) for what in ("states", "rewards")
    )
    for one in measured:
        for error in one.errors:
            label = f"{one.label}, {error.driven_by}"
            states.lines.append(_line(label, error.obs_mse, one.label))
            rewards.lines.append(_line(label, error.rew_mse, one.label))
        if one.errors:
            states.lines.append(_line(f"{one.label}, own draws", one.spread, one.label))
    if reference.randomness:
        states.lines.append(_line(SIMULATED, reference.randomness, reference=True))
    for error in _longest(measured):
        states.lines.append(_line("no change", error.no_change_obs_mse, reference=True))
    caption = (
        "In squares of standard deviations of the data, on held-out episodes. Compare lines of one driver: a model "
        "that sees the recorded actions and one that does not answer different questions. Own draws: between two draws "
        "of a model from one start."
    )
    return plot_panels("errors", "Error against the future that came true", caption, [states, rewards])


def _distance_figure(measured: list[Measured], reference: Reference) -> Figure:
    panels = {
        "energy": Panel("energy distance", "predicted step", "distance"),
        "mmd": Panel("MMD²", "predicted step", ""),
    }
    for name, panel in panels.items():
        panel.lines.extend(_line(one.label, [getattr(row, name).value for row in one.distances]) for one in measured)
        panel.lines.append(_line("recorded", [getattr(row, name).value for row in reference.floor], reference=True))
    caption = (
        "Between imagined states and recorded states that followed other starts; models that follow a policy follow "
        "the cloned behaviour. The dashed line is recorded against recorded: what a perfect model would come out at."
    )
    return plot_panels("distances", "Distance between distributions of states", caption, list(panels.values()))
