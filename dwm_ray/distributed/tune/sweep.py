"""Run many trials under Ray Tune; they share world models and streams through `ClusterServices`.

Tune only schedules: results and checkpoints are in the run folder. A resumed sweep is the same sweep without the
finished trials and needs no pickled state.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, FailureConfig, TuneConfig, Tuner
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from dwm_ray.config import RunConfig
from dwm_ray.distributed.services import ClusterServices
from dwm_ray.distributed.tune.jobs import as_params, launchable
from dwm_ray.distributed.tune.trial import changing, progress_of, record_failure, trainable
from dwm_ray.distributed.workers.ray_train import ray_storage
from dwm_ray.evaluation.evaluators import OBJECTIVE
from dwm_ray.experiment.grouping import groups_of, population_size
from dwm_ray.experiment.plan import SweepConfig, in_order
from dwm_ray.experiment.search_space import Trial
from dwm_ray.runs.folder import RunFolder, set_status, status_of

logger = logging.getLogger(__name__)


def run_sweep(
    trials: Sequence[Trial],
    services: ClusterServices,
    sweep: SweepConfig,
    config: RunConfig,
    max_members: int = 1,
    search: Searcher | None = None,
) -> None:
    """Run listed trials in populations of up to `max_members`, or the trials that `search` suggests.

    A trial that fails is recorded and does not stop the others. Scores are reported to Tune only if a scheduler or
    search algorithm uses them: reporting costs one process per trial.
    """
    # Our writers replace Tune's result files, so its message that they are missing is hidden.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    uses_scores = search is not None or sweep.scheduler != "fifo"
    groups = [] if search else populations(trials, services, max_members)
    listed = [launchable(_trials(params), services, uses_scores) for params in groups]
    Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([services.placement.quotas.trial])),
        param_space={} if search else {"trial": tune.grid_search(listed)},
        tune_config=TuneConfig(
            metric=OBJECTIVE if uses_scores else None,
            mode="max" if uses_scores else None,
            search_alg=search,
            num_samples=sweep.num_samples if search else 1,
            scheduler=_scheduler(sweep, config),
            max_concurrent_trials=None if search else services.placement.concurrent_trials,
            reuse_actors=not uses_scores,  # the process of a trial that is stopped is still busy
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name=time.strftime("tune-%Y%m%d-%H%M%S"),
            **ray_storage(services.run),
            failure_config=FailureConfig(max_failures=config.cluster.max_failures),
            callbacks=[_StatusRecorder(services.run), _SilentProgress()],
            verbose=0,
        ),
    ).fit()


def populations(trials: Sequence[Trial], services: ClusterServices, max_members: int) -> list[dict[str, Any]]:
    """Return Tune's parameters: populations as large as allowed that still occupy all processes."""
    size = population_size(max_members, len(trials), services.placement.concurrent_trials)
    by_id = {trial.id: trial for trial in trials}
    groups = groups_of([trial.config for trial in trials], services.run, size)
    return [as_params(group) for group in in_order([[by_id[config.trial_id] for config in group] for group in groups])]


def _trials(params: dict[str, Any]) -> list[Trial]:
    """Return the trials of `as_params`."""
    return [Trial(RunConfig.model_validate_json(each["config"]), each["values"]) for each in params["trials"]]


def _name(trial: Any) -> str:
    return f"trial-{trial.config['trial']['name']}"


def _scheduler(sweep: SweepConfig, config: RunConfig) -> TrialScheduler:
    """Return the scheduler; ASHA counts updates, because Tune's iteration restarts at 1 with the trial."""
    updates = config.training.num_updates
    if sweep.scheduler == "fifo":
        return FIFOScheduler()
    return ASHAScheduler(time_attr="update", max_t=updates, grace_period=max(1, int(sweep.grace_share * updates)))


class _StatusRecorder(Callback):
    """Callback that records the status failed or stopped in a trial's folder.

    The process of the trial records failures of workers; Tune sees only the unexpected end of that process.
    """

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        logger.warning("%s: its process has ended unexpectedly; it starts again", trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        for folder in self._folders(trial):
            record_failure(folder, self._run, str(trial.get_error()), "its process")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        for folder in self._folders(trial):
            with changing(folder, self._run):
                if status_of(folder) not in ("done", "failed"):
                    set_status(folder, "stopped", **progress_of(folder))

    def _folders(self, trial: Any) -> list[Path]:
        return [self._run.trial(each.id) for each in _trials(trial.config["trial"])]


class _SilentProgress(TrialProgressCallback):
    """Progress callback without Tune's warnings about trials that report no results."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        pass
