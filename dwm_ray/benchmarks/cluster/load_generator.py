"""Simulated samplers and readers that generate load on the index of the replay buffer.

A simulated sampler sleeps and returns a tiny block. A few processes run all samplers: the buffer addresses samplers by
name and does not depend on processes. A simulated reader fetches like a prefetcher, but has no ring.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import numpy as np
import ray

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.distributed.buffer.shards import Shards
from dwm_ray.distributed.workers.prefetcher import BLOCKS_PER_FETCH, FETCH_WAIT_S

SHAPE = SegmentShape(horizon=1, obs_size=1, act_size=1, num_actions=1)
BLOCK_ROWS = 1
NUM_BLOCKS = 200_000
"""Blocks of a simulated stream; more than a measurement uses."""
NUM_PROCESSES = 2
"""Processes that run all samplers, and as many for all readers."""


class SimulatedSamplers:
    """One process that runs many samplers."""

    def __init__(self, block_s: float) -> None:
        self._block_s = block_s

    @ray.method(num_returns=2)
    async def generate(self, spec: StreamSpec, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Return a block after `block_s` seconds; it contains the time at which it was generated."""
        await asyncio.sleep(self._block_s)
        rows = np.full((BLOCK_ROWS, SHAPE.width), time.time())  # float64 holds the time exactly
        return rows, {"rows": BLOCK_ROWS, "shape": SHAPE, "seconds": self._block_s, "cpu_s": 0.0, "oom_splits": 0}


class SimulatedReaders:
    """One process that runs many readers."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._delays: list[float] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, specs: list[StreamSpec]) -> None:
        """Start one reader per specification."""
        assert all(spec.fingerprint for spec in specs)  # computed now, as in a prefetcher before its second fetch
        self._tasks = [asyncio.create_task(self._read(spec)) for spec in specs]

    async def _read(self, spec: StreamSpec) -> None:
        cursor, buffer = uuid4().hex, self._shards.of(spec)
        while True:
            delivery = await buffer.fetch.remote(spec, cursor, BLOCKS_PER_FETCH, FETCH_WAIT_S)
            blocks = await asyncio.gather(*(ref for _, [ref] in delivery.blocks))
            now = time.time()
            self._delays += [now - rows[0, 0] for rows in blocks]

    async def delays(self) -> list[float]:
        """Return the delays since the last call. Raise the error that ended a reader."""
        for task in filter(asyncio.Task.done, self._tasks):
            task.result()
        delays, self._delays = self._delays, []
        return delays


def endless_stream(name: str, seed: int) -> StreamSpec:
    """Return a stream that does not end during a measurement."""
    return StreamSpec(name, {}, 0.5, 0.99, NUM_BLOCKS * BLOCK_ROWS, BLOCK_ROWS, seed)


@contextmanager
def simulated_samplers(num_samplers: int, block_s: float) -> Iterator[list[str]]:
    """Start the processes; yield one actor name per sampler."""
    suffix = uuid4().hex[:8]
    shared = [f"simulated-{suffix}-{number}" for number in range(NUM_PROCESSES)]
    actors = [as_actor(SimulatedSamplers, name=name, max_concurrency=num_samplers).remote(block_s) for name in shared]
    try:
        yield [shared[number % NUM_PROCESSES] for number in range(num_samplers)]
    finally:
        for actor in actors:
            ray.kill(actor)


def as_actor(kind: type, **options: Any) -> Any:
    """Return the actor class of a class; its actors reserve no CPU."""
    return ray.remote(kind).options(num_cpus=0, **options)
