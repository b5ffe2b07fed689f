"""Find a Ray cluster or start one here, and divide its resources.

Authentication is explicit: where the user has not set RAY_AUTH_MODE, a cluster started here demands a token, kept in a
file that only the user can read. Workers keep normal priority (Ray's default of nice 15 starves beside other work).
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import ray

from dwm_ray.config import ClusterConfig

REPORT_POLL_S = 0.5
"""How often Ray Train's controller looks for a worker's report; a report lasts as long (default 2 s)."""
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


def connect() -> None:
    """Join the cluster of RAY_ADDRESS (set by `ray job submit` and on a cluster's nodes), else start one here."""
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(REPORT_POLL_S))
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "120")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    require_token()
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, log_to_driver=False)
    else:
        ray.init(address="local", include_dashboard=True, dashboard_host="127.0.0.1", log_to_driver=False)


def require_token() -> None:
    """Switch token authentication on, with a private token file, unless the user has chosen a mode."""
    if "RAY_AUTH_MODE" in os.environ:
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    path = Path.home() / ".ray" / "auth_token"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    path.chmod(0o600)


def dashboard_line() -> str:
    """Where the dashboard is and how to get in."""
    url = ray.worker.global_worker.node.webui_url if ray.worker.global_worker.node else ""
    token = " (token: ~/.ray/auth_token)" if os.environ.get("RAY_AUTH_MODE") == "token" else ""
    return f"Ray dashboard: http://{url}{token}" if url else "Ray dashboard: on the cluster's head"


def place(config: ClusterConfig) -> Placement:
    """Divide the cluster: samplers first, the rest in slots of one trial (its process and its learner) each."""
    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 1.0), total.get("GPU", 0.0)
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
