"""Tables and figures of the study of prediction error, from its numbers (`model_error`).

Numbers of a world model: errors, one per driver; own_samples_obs_mse, the squared distance between two samples from one
start; simulator, the error of single generated transitions. All are empty for models that do not start from recorded
pairs, or without a simulator. Its calibration compares ends and rewards with recorded segments. The reference holds the
error of a simulator that the cloned behaviour drives, and that of single recorded transitions.
"""

from dwm_ray.evaluation.clone import CLONED
from dwm_ray.evaluation.model_error import AHEAD, LOGGED_ACTIONS, UNDRIVEN
from dwm_ray.report.calibration import Calibrated, calibration_figure, calibration_table
from dwm_ray.report.panels import Figure, Line, Look, Panel, plot_panels
from dwm_ray.report.table import Cell, Table
from dwm_ray.types import Json

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


def tables(measured: list[Json], reference: Json) -> list[Table]:
    rewards = [(m["model"], DRIVERS[error["driven_by"]], error["rew_mse"]) for m in measured for error in m["errors"]]
    found = [
        _table("Mean squared error of states", "driven by", _state_rows(measured, reference), OWN_SAMPLES_NOTE),
        _table("Mean squared error of rewards", "driven by", rewards),
        _table(
            "Transitions checked in the simulator", "mean squared error", _check_rows(measured, reference), CHECKED_NOTE
        ),
        calibration_table(_calibrated(measured)),
    ]
    return [table for table in found if table.rows]


def _calibrated(measured: list[Json]) -> list[Calibrated]:
    """Return the calibrations in the colours of the other figures."""
    return [Calibrated(one["model"], Look(i), one["calibration"]) for i, one in enumerate(measured)]


def _table(title: str, kind: str, rows: list[Row], note: str = "") -> Table:
    steps = max((len(values) for *_, values in rows), default=0)
    cells: list[list[Cell]] = [
        [label, driver, *values, *[None] * (steps - len(values))] for label, driver, values in rows
    ]
    return Table(title, ["world model", kind, *map(str, range(1, steps + 1))], cells, note)


def _state_rows(measured: list[Json], reference: Json) -> list[Row]:
    rows: list[Row] = []
    for model in measured:
        rows += [(model["model"], DRIVERS[error["driven_by"]], error["obs_mse"]) for error in model["errors"]]
        rows += [(model["model"], OWN_SAMPLES, model["own_samples_obs_mse"])] if model["errors"] else []
    randomness = reference["simulator_driven_by_clone_obs_mse"]
    rows += [("simulator", "clone", randomness)] if randomness else []
    return rows + [("no change", "–", error["no_change_obs_mse"]) for error in _longest(measured)]


def _check_rows(measured: list[Json], reference: Json) -> list[Row]:
    checks = [(one["model"], one["simulator"]) for one in measured] + [("recorded", reference["simulator"])]
    parts = {"states": "obs_mse", "rewards": "rew_mse"}
    return [(label, part, check[key]) for label, check in checks if check for part, key in parts.items()]


def _longest(measured: list[Json]) -> list[Json]:
    """Return the error with the most steps in a list; an empty list without errors."""
    errors = [error for model in measured for error in model["errors"]]
    return [max(errors, key=lambda error: len(error["steps"]))] if errors else []


def figures(measured: list[Json], reference: Json) -> list[Figure]:
    calibration = calibration_figure(_calibrated(measured))
    has_errors = any(model["errors"] for model in measured)
    return [_error_figure(measured, reference), calibration] if has_errors else [calibration]


def _line(label: str, values: list[float], group: str = "", reference: bool = False) -> Line:
    return Line(label, range(1, len(values) + 1), values, group, reference)


def _error_figure(measured: list[Json], reference: Json) -> Figure:
    states, rewards = (
        Panel(quantity, "predicted step", "mean squared error", [], yscale="log") for quantity in ("states", "rewards")
    )
    for model in measured:
        name = model["model"]
        for error in model["errors"]:
            label = f"{name}, {error['driven_by']}"
            states.lines.append(_line(label, error["obs_mse"], name))
            rewards.lines.append(_line(label, error["rew_mse"], name))
        if model["errors"]:
            states.lines.append(_line(f"{name}, {OWN_SAMPLES}", model["own_samples_obs_mse"], name))
    if randomness := reference["simulator_driven_by_clone_obs_mse"]:
        states.lines.append(_line("simulator, cloned behaviour", randomness, reference=True))
    states.lines.extend(_line("no change", error["no_change_obs_mse"], reference=True) for error in _longest(measured))
    caption = (
        "In squares of standard deviations of the data, on held-out episodes. Compare lines of one driver: models with "
        "and without the recorded actions answer different questions. Own samples: between two samples of a model from "
        "one start."
    )
    return plot_panels("errors", "Error against the recorded future", caption, [states, rewards])
