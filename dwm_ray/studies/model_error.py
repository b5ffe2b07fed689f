"""Prediction error by step, with equal conditions for all models, unlike in the table of DWM (arXiv 2402.03570).

The meaning of an error depends on the driver. With recorded actions, a model that follows a policy shows its own error.
With a cloned behaviour policy, the randomness of that policy is added, as for DWM, which sees no later actions. The
distance between two samples from one start is the randomness of a model: the error of a model with the right
distribution, which the study `shift` compares with that of the data.

If the simulator can be set to a recorded state, it separates model error from the randomness of the behaviour policy:
driven by the clone, it is a perfect model, and single generated transitions are checked in it."""

from dwm_ray.data.windows import WindowSet
from dwm_ray.evaluation.clone import BehaviourClone
from dwm_ray.evaluation.futures import squared_distance
from dwm_ray.evaluation.model_error import LOGGED_ACTIONS, Driver, ModelError, prediction_error
from dwm_ray.evaluation.simulator import Simulator, recorded_segments, simulated, simulator_error
from dwm_ray.options import PositiveInt
from dwm_ray.report.findings import Findings
from dwm_ray.studies.base import Study, StudyContext, StudyOptions, Subject, subjects, summary_line
from dwm_ray.studies.error_views import figures, tables
from dwm_ray.studies.futures import clone_of, futures_in, generate_like, halves
from dwm_ray.training.fit_world_model import measure_calibration
from dwm_ray.types import Json, Segments, Windows
from dwm_ray.world_models.base import WorldModel


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
    chosen = subjects(context, options)
    clone = clone_of(context, options.clone_updates, options.study_seed)
    reference = _reference(context, clone, options)
    measured = [_measure_one(context, subject, clone, reference["unsimulated"] is None, options) for subject in chosen]
    summary = [
        f"Errors on up to {options.num_windows} windows of held-out episodes, in squares of standard deviations of the "
        "data.",
        summary_line(context, [subject.config for subject in chosen], options),
        *([reference["unsimulated"]] if reference["unsimulated"] else []),
    ]
    return Findings(
        title=f"Prediction error by step: {context.config.task}",
        summary=summary,
        tables=tables(measured, reference),
        figures=figures(measured, reference),
        numbers={"reference": reference, "models": measured},
    )


def _measure_one(
    context: StudyContext, subject: Subject, clone: BehaviourClone, simulate: bool, options: ModelErrorOptions
) -> Json:
    context.log(f"{subject.label}: errors")
    model, seed = subject.model, options.study_seed
    windows = context.holdout(subject.config, min(options.horizon, model.max_horizon) + 1)
    driven = [clone.driver(context.generator(seed + 1))] if model.follows_policy else []
    drivers = [LOGGED_ACTIONS, *driven] if model.starts_from_data else []
    starts, _ = halves(windows, options.num_points, context.generator(seed))
    generator = context.generator(seed + 2)
    first, second = (generate_like(context, model, starts, clone, generator) for _ in range(2))
    spread = squared_distance(futures_in(context, first), futures_in(context, second))
    errors = [_error(context, model, windows, driver, options).to_json() for driver in drivers]
    checked = _checked(context, first[: options.num_simulated]) if simulate else None
    calibration = measure_calibration(
        model, windows, context.task_data, context.generator(seed), num_windows=options.num_windows
    )
    return {
        "model": subject.label,
        "errors": errors,
        "own_samples_obs_mse": spread if model.starts_from_data else [],
        "simulator": checked,
        "calibration": calibration.to_json(),
    }


def _error(
    context: StudyContext, model: WorldModel, windows: WindowSet, driver: Driver, options: ModelErrorOptions
) -> ModelError:
    obs_std, rew_std = context.task_data.stats.obs_std, float(context.task_data.episodes.rew.std())
    generator = context.generator(options.study_seed)
    return prediction_error(model, windows, obs_std, rew_std, generator, driver=driver, num_windows=options.num_windows)


def _checked(context: StudyContext, segments: Segments) -> Json:
    """Check each transition of the segments separately."""
    rew_std = float(context.task_data.episodes.rew.std())
    stats, env_id = context.task_data.stats, context.task_data.task.env_id
    return simulator_error(segments, env_id, stats.obs_std, rew_std).to_json()


def _reference(context: StudyContext, clone: BehaviourClone, options: ModelErrorOptions) -> Json:
    """Measure recorded transitions, and the simulator in the role of a model."""
    found: Json = {"simulator_driven_by_clone_obs_mse": None, "simulator": None, "unsimulated": None}
    try:
        Simulator(context.task_data.task.env_id, context.task_data.task.env_options)
    except ValueError as error:
        return found | {"unsimulated": f"Model error and randomness are not separated: {error}."}
    context.log("the simulator, driven by the cloned behaviour")
    windows = context.holdout(context.config, options.horizon + 1)
    starts, _ = halves(windows, options.num_points, context.generator(options.study_seed))
    starts = starts[: options.num_simulated]
    checked = _checked(context, recorded_segments(starts))
    randomness = _randomness(context, starts, clone, options)
    return found | {"simulator_driven_by_clone_obs_mse": randomness, "simulator": checked}


def _randomness(
    context: StudyContext, windows: Windows, clone: BehaviourClone, options: ModelErrorOptions
) -> list[float]:
    """Return the squared distance by step between recorded futures and a simulator that the clone drives."""
    generator = context.generator(options.study_seed + 3)
    segments, known = simulated(
        context.task_data.task.env_id,
        windows.obs[:, 0],
        windows.act[:, 0],
        clone.policy(generator),
        options.horizon,
    )
    return squared_distance(futures_in(context, segments).rows(known), futures_in(context, windows).rows(known))


STUDY = Study(ModelErrorOptions, measure)
