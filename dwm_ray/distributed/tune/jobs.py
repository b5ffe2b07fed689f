"""Prepare the jobs of trials, which depend on torch and on plug-ins."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import ray

from dwm_ray.distributed.services import ClusterServices
from dwm_ray.distributed.tune.trial import TrialJob
from dwm_ray.distributed.workers.learner import LearnerJob, learner_loop
from dwm_ray.distributed.workers.ray_train import worker_loop
from dwm_ray.distributed.workers.world_model import model_job
from dwm_ray.evaluation.evaluators import required_models
from dwm_ray.experiment.search_space import Trial
from dwm_ray.options import fingerprint
from dwm_ray.runs.trial_status import reset_failed


def trial_job(trials: Sequence[Trial], services: ClusterServices, reports: bool = False) -> TrialJob:
    """Return the job of trials that can form a population; `reports` sends scores to Tune.

    Trials that failed in an earlier session are reset. Restarted processes skip trials that fail in this one.
    """
    run, data, placement = services.run, services.data, services.placement
    ids = tuple(trial.id for trial in trials)
    reset_failed(run, ids)
    configs = [config for trial in trials for config in required_models(trial.config, data.has_environment)]
    models = {job.name: job for job in (model_job(config, run, data, placement) for config in configs)}
    name = learner_name(trials)
    learner = LearnerJob(name, tuple(trial.config.model_dump_json() for trial in trials), services, reports)
    loop, max_failures = worker_loop(partial(learner_loop, learner)), trials[0].config.cluster.max_failures
    return TrialJob(name, ids, run.address, tuple(models.values()), loop, max_failures, placement, reports)


def learner_name(trials: Sequence[Trial]) -> str:
    """Return a name that depends on the trials' content: the same trials have the same name in every session."""
    if len(trials) == 1:
        return trials[0].id
    return f"population-{fingerprint([trial.id for trial in trials])[:10]}"


def launchable(trials: Sequence[Trial], services: ClusterServices, reports: bool) -> dict[str, Any]:
    """Return Tune's parameters of the trials of one learner, with the job that `trial.trainable` runs."""
    job = trial_job(trials, services, reports)
    return {"name": job.name, "trials": list(job.trials), "job": ray.put(job)}
