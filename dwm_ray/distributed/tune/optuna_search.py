"""Choose a sweep's points with Optuna (TPE), guided by the scores so far.

Points that cannot run (H >= T) and points that were tried before are reported to Optuna as failed and skipped, so every
trial that Tune launches is new and can run. The plan counts skipped points by reason.
"""

from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from dwm_ray.config import RunConfig
from dwm_ray.evaluation.evaluators import OBJECTIVE
from dwm_ray.experiment.dimension import Dimension, Value
from dwm_ray.experiment.plan import effective
from dwm_ray.experiment.search_space import Plan, Point, Trial

MAX_TRIES = 50
"""Consecutive skipped points after which the search space counts as exhausted."""


class FeasibleOptuna(Searcher):
    """Tune's OptunaSearch over axes and methods; suggests parameters {trial: ...} of whole trials."""

    def __init__(
        self,
        axes: dict[str, tuple[Dimension, tuple[Value, ...]]],
        bases: dict[str, RunConfig],
        plan: Plan,
        launch: Callable[[Trial], dict[str, Any]],
        has_failed: Callable[[Trial], bool],
        max_running: int,
        seed: int,
    ) -> None:
        """Search `axes` for every method in `bases` (name -> options).

        `plan` holds the trials so far and counts dropped points; `launch` creates the folder of a trial and returns the
        parameters for Tune. `has_failed` reads the status of an ended trial: Tune does not see recorded failures.
        """
        super().__init__(metric=OBJECTIVE, mode="max")
        choices = {"method": tuple(bases), **{name: values for name, (_, values) in axes.items()}}
        space = {name: CategoricalDistribution(values) for name, values in choices.items()}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._inner = OptunaSearch(space=space, metric=OBJECTIVE, mode="max", seed=seed)
        self._axes = {name: axis for name, (axis, _) in axes.items()}
        self._paths = {name: axis.path for name, axis in self._axes.items()}
        self._bases, self._plan, self._launch, self._max_running = bases, plan, launch, max_running
        self._has_failed, self._num_suggested = has_failed, 0
        self._running: dict[str, tuple[str, Trial]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return parameters, None while all slots are taken, or FINISHED when no new point is left."""
        if len(self._running) >= self._max_running:
            return None
        for _ in range(MAX_TRIES):
            self._num_suggested += 1
            inner_id = f"ask-{self._num_suggested}"
            trial = self._new_trial(dict(self._inner.suggest(inner_id)))
            if trial is not None:
                self._running[trial_id] = inner_id, trial
                return {"trial": self._launch(trial)}
            self._inner.on_trial_complete(inner_id, error=True)
        return Searcher.FINISHED

    def _new_trial(self, point: Point) -> Trial | None:
        """Return the trial of a point; None if it cannot run or is in the plan."""
        before = len(self._plan.trials)
        base = self._bases[str(point.pop("method"))]
        self._plan.add(base, effective(base, point, self._paths), self._axes)
        return self._plan.trials[-1] if len(self._plan.trials) > before else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        inner_id, trial = self._running.pop(trial_id)
        failed = error or self._has_failed(trial)
        self._inner.on_trial_complete(inner_id, None if failed else result, failed)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a resumed sweep restarts Optuna and skips finished trials."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, as `save`."""
