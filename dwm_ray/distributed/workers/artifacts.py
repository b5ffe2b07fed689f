"""Build every world model once, however many trials need it.

A trial that needs a world model requests a lease on its name. The holder of the lease trains the model; the others wait
until the model's folder is complete. A holder that dies stops renewing its lease, and the next trial continues from the
last checkpoint. A model of an earlier session is reused.
"""

import time
from contextlib import AbstractContextManager
from threading import Event
from typing import Any
from uuid import uuid4

import ray

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import DataIdentity
from dwm_ray.distributed.cluster.resources import Placement
from dwm_ray.distributed.workers.leases import LEASE_S
from dwm_ray.distributed.workers.world_model import train_world_model
from dwm_ray.runs.background import in_background
from dwm_ray.runs.folder import RunFolder
from dwm_ray.world_models.parts.build import model_fingerprint

POLL_S = 1.0


def ensure_world_model(
    config: RunConfig, run: RunFolder, data: DataIdentity, leases: Any, placement: Placement
) -> None:
    """Train the run's world model, or wait until another trial has trained it."""
    name, owner = model_fingerprint(config, data), uuid4().hex
    while not run.has(run.world_model(name) / "status.json"):
        if ray.get(leases.acquire.remote(name, owner)):
            with _renewing(leases, name, owner):
                train_world_model(config, run, name, data.fingerprint, placement)
        else:
            time.sleep(POLL_S)


def _renewing(leases: Any, name: str, owner: str) -> AbstractContextManager[None]:
    def renew(stop: Event) -> None:
        while not stop.wait(LEASE_S / 4):
            leases.acquire.remote(name, owner)

    return in_background("lease", renew)
