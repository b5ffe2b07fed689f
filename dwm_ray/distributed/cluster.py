"""Find a Ray cluster or start one here, and divide its resources."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

import ray

from dwm_ray.config import ClusterConfig
from dwm_ray.distributed import settings

TRIAL_CPUS = 0.1
"""CPUs that Tune's trial process holds: it only waits for its learner."""
SAMPLER_CPUS = 0.1
"""CPUs that a sampler holds on a machine without GPUs: it works in bursts, before the learners need the cores."""


@dataclass(frozen=True)
class Placement:
    """What each kind of process asks of the cluster, and how many trials fit at once."""

    gpus: float
    cpus: float
    learner: dict[str, float]
    sampler: dict[str, float]
    concurrent_trials: int

    @property
    def use_gpu(self) -> bool:
        return self.gpus > 0

    @property
    def learner_threads(self) -> int:
        """Small networks gain nothing from more threads than CPUs; two learners on two cores take one each."""
        return max(1, int(self.learner["CPU"] + 0.5))

    @property
    def sampler_threads(self) -> int:
        return max(1, int(self.sampler["CPU"] + 0.5))


def connect() -> str:
    """Join the cluster of RAY_ADDRESS (set by `ray job submit` and on a cluster's nodes), else start one here. Returns
    where its dashboard is and how to get in. ValueError for a cluster without one: its sweeps would wait for ever."""
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.WARNING,
        "runtime_env": {"worker_process_setup_hook": f"{settings.__name__}.{settings.name_own_cluster.__name__}"},
    }
    address = os.environ.get("RAY_ADDRESS")
    if address:
        context = ray.init(address=address, **options)
    else:
        context = ray.init(address="local", include_dashboard=True, dashboard_host="127.0.0.1", **options)
    if not context.dashboard_url:
        raise ValueError(
            "the Ray cluster runs without its dashboard, which Ray Train needs to free the resources of ended trials; "
            "install ray[default] on the head and start it with --include-dashboard=true"
        )
    token = " (it asks for the token in ~/.ray/auth_token)" if os.environ["RAY_AUTH_MODE"] == "token" else ""
    return f"Ray dashboard: http://{context.dashboard_url}{token}"


def place(config: ClusterConfig) -> Placement:
    """Divide the cluster: samplers first, the rest in slots of one trial (its process and its learner) each."""
    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
    learner = {"CPU": config.learner_cpus}
    sampler = {"CPU": 1.0 if gpus else SAMPLER_CPUS}
    fits = [(cpus - config.num_samplers * sampler["CPU"]) / (TRIAL_CPUS + config.learner_cpus)]
    if gpus:
        learner["GPU"], sampler["GPU"] = config.learner_gpus, config.sampler_gpus
        free = gpus - config.num_samplers * config.sampler_gpus
        fits.append(free / config.learner_gpus if config.learner_gpus else float("inf"))
    slots = int(min(fits) + 1e-6)
    if slots < 1:
        raise ValueError(
            f"the cluster has {cpus:g} CPUs and {gpus:g} GPUs, too few for {config.num_samplers} samplers of {sampler} "
            f"and one learner of {learner}; lower cluster.num_samplers, cluster.sampler_gpus or cluster.learner_*"
        )
    return Placement(gpus, cpus, learner, sampler, slots)
