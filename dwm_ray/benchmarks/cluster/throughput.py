"""Segments through the real buffer: real samplers draw real blocks of a world model, a reader takes them as they come.

The samplers stay the same; a buffer of its own asks the first 1, 2, ... of them. Each measurement is a new stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dwm_ray.blocks.block_files import stream_folder
from dwm_ray.blocks.journal import FILE
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import load_task_data
from dwm_ray.distributed.buffer.shards import Shards
from dwm_ray.distributed.cluster.resources import place
from dwm_ray.distributed.tune.trial import ClusterServices
from dwm_ray.distributed.workers.prefetcher import BLOCKS_A_FETCH, FETCH_WAIT_S
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.row_log import read_rows
from dwm_ray.training.model_store import save_model
from dwm_ray.world_models.parts.build import new_model

MODEL = "untrained"


@dataclass(frozen=True)
class Drawn:
    """One stream that was drawn and read."""

    segments: int
    """After the first block of every sampler, which may have waited for the model."""
    seconds: float
    cpu_s: float
    """Of the samplers."""

    @property
    def per_s(self) -> float:
        return self.segments / self.seconds

    @property
    def per_cpu_s(self) -> float:
        return self.segments / self.cpu_s


@dataclass(frozen=True)
class Site:
    """Samplers at work, and buffers that ask some of them."""

    run: RunFolder
    spec: StreamSpec
    buffers: dict[int, Shards]
    """Number of samplers -> the buffer that asks so many."""

    def in_turns(self, repeats: int, tell: Callable[[str], None]) -> dict[int, list[Drawn]]:
        """Number of samplers -> its measurements; every repeat measures each number once, in alternating order."""
        seen: dict[int, list[Drawn]] = {count: [] for count in self.buffers}
        for repeat in range(repeats):
            tell(f"repeat {repeat + 1} of {repeats}")
            for count in self.buffers if repeat % 2 == 0 else reversed(self.buffers):
                seen[count].append(self._draw(count, repeat))
        return seen

    def _draw(self, count: int, seed: int) -> Drawn:
        """A stream of its own for every count and seed."""
        spec = replace(self.spec, seed=seed * (max(self.buffers) + 1) + count)
        _read_all(self.buffers[count], spec)
        return rate(read_rows(stream_folder(self.run.root, spec) / FILE), count)


@contextmanager
def site(config: RunConfig, folder: Path, counts: Sequence[int]) -> Iterator[Site]:
    """The most samplers that are asked for, with a model that they have loaded."""
    config = config.with_values({"cluster.num_samplers": max(counts)})
    run, task_data = RunFolder(folder), load_task_data(config)
    save_model(run.world_model(MODEL), new_model(config, task_data, torch.device("cpu")), {})
    services = ClusterServices.build(config, run, task_data.identity, place(config.cluster))
    spec, here = (
        StreamSpec.of(config, MODEL),
        NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), False),
    )
    names = list(services.sampler_names)
    buffers = {count: Shards.build(run.address, config.cluster, names[:count], here) for count in counts}
    warm = replace(spec, num_segments=spec.block_rows, seed=-1)
    ray.get([sampler.draw.remote(warm, 0)[1] for sampler in services.samplers])
    try:
        yield Site(run, spec, buffers)
    finally:
        others = [actor for buffer in buffers.values() for actor in buffer.actors]
        for actor in (*services.samplers, *services.buffer.actors, services.leases, *others):
            ray.kill(actor)


def _read_all(buffer: Shards, spec: StreamSpec) -> None:
    """As a learner's feed does, without a ring."""
    cursor, actor, complete = uuid4().hex, buffer.of(spec), False
    while not complete:
        delivery = ray.get(actor.fetch.remote(spec, cursor, BLOCKS_A_FETCH, FETCH_WAIT_S))
        ray.get([ref for _, [ref] in delivery.blocks])
        complete = delivery.complete
    ray.get(actor.close.remote(spec, cursor))


def rate(account: Sequence[dict[str, float]], count: int) -> Drawn:
    """From a stream's account: its clock starts when so many blocks are there as there are samplers."""
    blocks = [line for line in account if "block" in line]
    first, later = blocks[count - 1], blocks[count:]
    cpu_s = sum(line["cpu_s"] for line in later)
    return Drawn(int(sum(line["rows"] for line in later)), later[-1]["time"] - first["time"], cpu_s)
