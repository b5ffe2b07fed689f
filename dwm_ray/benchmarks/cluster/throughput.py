"""Segments through the real buffer: real samplers generate blocks of an untrained world model for a reader.

The samplers stay the same; a separate buffer for each count uses the first 1, 2, ... of them. Each measurement is a new
stream.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np
import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dwm_ray.blocks.block_files import stream_folder
from dwm_ray.blocks.journal import FILE
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.distributed.buffer.shards import Shards
from dwm_ray.distributed.cluster.resources import place
from dwm_ray.distributed.services import ClusterServices
from dwm_ray.distributed.workers.prefetcher import BLOCKS_PER_FETCH, FETCH_WAIT_S
from dwm_ray.runs.folder import RunFolder
from dwm_ray.runs.row_log import read_rows
from dwm_ray.training.stores import save_model
from dwm_ray.types import Json
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
        yield services, StreamSpec.of(config, MODEL, task_data.identity.num_pairs), run, task_data
    finally:
        for actor in (*services.samplers, *services.buffer.actors):
            ray.kill(actor)


def stream_rate(journal: Sequence[dict[str, float]], num_samplers: int) -> Json:
    """Return segments, seconds and CPU seconds of the samplers for a stream that was generated and read.

    Time starts when there are as many blocks as samplers, because their first blocks may have waited for the model.
    """
    blocks = [line for line in journal if "block" in line]
    first, later = blocks[num_samplers - 1], blocks[num_samplers:]
    rows, cpu_s = (sum(line[name] for line in later) for name in ("rows", "cpu_s"))
    return {"segments": int(rows), "seconds": later[-1]["time"] - first["time"], "cpu_s": cpu_s}


@contextmanager
def sampler_counts(config: RunConfig, folder: Path, counts: Sequence[int]) -> Iterator[dict[str, Callable[[], Json]]]:
    """Start as many samplers as the largest count, with a model that they have loaded, and one buffer per count.

    Yields {count: function that generates and reads a new stream with so many samplers}.
    """
    config = config.with_values({"cluster.num_samplers": max(counts)})
    on_this_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), False)
    with untrained_services(config, folder) as (services, spec, run, _):
        names, seeds = list(services.sampler_names), itertools.count()
        buffers = [Shards.build(run.address, config.cluster, names[:count], on_this_node) for count in counts]
        warm_up = replace(spec, num_segments=spec.block_rows, seed=-1)

        def rate(count: int, buffer: Shards) -> Json:
            stream = replace(spec, seed=next(seeds))
            read_blocks(buffer, stream)
            return stream_rate(read_rows(stream_folder(run.root, stream) / FILE), count)

        try:
            ray.get([sampler.generate.remote(warm_up, 0)[1] for sampler in services.samplers])
            yield {str(count): partial(rate, count, buffer) for count, buffer in zip(counts, buffers, strict=True)}
        finally:
            for actor in (actor for buffer in buffers for actor in buffer.actors):
                ray.kill(actor)


def read_blocks(buffer: Shards, spec: StreamSpec) -> dict[int, np.ndarray]:
    """Read a stream to its end, like a prefetcher without a ring, and return its blocks by index."""
    cursor, actor, blocks, complete = uuid4().hex, buffer.of(spec), dict[int, np.ndarray](), False
    while not complete:
        delivery = ray.get(actor.fetch.remote(spec, cursor, BLOCKS_PER_FETCH, FETCH_WAIT_S, len(blocks)))
        blocks |= {index: np.array(ray.get(ref)) for index, [ref] in delivery.blocks}
        complete = delivery.complete
    ray.get(actor.close.remote(spec, cursor))
    return blocks
