"""Build every world model once, however many trials need it.

A trial that needs a world model tries to acquire the lock with its name. The trial that holds the lock trains the
model; the others wait until the model's folder is complete. The lock is a named actor of the process of the trial, so
it ends with that process, and the next trial continues from the last checkpoint. A model of an earlier session is
reused.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import ray
from ray.exceptions import ActorAlreadyExistsError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dwm_ray.distributed.cluster.resources import Placement
from dwm_ray.distributed.workers.ray_train import new_trainer, run_workers
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


def ensure_world_model(job: ModelJob, run: RunFolder, placement: Placement) -> None:
    """Train a world model, or wait until another trial has trained it; continue from its checkpoint."""
    name, trained = f"world-model-{job.name}", run.world_model(job.name) / "status.json"
    while not run.has(trained):
        with locked(name) as is_mine:
            if is_mine and not run.has(trained):  # another trial may have finished since the first check
                run_workers(partial(new_trainer, job.loop, name, run, placement, job.num_workers), job.max_failures)
        if not is_mine:
            time.sleep(POLL_S)


@contextmanager
def locked(name: str) -> Iterator[bool]:
    """Try to lock a name of this cluster for the context; yield whether this process holds the lock."""

    class Lock:
        """Actor that exists while its creator holds the lock; local, so that its process imports no other module."""

    on_this_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    try:
        lock = ray.remote(Lock).options(name=name, num_cpus=0, scheduling_strategy=on_this_node).remote()
    except ActorAlreadyExistsError:
        yield False
        return
    try:
        yield True
    finally:
        ray.kill(lock)
