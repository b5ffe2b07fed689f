"""Prepare the jobs of trials, which depend on torch and on plug-ins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import ray

from dwm_ray.distributed.services import ClusterServices
from dwm_ray.distributed.tune.trial import TrialJob, reset_failed
from dwm_ray.distributed.workers.learner import LearnerJob, learner_loop
from dwm_ray.distributed.workers.ray_train import worker_loop
from dwm_ray.distributed.workers.world_model import model_job
from dwm_ray.evaluation.evaluators import required_models
from dwm_ray.experiment.search_space import Trial
from dwm_ray.options import fingerprint


def trial_job(trials: Sequence[Trial], services: ClusterServices, reports: bool = False) -> TrialJob:
    """Return the job of trials that can form a population; `reports` sends scores to Tune.

    Trials that failed in an earlier session are reset. Restarted processes skip trials that fail in this one.
    """
    run, data, placement = services.run, services.data, services.placement
    reset_failed(run, (trial.id for trial in trials))
    configs = [config for trial in trials for config in required_models(trial.config, data.has_environment)]
    models = {job.name: job for job in (model_job(config, run, data, placement) for config in configs)}
    name, learner = learner_name(trials), _learner_job(trials, services, reports)
    return TrialJob(
        name,
        tuple(trial.id for trial in trials),
        run.address,
        tuple(models.values()),
        worker_loop(partial(learner_loop, learner)),
        trials[0].config.cluster.max_failures,
        placement,
        services.leases,
        reports,
    )


def _learner_job(trials: Sequence[Trial], services: ClusterServices, reports: bool) -> LearnerJob:
    return LearnerJob(
        learner_name(trials),
        tuple(trial.config.model_dump_json() for trial in trials),
        services.run.address,
        services.data.fingerprint,
        services.buffer,
        services.sampler_names,
        services.placement.learner_threads,
        reports,
    )


def learner_name(trials: Sequence[Trial]) -> str:
    """Return a name that depends on the trials' content: the same trials have the same name in every session."""
    if len(trials) == 1:
        return trials[0].id
    return f"population-{fingerprint([trial.id for trial in trials])[:10]}"


def as_params(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the trials of one learner as Tune's parameters."""
    each = [{"config": trial.config.model_dump_json(), "values": trial.values} for trial in trials]
    return {"name": learner_name(trials), "trials": each}


def launchable(trials: Sequence[Trial], services: ClusterServices, reports: bool) -> dict[str, Any]:
    """Return Tune's parameters with the job that `trial.trainable` runs."""
    return {**as_params(trials), "job": ray.put(trial_job(trials, services, reports))}
