"""Samplers and readers that only pretend, for a load on the buffer's index; see `load`.

A fake sampler sleeps and returns a tiny block; a few processes stand for all of them, since the buffer asks by name and
knows no processes. A fake reader fetches and closes as a feed does and looks at every block, without a ring.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np
import ray

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.distributed.buffer.shards import Shards
from dwm_ray.distributed.workers.prefetcher import BLOCKS_A_FETCH, FETCH_WAIT_S
from dwm_ray.types import SegmentShape

SHAPE = SegmentShape(horizon=1, obs_size=1, act_size=1, num_actions=1)
BLOCK_ROWS = 1
LONGEST = 200_000
"""Blocks of a fake stream: more than a window lasts."""
PROBE_PAUSE_S = 0.05


@dataclass(frozen=True)
class Crowd:
    """Who takes part."""

    samplers: int
    readers: int
    streams: int
    """The readers share them evenly."""
    processes: int
    """That stand for all samplers, and as many for all readers."""
    prefetch_blocks: int
    """Of each stream."""
    shards: int = 1
    """Actors that share out the streams (`cluster.buffer_shards`)."""


class FakeSamplers:
    """One process that stands for many samplers."""

    def __init__(self, draw_s: float) -> None:
        self._draw_s = draw_s
        self._idle: deque[float] = deque()
        self._turnarounds: list[float] = []

    @ray.method(num_returns=2)
    async def draw(self, spec: StreamSpec, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        if self._idle:
            self._turnarounds.append(time.time() - self._idle.popleft())
        await asyncio.sleep(self._draw_s)
        now = time.time()
        self._idle.append(now)
        rows = np.full((BLOCK_ROWS, SHAPE.width), now)  # float64, for the clock
        return rows, {"rows": BLOCK_ROWS, "shape": SHAPE, "seconds": self._draw_s, "cpu_s": 0.0, "oom_splits": 0}

    async def delays(self) -> dict[str, list[float]]:
        """Since the last call."""
        seen, self._turnarounds = self._turnarounds, []
        return {"turnaround": seen}


class FakeReaders:
    """One process that stands for many readers, and for one after another that comes late."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._delays: dict[str, list[float]] = {"delivery": [], "fetch": []}
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, specs: list[StreamSpec]) -> None:
        """One reader a specification. A feed has asked for the name, too, before its second fetch."""
        assert all(spec.fingerprint for spec in specs)
        self._tasks = [asyncio.create_task(self._read(spec)) for spec in specs]
        self._tasks.append(asyncio.create_task(self._come_late(specs[0])))

    async def _read(self, spec: StreamSpec) -> None:
        cursor, buffer = uuid4().hex, self._shards.of(spec)
        while True:
            answer = await buffer.fetch.remote(spec, cursor, BLOCKS_A_FETCH, FETCH_WAIT_S)
            drawn = await asyncio.gather(*(ref for _, [ref] in answer.blocks))
            now = time.time()
            self._delays["delivery"] += [now - rows[0, 0] for rows in drawn]

    async def _come_late(self, spec: StreamSpec) -> None:
        buffer = self._shards.of(spec)
        while True:
            cursor, started = uuid4().hex, time.time()
            answer = await buffer.fetch.remote(spec, cursor, BLOCKS_A_FETCH, FETCH_WAIT_S)
            if answer.blocks:
                self._delays["fetch"].append(time.time() - started)
            await buffer.close.remote(spec, cursor)
            await asyncio.sleep(PROBE_PAUSE_S)

    async def delays(self) -> dict[str, list[float]]:
        """Since the last call. Raises what ended a reader."""
        for task in filter(asyncio.Task.done, self._tasks):
            task.result()
        seen, self._delays = self._delays, {name: [] for name in self._delays}
        return seen


def fake_spec(name: str, seed: int) -> StreamSpec:
    """A stream that does not end."""
    return StreamSpec(name, {}, 0.5, 0.99, LONGEST * BLOCK_ROWS, BLOCK_ROWS, seed)


@contextmanager
def fake_samplers(crowd: Crowd, draw_s: float) -> Iterator[tuple[list[Any], list[str]]]:
    """The processes, and a name for each sampler."""
    mark = uuid4().hex[:8]
    shared = [f"fake-{mark}-{number}" for number in range(crowd.processes)]
    actors = [as_actor(FakeSamplers, name=name, max_concurrency=crowd.samplers).remote(draw_s) for name in shared]
    try:
        yield actors, [shared[number % crowd.processes] for number in range(crowd.samplers)]
    finally:
        for actor in actors:
            ray.kill(actor)


def as_actor(kind: type, **options: Any) -> Any:
    """Of that kind, without a share of the CPUs."""
    return ray.remote(kind).options(num_cpus=0, **options)
