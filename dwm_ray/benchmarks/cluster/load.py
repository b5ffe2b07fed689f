"""Saturation of the index of the replay buffer under many simulated samplers and readers.

The buffer actor and its calls are real; samplers and readers are simulated (`load_generator`). Blocks are not written
to disk, because samplers write them: `buffer_bytes` is large, and nothing is read back.
"""

import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
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
from dwm_ray.types import Json

NO_LIMIT = 10**12
PREFETCH_BLOCKS = 64


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


def measure(
    samplers: int, readers: int, streams: int, num_shards: int, block_s: float, warmup_s: float, seconds: float
) -> Json:
    """Measure a buffer of `num_shards` actors with samplers that take `block_s` seconds per block.

    Readers are divided evenly among the streams. The result has the entries

        seconds    length of the measurement
        accepted   blocks that the buffer received
        delivered  blocks that readers received, counted once per reader
        cpu_s      CPU seconds of all threads, per actor of the buffer
        rss_bytes  peak memory, per actor of the buffer
        delays     seconds from the generation of each block until a waiting reader receives it
    """
    with tempfile.TemporaryDirectory() as run, simulated_samplers(samplers, block_s) as names:
        start = as_actor(MonitoredBuffer).remote
        shards = Shards(tuple(start(run, PREFETCH_BLOCKS, NO_LIMIT, list(names)) for _ in range(num_shards)))
        actors = [as_actor(SimulatedReaders).remote(shards) for _ in range(NUM_PROCESSES)]
        specs = [endless_stream(Path(run).name, number % streams) for number in range(readers)]
        ray.get([reader.begin.remote(specs[n::NUM_PROCESSES]) for n, reader in enumerate(actors)])
        try:
            return _window(shards, actors, warmup_s, seconds)
        finally:
            for actor in (*actors, *shards.actors):
                ray.kill(actor)


def _window(shards: Shards, readers: list[Any], warmup_s: float, seconds: float) -> Json:
    time.sleep(warmup_s)
    counters, cpu_s, _ = _snapshot(shards)
    start = time.perf_counter()
    ray.get([reader.delays.remote() for reader in readers])
    time.sleep(seconds)
    counters_after, cpu_after, rss_bytes = _snapshot(shards)
    elapsed = time.perf_counter() - start
    blocks = {name: (counters_after[name] - counters[name]) // BLOCK_ROWS for name in counters}
    delays = list(chain.from_iterable(ray.get([reader.delays.remote() for reader in readers])))
    used = [after - before for after, before in zip(cpu_after, cpu_s, strict=True)]
    counted = {"accepted": blocks["segments_sampled"], "delivered": blocks["segments_consumed"]}
    return {"seconds": elapsed, **counted, "cpu_s": used, "rss_bytes": rss_bytes, "delays": delays}


def _snapshot(shards: Shards) -> tuple[dict[str, int], list[float], list[int]]:
    """Return the counters of the buffer, and CPU seconds and peak memory of its actors."""
    usage = ray.get([actor.usage.remote() for actor in shards.actors])
    return shards.counters(), [cpu for cpu, _ in usage], [rss for _, rss in usage]
