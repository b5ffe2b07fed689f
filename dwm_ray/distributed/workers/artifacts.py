"""Build every world model once, however many trials need it.

A trial that needs a world model requests a lease on its name. The holder of the lease trains the model; the others wait
until the model's folder is complete. A holder that dies stops renewing its lease, and the next trial continues from the
last checkpoint. A model of an earlier session is reused.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any
from uuid import uuid4

import ray

from dwm_ray.distributed.cluster.resources import Placement
from dwm_ray.distributed.workers.leases import LEASE_S
from dwm_ray.distributed.workers.ray_train import new_trainer, run_workers
from dwm_ray.runs.background import in_background
from dwm_ray.runs.folder import RunFolder

POLL_S = 1.0


@dataclass(frozen=True)
class ModelJob:
    """Training of one world model under Ray Train."""

    name: str
    loop: Callable[[], None]
    """Loop of a worker, by `ray_train.worker_loop`."""
    max_failures: int
    num_workers: int


def ensure_world_model(job: ModelJob, run: RunFolder, leases: Any, placement: Placement) -> None:
    """Train a world model, or wait until another trial has trained it; continue from its checkpoint."""
    owner = uuid4().hex
    while not run.has(run.world_model(job.name) / "status.json"):
        if ray.get(leases.acquire.remote(job.name, owner)):
            with _renewing(leases, job.name, owner):
                name = f"world-model-{job.name}"
                run_workers(partial(new_trainer, job.loop, name, run, placement, job.num_workers), job.max_failures)
        else:
            time.sleep(POLL_S)


def _renewing(leases: Any, name: str, owner: str) -> AbstractContextManager[None]:
    def renew(stop: Event) -> None:
        while not stop.wait(LEASE_S / 4):
            leases.acquire.remote(name, owner)

    return in_background("lease", renew)
