"""Cluster services of a run whose world model is not trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
import torch

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.distributed.cluster.resources import place
from dwm_ray.distributed.services import ClusterServices
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.model_store import save_model
from dwm_ray.world_models.parts.build import new_model

MODEL = "untrained"


@contextmanager
def untrained_services(
    config: RunConfig, folder: Path
) -> Iterator[tuple[ClusterServices, StreamSpec, RunFolder, TaskData]]:
    """Start samplers and buffer of a run; yield them with the stream, the run folder and the data."""
    run, task_data = RunFolder(folder), load_task_data(config)
    save_model(run.world_model(MODEL), new_model(config, task_data, torch.device("cpu")), {})
    services = ClusterServices.start(config, run, task_data.identity, place(config.cluster))
    try:
        yield services, StreamSpec.of(config, MODEL), run, task_data
    finally:
        for actor in (*services.samplers, *services.buffer.actors, services.leases):
            ray.kill(actor)
