"""A run folder with a trained world model, and what is expected of the streams drawn from it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from tiny_problem import NUM_SEGMENTS, tiny_config

from dwm_ray.config import RunConfig
from dwm_ray.distributed.cluster import place
from dwm_ray.distributed.feed import BlockFeed
from dwm_ray.distributed.trial import Plant
from dwm_ray.problem import Problem, load_problem, model_fingerprint
from dwm_ray.replay.ring import Ring
from dwm_ray.run import imagined_ring, world_model
from dwm_ray.run_folder import RunFolder
from dwm_ray.sources import Intake, admission
from dwm_ray.synthesis import StreamSpec

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Site:
    """A run folder with a trained world model, and the rows that one process draws from it."""

    config: RunConfig
    run: RunFolder
    problem: Problem
    spec: StreamSpec
    expected: np.ndarray

    def plant(self, **options: Any) -> Plant:
        config = self.config.with_values({f"cluster.{name}": value for name, value in options.items()})
        return Plant.build(config, self.run, self.problem.identity, place(config.cluster))

    def feed(self, plant: Plant, cursor: str, spec: StreamSpec | None = None) -> BlockFeed:
        spec = spec or self.spec
        intake = Intake(spec, admission(self.config), self.config.replay, CPU)
        return BlockFeed(plant.buffer.of(spec), spec, [intake], cursor, self.config.replay.patience_s)

    def all_rows(self, plant: Plant, cursor: str) -> np.ndarray:
        with self.feed(plant, cursor) as feed:
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
    problem = load_problem(config)
    model = world_model(config, problem, run, CPU)
    spec = StreamSpec.of(config, model_fingerprint(config, problem.identity))
    return Site(config, run, problem, spec, ordered(imagined_ring(config, problem, model, CPU)))


def stop(plant: Plant) -> None:
    """Kill a plant and wait until its names are free."""
    for actor in (*plant.samplers, *plant.buffer.actors, plant.claims):
        ray.kill(actor)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            for number in range(len(plant.samplers)):
                ray.get_actor(f"sampler-{number}")
        except ValueError:
            return
        time.sleep(0.1)
