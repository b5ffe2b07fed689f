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
from dwm_ray.distributed.tune.jobs import launchable
from dwm_ray.distributed.tune.trial import cause, trainable
from dwm_ray.distributed.workers.ray_train import ray_storage
from dwm_ray.evaluation.evaluators import OBJECTIVE
from dwm_ray.experiment.grouping import groups_of, population_size
from dwm_ray.experiment.plan import SweepConfig, start_order
from dwm_ray.experiment.search_space import Trial
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.trial_status import record_end

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
    listed = [launchable(group, services, uses_scores) for group in groups]
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


def populations(trials: Sequence[Trial], services: ClusterServices, max_members: int) -> list[Sequence[Trial]]:
    """Return populations in the order of their start, as large as allowed while they still occupy all processes."""
    size = population_size(max_members, len(trials), services.placement.concurrent_trials)
    by_id = {trial.id: trial for trial in trials}
    groups = groups_of([trial.config for trial in trials], services.run, size)
    return start_order([[by_id[config.trial_id] for config in group] for group in groups])


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
        logger.warning("%s: its process ended unexpectedly; it is restarted", trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        message = str(trial.get_error())
        for folder in self._folders(trial):
            record_end(folder, self._run, "failed", message, error=cause(message, "its process"))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        for folder in self._folders(trial):
            record_end(folder, self._run, "stopped")

    def _folders(self, trial: Any) -> list[Path]:
        return [self._run.trial(trial_id) for trial_id in trial.config["trial"]["trials"]]


class _SilentProgress(TrialProgressCallback):
    """Progress callback without Tune's warnings about trials that report no results."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        pass
