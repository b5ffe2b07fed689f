"""A run folder with a trained world model, and the expected rows of its streams."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from local_runs import CPU, generated_ring, world_model
from tiny_task import NUM_SEGMENTS, tiny_config

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.distributed.cluster.resources import place
from dwm_ray.distributed.services import ClusterServices
from dwm_ray.distributed.workers.prefetcher import BlockPrefetcher
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.sources import SelectedRing, selection, stream_of
from dwm_ray.runs.folder import RunFolder
from dwm_ray.world_models.base import WorldModel


@dataclass(frozen=True)
class Site:
    """A run folder with a trained world model."""

    config: RunConfig
    run: RunFolder
    task_data: TaskData
    spec: StreamSpec
    model: WorldModel

    def expected(self, seed: int = 0) -> np.ndarray:
        """Return the rows of the stream with another seed, generated in this process."""
        config = self.config.with_values({"synthesis.seed": seed})
        return ordered(generated_ring(config, self.task_data, self.model))

    def services(self, **options: Any) -> ClusterServices:
        config = self.config.with_values({f"cluster.{name}": value for name, value in options.items()})
        return ClusterServices.start(config, self.run, self.task_data.identity, place(config.cluster))

    def prefetcher(self, services: ClusterServices, cursor: str, spec: StreamSpec | None = None) -> BlockPrefetcher:
        spec = spec or self.spec
        ring = SelectedRing(spec, selection(self.config), self.config.replay, CPU)
        return BlockPrefetcher(services.buffer.of(spec), spec, [ring], cursor, self.config.replay.patience_s)

    def all_rows(self, services: ClusterServices, cursor: str, spec: StreamSpec | None = None) -> np.ndarray:
        with self.prefetcher(services, cursor, spec) as prefetcher:
            [selected] = prefetcher.wait_until_ready()
            while prefetcher.rows_fetched < NUM_SEGMENTS:
                prefetcher.check()
                time.sleep(0.01)
        return ordered(selected.ring)


def ordered(ring: Ring) -> np.ndarray:
    """Return a ring's rows, sorted: blocks arrive in any order."""
    assert ring.num_added == NUM_SEGMENTS
    return sorted_rows(ring._rows.numpy())


def sorted_rows(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.T)]


def make_site(root: Path, file: Path) -> Site:
    config, run = tiny_config(file, **{"replay.min_synthetic": 1}), RunFolder(root)
    task_data = load_task_data(config)
    spec = stream_of(config, task_data)
    return Site(config, run, task_data, spec, world_model(config, task_data, run))


def stop(services: ClusterServices) -> None:
    """Kill all actors and wait until their names are free."""
    for actor in (*services.samplers, *services.buffer.actors):
        ray.kill(actor)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            for number in range(len(services.samplers)):
                ray.get_actor(f"sampler-{number}")
        except ValueError:
            return
        time.sleep(0.1)
