"""Storage options for the files of Ray Train and Tune."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray.train
from ray.train import FailureConfig

from dwm_ray.runs.folder import RunFolder


def ray_storage(run: RunFolder) -> dict[str, Any]:
    """Return Ray's storage options: the run folder, or the run's storage."""
    if run.storage is None:
        return {"storage_path": str(run.ray)}
    return {"storage_path": f"{run.storage.path}/{run.ray.name}", "storage_filesystem": run.storage.filesystem()}


def train_run_config(
    run: RunFolder, name: str, max_failures: int, callbacks: Sequence[Any] = ()
) -> ray.train.RunConfig:
    """Return the configuration of a Ray Train run whose workers are restarted up to `max_failures` times."""
    return ray.train.RunConfig(
        name=name,
        **ray_storage(run),
        callbacks=list(callbacks),
        failure_config=FailureConfig(max_failures=max_failures, controller_failure_limit=5),
    )
