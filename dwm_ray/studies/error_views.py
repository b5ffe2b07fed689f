"""Tables and figures of the study of prediction error."""

from dataclasses import dataclass

from dwm_ray.evaluation.calibration import Calibration
from dwm_ray.evaluation.clone import CLONED
from dwm_ray.evaluation.model_error import AHEAD, LOGGED_ACTIONS, UNDRIVEN, ModelError
from dwm_ray.evaluation.simulator import SimulatorError
from dwm_ray.report.calibration import Calibrated, calibration_figure, calibration_table
from dwm_ray.report.panels import Figure, Line, Look, Panel, plot_panels
from dwm_ray.report.table import Cell, Table

DRIVERS = {
    LOGGED_ACTIONS.name: "recorded",
    LOGGED_ACTIONS.name + AHEAD: "recorded, ahead",
    CLONED: "clone",
    UNDRIVEN: "own return",
}
"""Conditioning of a model besides the start pair: later actions, or the return-to-go of the recorded future."""
OWN_SAMPLES = "own samples"
Row = tuple[str, str, list[float]]
"""World model, kind of row, values by step."""

OWN_SAMPLES_NOTE = (
    "Columns are steps. Own samples: between two samples of the model from one start. Simulator: a perfect model, "
    "driven by the clone; its error is due to the randomness of the behaviour policy and to the error of the clone."
)
CHECKED_NOTE = (
    "Single steps, each simulated from its own first state: model error only. DWM receives its first action only."
)


@dataclass(frozen=True)
class Measured:
    """Measurements of one world model."""

    label: str
    errors: list[ModelError]
    """One per driver; none for a model that does not start from recorded pairs."""
    spread: list[float]
    """Squared distance between two samples from one start; empty for such a model."""
    checked: SimulatorError | None
    """Error of single generated transitions; None without a simulator."""
    calibration: Calibration
    """Ends and rewards compared with those of recorded segments; models that follow a policy get recorded actions."""


@dataclass(frozen=True)
class Reference:
    """Values to compare with."""

    randomness: list[float] | None
    """Error by step of a simulator that the cloned behaviour drives."""
    checked: SimulatorError | None
    """Error of single recorded transitions."""
    unsimulated: str | None = None
    """Reason why there is no simulator."""


def tables(measured: list[Measured], reference: Reference) -> list[Table]:
    rewards = [(model.label, DRIVERS[error.driven_by], error.rew_mse) for model in measured for error in model.errors]
    found = [
        _table("Mean squared error of states", "driven by", _state_rows(measured, reference), OWN_SAMPLES_NOTE),
        _table("Mean squared error of rewards", "driven by", rewards),
        _table(
            "Transitions checked in the simulator", "mean squared error", _check_rows(measured, reference), CHECKED_NOTE
        ),
        calibration_table(_calibrated(measured)),
    ]
    return [table for table in found if table.rows]


def _calibrated(measured: list[Measured]) -> list[Calibrated]:
    """Return the calibrations in the colours of the other figures."""
    return [Calibrated(one.label, Look(i), one.calibration.to_json()) for i, one in enumerate(measured)]


def _table(title: str, kind: str, rows: list[Row], note: str = "") -> Table:
    steps = max((len(values) for *_, values in rows), default=0)
    cells: list[list[Cell]] = [
        [label, driver, *values, *[None] * (steps - len(values))] for label, driver, values in rows
    ]
    return Table(title, ["world model", kind, *map(str, range(1, steps + 1))], cells, note)


def _state_rows(measured: list[Measured], reference: Reference) -> list[Row]:
    rows: list[Row] = []
    for model in measured:
        rows += [(model.label, DRIVERS[error.driven_by], error.obs_mse) for error in model.errors]
        rows += [(model.label, OWN_SAMPLES, model.spread)] if model.errors else []
    rows += [("simulator", "clone", reference.randomness)] if reference.randomness else []
    return rows + [("no change", "–", error.no_change_obs_mse) for error in _longest(measured)]


def _check_rows(measured: list[Measured], reference: Reference) -> list[Row]:
    checks = [(model.label, model.checked) for model in measured] + [("recorded", reference.checked)]
    known = [(label, check) for label, check in checks if check is not None]
    return [row for label, c in known for row in ((label, "states", c.obs_mse), (label, "rewards", c.rew_mse))]


def _longest(measured: list[Measured]) -> list[ModelError]:
    """Return the error with the most steps in a list; an empty list without errors."""
    errors = [error for model in measured for error in model.errors]
    return [max(errors, key=lambda error: len(error.obs_mse))] if errors else []


def figures(measured: list[Measured], reference: Reference) -> list[Figure]:
    calibration = calibration_figure(_calibrated(measured))
    has_errors = any(model.errors for model in measured)
    return [_error_figure(measured, reference), calibration] if has_errors else [calibration]


def _line(label: str, values: list[float], group: str = "", reference: bool = False) -> Line:
    return Line(label, range(1, len(values) + 1), values, group, reference)


def _error_figure(measured: list[Measured], reference: Reference) -> Figure:
    states, rewards = (
        Panel(quantity, "predicted step", "mean squared error", [], yscale="log") for quantity in ("states", "rewards")
    )
    for model in measured:
        for error in model.errors:
            label = f"{model.label}, {error.driven_by}"
            states.lines.append(_line(label, error.obs_mse, model.label))
            rewards.lines.append(_line(label, error.rew_mse, model.label))
        if model.errors:
            states.lines.append(_line(f"{model.label}, {OWN_SAMPLES}", model.spread, model.label))
    if reference.randomness:
        states.lines.append(_line("simulator, cloned behaviour", reference.randomness, reference=True))
    states.lines.extend(_line("no change", error.no_change_obs_mse, reference=True) for error in _longest(measured))
    caption = (
        "In squares of standard deviations of the data, on held-out episodes. Compare lines of one driver: models with "
        "and without the recorded actions answer different questions. Own samples: between two samples of a model from "
        "one start."
    )
    return plot_panels("errors", "Error against the recorded future", caption, [states, rewards])
