"""Prediction error by step, with equal conditions for all models, unlike in the table of DWM (arXiv 2402.03570).

The meaning of an error depends on the driver. With recorded actions, a model that follows a policy shows its own error.
With a cloned behaviour policy, the randomness of that policy is added, as for DWM, which sees no later actions. The
distance between two samples from one start is the randomness of a model: the error of a model with the right
distribution, which the study `shift` compares with that of the data.

If the simulator can be set to a recorded state, it separates model error from the randomness of the behaviour policy:
driven by the clone, it is a perfect model, and single generated transitions are checked in it."""

from dwm_ray.data.windows import WindowSet
from dwm_ray.evaluation.clone import CLONED, BehaviourClone
from dwm_ray.evaluation.futures import squared_distance
from dwm_ray.evaluation.model_error import AHEAD, LOGGED_ACTIONS, UNDRIVEN, Driver, prediction_error
from dwm_ray.evaluation.simulator import Simulator, recorded_segments, simulated, simulator_error
from dwm_ray.options import PositiveInt
from dwm_ray.report.calibration import ModelCalibration, calibration_figure, calibration_table
from dwm_ray.report.findings import Findings
from dwm_ray.report.panels import Figure, Line, Panel, Style, plot_panels
from dwm_ray.report.table import Cell, Table
from dwm_ray.studies.base import Study, StudyContext, StudyOptions, Subject, subjects, summary_line
from dwm_ray.studies.futures import clone_of, futures_in, generate_like, halves
from dwm_ray.training.fit_world_model import measure_calibration
from dwm_ray.types import Json, Segments, Windows
from dwm_ray.world_models.base import WorldModel

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


class ModelErrorOptions(StudyOptions):
    """Options of the study."""

    horizon: PositiveInt = 7
    """Maximum number of predicted steps; models with shorter segments predict fewer."""
    num_windows: PositiveInt = 2048
    """Held-out windows for the errors."""
    num_points: PositiveInt = 800
    """Held-out windows from which each model is sampled twice."""
    num_simulated: PositiveInt = 400
    """Segments that are checked in the simulator."""
    clone_updates: PositiveInt = 3000
    """Gradient steps of the cloned behaviour policy."""


def measure(context: StudyContext, options: ModelErrorOptions) -> Findings:
    """Measure the errors of all world models."""
    models = subjects(context, options)
    clone = clone_of(context, options.clone_updates, options.study_seed)
    reference = _reference(context, clone, options)
    measured = [_measure_one(context, subject, clone, reference["unsimulated"] is None, options) for subject in models]
    summary = [
        f"Errors on up to {options.num_windows} windows of held-out episodes, in squares of standard deviations of the "
        "data.",
        summary_line(context, [subject.config for subject in models], options),
        *([reference["unsimulated"]] if reference["unsimulated"] else []),
    ]
    return Findings(
        title=f"Prediction error by step: {context.config.task}",
        summary=summary,
        tables=_tables(measured, reference),
        figures=_figures(measured, reference),
        numbers={"reference": reference, "models": measured},
    )


def _measure_one(
    context: StudyContext, subject: Subject, clone: BehaviourClone, simulate: bool, options: ModelErrorOptions
) -> Json:
    """Measure one world model.

    errors has one entry per driver, and own_samples_obs_mse is the squared distance between two samples from one start;
    both are empty for a model that does not start from recorded pairs. simulator is the error of single generated
    transitions. calibration compares ends and rewards with those of recorded segments.
    """
    context.log(f"{subject.label}: errors")
    model, seed = subject.model, options.study_seed
    windows = context.holdout(subject.config, min(options.horizon, model.max_horizon) + 1)
    driven = [clone.driver(context.generator(seed + 1))] if model.follows_policy else []
    drivers = [LOGGED_ACTIONS, *driven] if model.starts_from_data else []
    starts, _ = halves(windows, options.num_points, context.generator(seed))
    generator = context.generator(seed + 2)
    first, second = (generate_like(context, model, starts, clone, generator) for _ in range(2))
    spread = squared_distance(futures_in(context, first), futures_in(context, second))
    errors = [_error(context, model, windows, driver, options) for driver in drivers]
    checked = _checked(context, first[: options.num_simulated]) if simulate else None
    calibration = measure_calibration(
        model, windows, context.task_data, context.generator(seed), num_windows=options.num_windows
    )
    return {
        "model": subject.label,
        "errors": errors,
        "own_samples_obs_mse": spread if model.starts_from_data else [],
        "simulator": checked,
        "calibration": calibration,
    }


def _error(
    context: StudyContext, model: WorldModel, windows: WindowSet, driver: Driver, options: ModelErrorOptions
) -> Json:
    obs_std, rew_std = context.task_data.stats.obs_std, float(context.task_data.episodes.rew.std())
    generator = context.generator(options.study_seed)
    return prediction_error(model, windows, obs_std, rew_std, generator, driver=driver, num_windows=options.num_windows)


def _checked(context: StudyContext, segments: Segments) -> Json:
    """Check each transition of the segments separately."""
    rew_std = float(context.task_data.episodes.rew.std())
    stats, env_id = context.task_data.stats, context.task_data.task.env_id
    return simulator_error(segments, env_id, stats.obs_std, rew_std)


def _reference(context: StudyContext, clone: BehaviourClone, options: ModelErrorOptions) -> Json:
    """Measure single recorded transitions in the simulator, and the simulator, driven by the clone, as a model."""
    result: Json = {"simulator_driven_by_clone_obs_mse": None, "simulator": None, "unsimulated": None}
    try:
        Simulator(context.task_data.task.env_id, context.task_data.task.env_options)
    except ValueError as error:
        return result | {"unsimulated": f"Model error and randomness are not separated: {error}."}
    context.log("the simulator, driven by the cloned behaviour")
    windows = context.holdout(context.config, options.horizon + 1)
    starts, _ = halves(windows, options.num_points, context.generator(options.study_seed))
    starts = starts[: options.num_simulated]
    checked = _checked(context, recorded_segments(starts))
    randomness = _randomness(context, starts, clone, options)
    return result | {"simulator_driven_by_clone_obs_mse": randomness, "simulator": checked}


def _randomness(
    context: StudyContext, windows: Windows, clone: BehaviourClone, options: ModelErrorOptions
) -> list[float]:
    """Return the squared distance by step between recorded futures and a simulator that the clone drives."""
    generator = context.generator(options.study_seed + 3)
    segments, valid = simulated(
        context.task_data.task.env_id,
        windows.obs[:, 0],
        windows.act[:, 0],
        clone.policy(generator),
        options.horizon,
    )
    return squared_distance(futures_in(context, segments).rows(valid), futures_in(context, windows).rows(valid))


def _tables(measured: list[Json], reference: Json) -> list[Table]:
    rewards = [(m["model"], DRIVERS[error["driven_by"]], error["rew_mse"]) for m in measured for error in m["errors"]]
    tables = [
        _table("Mean squared error of states", "driven by", _state_rows(measured, reference), OWN_SAMPLES_NOTE),
        _table("Mean squared error of rewards", "driven by", rewards),
        _table(
            "Transitions checked in the simulator", "mean squared error", _check_rows(measured, reference), CHECKED_NOTE
        ),
        calibration_table(_calibrations(measured)),
    ]
    return [table for table in tables if table.rows]


def _calibrations(measured: list[Json]) -> list[ModelCalibration]:
    """Return the calibrations in the colours of the other figures."""
    return [(row["model"], Style(i), row["calibration"]) for i, row in enumerate(measured)]


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
    checks = [(row["model"], row["simulator"]) for row in measured] + [("recorded", reference["simulator"])]
    quantities = {"states": "obs_mse", "rewards": "rew_mse"}
    return [(label, quantity, check[key]) for label, check in checks if check for quantity, key in quantities.items()]


def _longest(measured: list[Json]) -> list[Json]:
    """Return the error with the most steps in a list; an empty list without errors."""
    errors = [error for model in measured for error in model["errors"]]
    return [max(errors, key=lambda error: len(error["steps"]))] if errors else []


def _figures(measured: list[Json], reference: Json) -> list[Figure]:
    calibration = calibration_figure(_calibrations(measured))
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


STUDY = Study(ModelErrorOptions, measure)
