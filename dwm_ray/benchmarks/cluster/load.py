"""Saturation of the index of the replay buffer under many simulated samplers and readers.

The buffer actor and its calls are real; samplers and readers are simulated (`load_generator`). Blocks are not written
to disk, because samplers write them: `buffer_bytes` is large, and nothing is read back.
"""

import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from dwm_ray.benchmarks.cluster.load_generator import (
    BLOCK_ROWS,
    NUM_PROCESSES,
    SimulatedReaders,
    as_actor,
    endless_stream,
    simulated_samplers,
)
from dwm_ray.distributed.buffer.replay_buffer import SyntheticReplayBuffer
from dwm_ray.distributed.buffer.shards import Shards
from dwm_ray.distributed.cluster.connection import connect

NO_LIMIT = 10**12
PREFETCH_BLOCKS = 64


@dataclass(frozen=True)
class LoadSize:
    """Numbers of simulated samplers, readers and streams; readers are divided evenly among the streams."""

    samplers: int
    readers: int
    streams: int


@dataclass(frozen=True)
class Window:
    """Measurements of one window of several seconds."""

    seconds: float
    accepted: int
    """Blocks that the buffer received."""
    delivered: int
    """Blocks that readers received, counted once per reader."""
    cpu_s: list[float]
    """CPU seconds of all threads, per actor of the buffer."""
    rss_bytes: list[int]
    """Peak memory, per actor of the buffer."""
    delays: list[float]
    """Seconds from the generation of a block until a waiting reader receives it."""


class MonitoredBuffer(SyntheticReplayBuffer):
    """The real buffer, with its resource usage."""

    async def usage(self) -> tuple[float, int]:
        """Return CPU seconds and peak memory in bytes."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


@contextmanager
def cluster() -> Iterator[None]:
    """Connect to the cluster of RAY_ADDRESS, or start one."""
    connect()
    try:
        yield
    finally:
        ray.shutdown()


def measure(size: LoadSize, num_shards: int, block_s: float, warmup_s: float, seconds: float) -> Window:
    """Measure a buffer of `num_shards` actors with samplers that take `block_s` seconds per block."""
    with tempfile.TemporaryDirectory() as run, simulated_samplers(size.samplers, block_s) as names:
        start = as_actor(MonitoredBuffer).remote
        shards = Shards(tuple(start(run, PREFETCH_BLOCKS, NO_LIMIT, list(names)) for _ in range(num_shards)))
        readers = [as_actor(SimulatedReaders).remote(shards) for _ in range(NUM_PROCESSES)]
        specs = [endless_stream(Path(run).name, number % size.streams) for number in range(size.readers)]
        ray.get([reader.begin.remote(specs[n::NUM_PROCESSES]) for n, reader in enumerate(readers)])
        try:
            return _window(shards, readers, warmup_s, seconds)
        finally:
            for actor in (*readers, *shards.actors):
                ray.kill(actor)


def _window(shards: Shards, readers: list[Any], warmup_s: float, seconds: float) -> Window:
    time.sleep(warmup_s)
    counters, cpu_s, _ = _snapshot(shards)
    started = time.perf_counter()
    ray.get([reader.delays.remote() for reader in readers])
    time.sleep(seconds)
    counters_after, cpu_after, rss_bytes = _snapshot(shards)
    elapsed = time.perf_counter() - started
    blocks = {name: (counters_after[name] - counters[name]) // BLOCK_ROWS for name in counters}
    delays = [delay for of in ray.get([reader.delays.remote() for reader in readers]) for delay in of]
    used = [after - before for after, before in zip(cpu_after, cpu_s, strict=True)]
    return Window(elapsed, blocks["segments_sampled"], blocks["segments_consumed"], used, rss_bytes, delays)


def _snapshot(shards: Shards) -> tuple[dict[str, int], list[float], list[int]]:
    """Return the counters of the buffer, and CPU seconds and peak memory of its actors."""
    usage = ray.get([actor.usage.remote() for actor in shards.actors])
    return shards.counters(), [cpu for cpu, _ in usage], [rss for _, rss in usage]
