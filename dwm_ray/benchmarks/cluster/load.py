"""Saturation of the index of the replay buffer under many simulated samplers and readers.

The buffer actor and its calls are real; samplers and readers are simulated (`load_generator`). Blocks are not written
to disk, because samplers write them: `buffer_bytes` is large, and nothing is read back.

Delays, measured in a window of several seconds:

| delay      | from                                         | to                                                  |
|------------|----------------------------------------------|-----------------------------------------------------|
| fetch      | a new reader requests blocks that are stored | it receives them; no wait is necessary              |
| delivery   | a sampler has generated a block              | a reader that waited for the block has it           |
| turnaround | a sampler has generated a block              | it starts the next one; first in, first out         |

`measure_bare` is the lower bound: the same calls to the same samplers by an actor without an index and without readers.
"""

import asyncio
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from dwm_ray.benchmarks.cluster.load_generator import (
    BLOCK_ROWS,
    LoadSize,
    SimulatedReaders,
    as_actor,
    endless_stream,
    simulated_samplers,
)
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.distributed.buffer.replay_buffer import SyntheticReplayBuffer
from dwm_ray.distributed.buffer.shards import Shards
from dwm_ray.distributed.cluster.connection import connect

NO_LIMIT = 10**12


@dataclass(frozen=True)
class Window:
    """Measurements of one window."""

    seconds: float
    accepted: int
    """Blocks that the buffer, or the actor without an index, received."""
    delivered: int
    """Blocks that readers received, counted once per reader."""
    cpu_s: list[float]
    """CPU seconds of all threads, per process of the buffer."""
    rss_bytes: list[int]
    """Peak memory, per process of the buffer."""
    delays: dict[str, list[float]] = field(default_factory=dict)
    """Delays in seconds; see the module."""


class Usage:
    """Mix-in of an actor that reports its resource usage."""

    async def usage(self) -> tuple[float, int]:
        """Return CPU seconds and peak memory in bytes."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


class MonitoredBuffer(SyntheticReplayBuffer, Usage):
    """The real buffer, with its resource usage."""


class BareCaller(Usage):
    """Actor without an index: one task per sampler requests the next block as soon as the last one has arrived."""

    def __init__(self, sampler_names: list[str]) -> None:
        self._names, self._received = sampler_names, 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, spec: StreamSpec) -> None:
        self._tasks = {asyncio.create_task(self._request(ray.get_actor(name), spec)) for name in self._names}

    async def _request(self, sampler: Any, spec: StreamSpec) -> None:
        while True:
            _, meta = sampler.generate.remote(spec, self._received)
            await meta
            self._received += 1

    async def counters(self) -> dict[str, int]:
        return {"segments_sampled": self._received, "segments_consumed": 0}


@contextmanager
def cluster() -> Iterator[None]:
    """Connect to the cluster of RAY_ADDRESS, or start one."""
    connect()
    try:
        yield
    finally:
        ray.shutdown()


def measure(size: LoadSize, block_s: float, warmup_s: float, seconds: float) -> Window:
    """Measure the buffer with samplers that take `block_s` seconds per block."""
    with tempfile.TemporaryDirectory() as run, simulated_samplers(size, block_s) as (samplers, names):
        start = as_actor(MonitoredBuffer).remote
        shards = Shards(tuple(start(run, size.prefetch_blocks, NO_LIMIT, list(names)) for _ in range(size.shards)))
        readers = [as_actor(SimulatedReaders).remote(shards) for _ in range(size.processes)]
        specs = [endless_stream(Path(run).name, number % size.streams) for number in range(size.readers)]
        ray.get([reader.begin.remote(specs[n :: size.processes]) for n, reader in enumerate(readers)])
        try:
            return _window(list(shards.actors), [*samplers, *readers], warmup_s, seconds)
        finally:
            for actor in (*readers, *shards.actors):
                ray.kill(actor)


def measure_bare(size: LoadSize, block_s: float, warmup_s: float, seconds: float) -> Window:
    """Measure the lower bound of the same calls."""
    with simulated_samplers(size, block_s) as (samplers, names):
        caller = as_actor(BareCaller).remote(names)
        ray.get(caller.begin.remote(endless_stream("bare", 0)))
        try:
            return _window([caller], samplers, warmup_s, seconds)
        finally:
            ray.kill(caller)


def _window(monitored: list[Any], clients: list[Any], warmup_s: float, seconds: float) -> Window:
    time.sleep(warmup_s)
    counters, cpu_s, _ = _snapshot(monitored)
    started = time.perf_counter()
    ray.get([actor.delays.remote() for actor in clients])
    time.sleep(seconds)
    counters_after, cpu_after, rss_bytes = _snapshot(monitored)
    elapsed = time.perf_counter() - started
    blocks = {name: (counters_after[name] - counters[name]) // BLOCK_ROWS for name in counters}
    delays: dict[str, list[float]] = {}
    for name, values in (item for seen in ray.get([a.delays.remote() for a in clients]) for item in seen.items()):
        delays.setdefault(name, []).extend(values)
    used = [after - before for after, before in zip(cpu_after, cpu_s, strict=True)]
    return Window(elapsed, blocks["segments_sampled"], blocks["segments_consumed"], used, rss_bytes, delays)


def _snapshot(monitored: list[Any]) -> tuple[dict[str, int], list[float], list[int]]:
    """Return the counters of the buffer, and CPU seconds and peak memory of its processes."""
    usage = ray.get([actor.usage.remote() for actor in monitored])
    return Shards(tuple(monitored)).counters(), [cpu for cpu, _ in usage], [rss for _, rss in usage]
