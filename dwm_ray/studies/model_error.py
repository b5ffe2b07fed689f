"""Prediction error by step, like set beside like (the question that DWM's table, arXiv 2402.03570, leaves open).

Three drivers make three questions of it. With recorded actions, a model that follows a policy shows its own error. With
a cloned behaviour policy it shows what DWM shows, which sees no later action: the behaviour's randomness on top. And
the distance between the sets of imagined and recorded states asks whether the futures are distributed as they were,
whichever of them came true. Two draws of a model from one start tell how random its futures are: a model that imagines
futures as they are distributed errs by just that much.

Where the simulator can be set to a recorded state, it parts model error from the behaviour's randomness: driven by the
clone it is a model without error, and imagined transitions are checked one by one, so that only model error is left.
"""

from __future__ import annotations

from typing import Any

import torch

from dwm_ray.data.windows import WindowSet
from dwm_ray.evaluation.clone import BehaviourClone
from dwm_ray.evaluation.futures import distances, squared_distance
from dwm_ray.evaluation.model_error import LOGGED_ACTIONS, Driver, ModelError, prediction_error
from dwm_ray.evaluation.simulator import Simulator, SimulatorError, recorded_segments, simulated, simulator_error
from dwm_ray.options import PositiveInt
from dwm_ray.report.findings import Findings
from dwm_ray.studies.base import Lab, Study, StudyOptions, Subject, subjects, used
from dwm_ray.studies.error_views import Measured, Reference, figures, tables
from dwm_ray.studies.futures import as_json, clone_of, futures_of, halves, imagined, true_futures
from dwm_ray.types import Segments, Windows
from dwm_ray.world_models.base import WorldModel


class ModelErrorOptions(StudyOptions):
    """Options of the study."""

    horizon: PositiveInt = 7
    """Most steps that are predicted; shorter for models whose segments are."""
    num_windows: PositiveInt = 2048
    """Held-out windows for the errors."""
    num_points: PositiveInt = 800
    """Points of each of the two sets whose distance is measured."""
    num_simulated: PositiveInt = 400
    """Segments that are checked in the simulator."""
    clone_updates: PositiveInt = 3000
    """Gradient steps of the cloned behaviour policy."""


def measure(lab: Lab, options: ModelErrorOptions) -> Findings:
    """See the module."""
    chosen = subjects(lab, options)
    clone = clone_of(lab, options.clone_updates, options.study_seed)
    reference = _reference(lab, clone, options)
    measured = [_measure_one(lab, subject, clone, reference.unsimulated is None, options) for subject in chosen]
    unit = "standard deviations of the data"
    summary = [
        f"Errors on up to {options.num_windows} windows of held-out episodes, in squares of {unit}; distances between "
        f"up to {options.num_points} imagined and as many recorded states, in {unit}.",
        used(lab, [subject.config for subject in chosen], options),
    ]
    return Findings(
        title=f"Prediction error by step: {lab.config.task}",
        summary=summary if reference.unsimulated is None else [*summary, reference.unsimulated],
        tables=tables(measured, reference),
        figures=figures(measured, reference),
        numbers={"reference": _reference_numbers(reference), "models": [_numbers(one) for one in measured]},
    )


def _measure_one(
    lab: Lab, subject: Subject, clone: BehaviourClone, simulate: bool, options: ModelErrorOptions
) -> Measured:
    lab.say(f"{subject.label}: errors and distances")
    model, horizon = subject.model, min(options.horizon, subject.model.max_horizon)
    windows = lab.holdout(subject.config, horizon + 1)
    driven = [clone.driver(lab.generator(options.study_seed + 1))] if model.follows_policy else []
    drivers = [LOGGED_ACTIONS, *driven] if model.starts_from_data else []
    pair = halves(windows, options.num_points, lab.generator(options.study_seed))
    generator, shuffles = lab.generator(options.study_seed + 2), torch.Generator().manual_seed(options.study_seed)
    first, second = (imagined(lab, model, pair.start_from, clone, generator) for _ in range(2))
    futures = futures_of(lab, first)
    return Measured(
        label=subject.label,
        errors=[_error(lab, model, windows, driver, options) for driver in drivers],
        spread=squared_distance(futures, futures_of(lab, second)) if model.starts_from_data else [],
        distances=distances(futures, true_futures(lab, pair.compare_with), "states", shuffles),
        checked=_checked(lab, first[: options.num_simulated]) if simulate else None,
    )


def _error(lab: Lab, model: WorldModel, windows: WindowSet, driver: Driver, options: ModelErrorOptions) -> ModelError:
    rew_std = float(lab.task_data.episodes.rew.std())
    generator = lab.generator(options.study_seed)
    return prediction_error(
        model, windows, lab.task_data.stats.obs_std, rew_std, generator, driver=driver, num_windows=options.num_windows
    )


def _checked(lab: Lab, segments: Segments) -> SimulatorError:
    """Every transition of segments by itself."""
    rew_std = float(lab.task_data.episodes.rew.std())
    return simulator_error(segments, lab.task_data.task.env_id, lab.task_data.stats.obs_std, rew_std)


def _reference(lab: Lab, clone: BehaviourClone, options: ModelErrorOptions) -> Reference:
    """What recorded data and a simulator in the model's place come out at."""
    pair = halves(lab.holdout(lab.config, options.horizon + 1), options.num_points, lab.generator(options.study_seed))
    shuffles = torch.Generator().manual_seed(options.study_seed)
    here, there = true_futures(lab, pair.start_from), true_futures(lab, pair.compare_with)
    floor = distances(here, there, "states", shuffles, num_permutations=0)
    try:
        Simulator(lab.task_data.task.env_id)
    except ValueError as error:
        return Reference(floor, None, None, unsimulated=f"Model error and randomness are not parted: {error}.")
    lab.say("the simulator, driven by the cloned behaviour")
    windows = pair.start_from[: options.num_simulated]
    return Reference(floor, _randomness(lab, windows, clone, options), _checked(lab, recorded_segments(windows)))


def _randomness(lab: Lab, windows: Windows, clone: BehaviourClone, options: ModelErrorOptions) -> list[float]:
    """By step: how far a simulator that is driven by the clone ends up from what was recorded."""
    generator = lab.generator(options.study_seed + 3)
    segments, known = simulated(
        lab.task_data.task.env_id,
        windows.obs[:, 0],
        windows.act[:, 0],
        lambda obs, step: clone.sample(obs, generator),
        options.horizon,
    )
    possible, came_true = futures_of(lab, segments), true_futures(lab, windows)
    return squared_distance(possible.rows(known), came_true.rows(known))


def _numbers(one: Measured) -> dict[str, Any]:
    return {
        "model": one.label,
        "errors": [error.to_json() for error in one.errors],
        "own_draws_obs_mse": one.spread,
        "distances": as_json(one.distances),
        "simulator": None if one.checked is None else one.checked.to_json(),
    }


def _reference_numbers(reference: Reference) -> dict[str, Any]:
    return {
        "recorded_halves": as_json(reference.floor),
        "simulator_driven_by_clone_obs_mse": reference.randomness,
        "simulator": None if reference.checked is None else reference.checked.to_json(),
        "unsimulated": reference.unsimulated,
    }


STUDY = Study(
    name="model_error",
    help="prediction error by step: recorded actions, cloned behaviour, simulator, distance between distributions",
    options=ModelErrorOptions,
    measure=measure,
)
