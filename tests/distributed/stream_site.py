"""A run folder with a trained world model, and what is expected of the streams drawn from it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from tiny_task import NUM_SEGMENTS, tiny_config

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.distributed.cluster.resources import place
from dwm_ray.distributed.tune.trial import ClusterServices
from dwm_ray.distributed.workers.prefetcher import BlockPrefetcher
from dwm_ray.local.run import imagined_ring, world_model
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.sources import Intake, selection
from dwm_ray.runs.folder import RunFolder
from dwm_ray.world_models.parts.build import model_fingerprint

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Site:
    """A run folder with a trained world model, and the rows that one process draws from it."""

    config: RunConfig
    run: RunFolder
    task_data: TaskData
    spec: StreamSpec
    expected: np.ndarray

    def services(self, **options: Any) -> ClusterServices:
        config = self.config.with_values({f"cluster.{name}": value for name, value in options.items()})
        return ClusterServices.build(config, self.run, self.task_data.identity, place(config.cluster))

    def feed(self, services: ClusterServices, cursor: str, spec: StreamSpec | None = None) -> BlockPrefetcher:
        spec = spec or self.spec
        intake = Intake(spec, selection(self.config), self.config.replay, CPU)
        return BlockPrefetcher(services.buffer.of(spec), spec, [intake], cursor, self.config.replay.patience_s)

    def all_rows(self, services: ClusterServices, cursor: str) -> np.ndarray:
        with self.feed(services, cursor) as feed:
            [ring] = feed.ready()
            while feed.rows_fetched < NUM_SEGMENTS:
                feed.check()
                time.sleep(0.01)
        return ordered(ring)


def ordered(ring: Ring) -> np.ndarray:
    """A ring's rows in an order of their own: blocks arrive as they are drawn."""
    assert ring.num_added == NUM_SEGMENTS
    return sorted_rows(ring._rows.numpy())


def sorted_rows(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.T)]


def make_site(root: Path, file: Path) -> Site:
    config, run = tiny_config(file, **{"replay.min_synthetic": 1}), RunFolder(root)
    task_data = load_task_data(config)
    model = world_model(config, task_data, run, CPU)
    spec = StreamSpec.of(config, model_fingerprint(config, task_data.identity))
    return Site(config, run, task_data, spec, ordered(imagined_ring(config, task_data, model, CPU)))


def stop(services: ClusterServices) -> None:
    """Kill a plant and wait until its names are free."""
    for actor in (*services.samplers, *services.buffer.actors, services.leases):
        ray.kill(actor)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            for number in range(len(services.samplers)):
                ray.get_actor(f"sampler-{number}")
        except ValueError:
            return
        time.sleep(0.1)
