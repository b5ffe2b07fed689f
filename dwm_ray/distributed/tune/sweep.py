"""Many trials under Ray Tune, sharing world models and streams through one `ClusterServices`.

Tune schedules; everything that must survive is ours: a trial's name is the fingerprint of its content, its results lie
in the run folder, its learner resumes by name. So `--resume` is the same sweep again without the trials that are done,
and needs no pickled state.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, FailureConfig, TuneConfig, Tuner
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from dwm_ray.config import RunConfig
from dwm_ray.distributed.tune.optuna_search import FeasibleOptuna
from dwm_ray.distributed.tune.trial import ClusterServices, cause, population_name, run_together, run_trial
from dwm_ray.distributed.workers.sync import ray_storage
from dwm_ray.experiment.grouping import can_learn_together, groups_of
from dwm_ray.experiment.plan import SweepConfig, in_order
from dwm_ray.experiment.search_space import Trial
from dwm_ray.runs.folder import RunFolder, read_json, set_status, status_of
from dwm_ray.runs.row_log import read_rows
from dwm_ray.runs.tensor_files import write_json

FINISHED = ("done", "stopped")


def unfinished(trials: list[Trial], run: RunFolder) -> list[Trial]:
    """The trials that a sweep still has to run; each gets its folder, with what it is."""
    todo = [trial for trial in trials if status_of(run.trial(trial.id)) not in FINISHED]
    record_trials(todo, run)
    return todo


def record_trials(trials: list[Trial], run: RunFolder) -> None:
    """`config.json` and `values.json` in each trial's folder."""
    files = {run.trial(trial.id) / "config.json": trial.config.model_dump(mode="json") for trial in trials}
    files |= {run.trial(trial.id) / "values.json": trial.values for trial in trials}
    with run.writing(*files):
        for path, value in files.items():
            write_json(path, value)


def run_sweep(
    trials: list[Trial],
    services: ClusterServices,
    sweep: SweepConfig,
    config: RunConfig,
    most_members: int = 1,
    search: FeasibleOptuna | None = None,
) -> None:
    """Run listed trials, up to `most_members` as one, or those that `search` suggests; one that fails is recorded and
    does not stop the rest. Tune hears of scores only where it decides by them: a queue is a process more for every
    trial."""
    # Our writers replace Tune's result files; its search for them would be reported as a failure.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    decides = search is not None or sweep.scheduler != "fifo"
    space = {} if search else {"trial": tune.grid_search(parties_of(trials, services, most_members))}
    Tuner(
        tune.with_resources(
            lambda params: _trainable(params["trial"], services, decides),
            tune.PlacementGroupFactory([services.placement.quotas.trial]),
        ),
        param_space=space,
        tune_config=TuneConfig(
            metric="score_mean" if decides else None,
            mode="max" if decides else None,
            search_alg=search,
            num_samples=sweep.num_samples if search else 1,
            scheduler=_scheduler(sweep, config),
            max_concurrent_trials=None if search else services.placement.concurrent_trials,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name=time.strftime("tune-%Y%m%d-%H%M%S"),
            **ray_storage(services.run),
            failure_config=FailureConfig(max_failures=config.cluster.max_failures),
            callbacks=[_StatusRecorder(services.run), _Silent()],
            verbose=0,
        ),
    ).fit()


def parties_of(trials: list[Trial], services: ClusterServices, most_members: int) -> list[dict[str, Any]]:
    """Tune's parameters: a trial by itself or, with `most_members`, as many that can learn as one as leave work for all
    processes."""
    together, alone = list[Trial](), list[Trial]()
    for trial in trials:
        (together if most_members > 1 and can_learn_together(trial.config) else alone).append(trial)
    most = min(most_members, math.ceil(len(trials) / services.placement.concurrent_trials))
    by_id = {trial.id: trial for trial in together}
    groups = groups_of([trial.config for trial in together], services.run, most)
    parties = [[by_id[Trial(config, {}).id] for config in group] for group in groups]
    ordered = in_order([*([trial] for trial in alone), *parties])
    return [as_params(party, as_one=party[0].id in by_id) for party in ordered]


def as_params(party: Sequence[Trial], as_one: bool = False) -> dict[str, Any]:
    """Trials of one process as Tune's parameters; `as_one` where they are a population, be it of one."""
    each = [{"config": trial.config.model_dump_json(), "values": trial.values} for trial in party]
    return {"name": population_name(party) if as_one else party[0].id, "trials": each, "as_one": as_one}


def _party(params: dict[str, Any]) -> list[Trial]:
    """Inverse of `as_params`."""
    return [Trial(RunConfig.model_validate_json(each["config"]), each["values"]) for each in params["trials"]]


def _trainable(params: dict[str, Any], services: ClusterServices, reports: bool) -> None:
    party, here = _party(params), replace(services, run=RunFolder.at(services.run.address))
    if params["as_one"]:
        run_together(party, here)
    else:
        run_trial(party[0], here, [TuneReportCallback()] if reports else [])


def _name(trial: Any) -> str:
    return f"trial-{trial.config['trial']['name']}"


def _scheduler(sweep: SweepConfig, config: RunConfig) -> TrialScheduler:
    """ASHA counts our updates: Tune's own iteration starts again at 1 when a trial is restarted."""
    updates = config.training.num_updates
    if sweep.scheduler == "fifo":
        return FIFOScheduler()
    return ASHAScheduler(time_attr="update", max_t=updates, grace_period=max(1, int(sweep.grace_share * updates)))


class _StatusRecorder(Callback):
    """Writes into a trial's folder what its own process cannot: that it failed, or was stopped."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        for folder in self._changing(trial):
            if status_of(folder) != "done":
                known = read_json(folder / "status.json") or {}
                why = known.get("error") or cause(str(trial.get_error()))
                set_status(folder, "failed", error=why, **_so_far(folder))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        for folder in self._changing(trial):
            if status_of(folder) not in ("done", "failed"):
                set_status(folder, "stopped", **_so_far(folder))

    def _changing(self, trial: Any) -> Iterator[Path]:
        """Folders of the trials of one process as their learner left them, whose status is about to change."""
        for each in _party(trial.config["trial"]):
            folder = self._run.trial(each.id)
            with self._run.writing(folder / "status.json"):
                self._run.pull(folder)
                yield folder


class _Silent(TrialProgressCallback):
    """Takes the place of Tune's own, which would print of every trial's end that it has heard nothing of it."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        pass


def _so_far(folder: Path) -> dict[str, Any]:
    rows = read_rows(folder / "metrics.jsonl")
    return {"updates": rows[-1]["update"], "seconds": rows[-1]["seconds"]} if rows else {"updates": 0, "seconds": 0.0}
