"""The buffer under many samplers and readers that only pretend: where does its index saturate?

The buffer actor is the real one, and so are the calls that reach it. A fake sampler sleeps for `draw_s` and returns a
tiny block; a few processes stand for all of them, since the buffer asks by name and knows no processes. A fake reader
fetches and closes as a feed does and looks at every block, without a ring. Blocks are not written: the disk is the
samplers' part, not the index's. So `buffer_bytes` is large, and nothing is read back.

What is timed in a window of seconds:

| figure      | from                                       | to                                             |
|-------------|--------------------------------------------|------------------------------------------------|
| fetch       | a new reader asks for blocks that are there | it has the answer; nothing is waited for       |
| delivery    | a sampler has drawn a block                 | a reader that waited for it has it             |
| turnaround  | a sampler has drawn a block                 | it begins the next; first in, first out         |

`bare` is the floor: the same calls to the same samplers from an actor that keeps no books and has no readers.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import ray

from dwm_ray.distributed.buffer import SyntheticReplayBuffer
from dwm_ray.distributed.cluster import connect
from dwm_ray.distributed.feed import BLOCKS_A_FETCH, FETCH_WAIT_S
from dwm_ray.distributed.shards import Shards
from dwm_ray.synthesis import StreamSpec
from dwm_ray.types import SegmentShape

SHAPE = SegmentShape(horizon=1, obs_size=1, act_size=1, num_actions=1)
BLOCK_ROWS = 1
LONGEST = 200_000
"""Blocks of a fake stream: more than a window lasts."""
PROBE_PAUSE_S = 0.05
NO_LIMIT = 10**12


@dataclass(frozen=True)
class Crowd:
    """Who takes part."""

    samplers: int
    readers: int
    streams: int
    """The readers share them evenly."""
    processes: int
    """That stand for all samplers, and as many for all readers."""
    lead_blocks: int
    """Of each stream."""
    shards: int = 1
    """Actors that share out the streams (`cluster.buffer_shards`)."""


@dataclass(frozen=True)
class Window:
    """What was seen in so many seconds."""

    seconds: float
    accepted: int
    """Blocks that the buffer took in, or the floor's actor was given."""
    delivered: int
    """Blocks that readers got; each as often as readers read it."""
    cpu_s: list[float]
    """Of the buffer's processes, all of their threads."""
    rss_bytes: list[int]
    """The most that these processes ever held."""
    delays: dict[str, list[float]] = field(default_factory=dict)
    """Seconds; see the module."""


class Usage:
    """What an actor's process has used."""

    async def usage(self) -> tuple[float, int]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


class WatchedBuffer(SyntheticReplayBuffer, Usage):
    """The real one; it can be asked what it used."""


class BareCaller(Usage):
    """The floor: one task a sampler that asks for the next block when the last one came."""

    def __init__(self, sampler_names: list[str]) -> None:
        self._names, self._drawn = sampler_names, 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, spec: StreamSpec) -> None:
        self._tasks = {asyncio.create_task(self._ask(ray.get_actor(name), spec)) for name in self._names}

    async def _ask(self, sampler: Any, spec: StreamSpec) -> None:
        while True:
            _, meta = sampler.draw.remote(spec, self._drawn)
            await meta
            self._drawn += 1

    async def counters(self) -> dict[str, int]:
        return {"segments_sampled": self._drawn, "segments_consumed": 0}


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
        return rows, {"rows": BLOCK_ROWS, "shape": SHAPE, "seconds": self._draw_s, "cpu_s": 0.0, "oom_halvings": 0}

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


@contextmanager
def cluster() -> Iterator[None]:
    """The cluster of RAY_ADDRESS, or one here."""
    connect()
    try:
        yield
    finally:
        ray.shutdown()


def measure(crowd: Crowd, draw_s: float, warmup_s: float, seconds: float) -> Window:
    """The buffer under a crowd whose samplers take `draw_s` a block."""
    with tempfile.TemporaryDirectory() as run, _fake_samplers(crowd, draw_s) as (samplers, names):
        start = _actor(WatchedBuffer).remote
        shards = Shards(tuple(start(run, crowd.lead_blocks, NO_LIMIT, list(names)) for _ in range(crowd.shards)))
        readers = [_actor(FakeReaders).remote(shards) for _ in range(crowd.processes)]
        specs = [fake_spec(Path(run).name, number % crowd.streams) for number in range(crowd.readers)]
        ray.get([reader.begin.remote(specs[n :: crowd.processes]) for n, reader in enumerate(readers)])
        try:
            return _watch(list(shards.actors), [*samplers, *readers], warmup_s, seconds)
        finally:
            for actor in (*readers, *shards.actors):
                ray.kill(actor)


def measure_bare(crowd: Crowd, draw_s: float, warmup_s: float, seconds: float) -> Window:
    """The floor of the same calls."""
    with _fake_samplers(crowd, draw_s) as (samplers, names):
        caller = _actor(BareCaller).remote(names)
        ray.get(caller.begin.remote(fake_spec("bare", 0)))
        try:
            return _watch([caller], samplers, warmup_s, seconds)
        finally:
            ray.kill(caller)


def fake_spec(name: str, seed: int) -> StreamSpec:
    return StreamSpec(name, {}, 0.5, 0.99, LONGEST * BLOCK_ROWS, BLOCK_ROWS, seed)


def _watch(watched: list[Any], crowd: list[Any], warmup_s: float, seconds: float) -> Window:
    time.sleep(warmup_s)
    before, started = _books(watched), time.perf_counter()
    ray.get([actor.delays.remote() for actor in crowd])
    time.sleep(seconds)
    after, elapsed = _books(watched), time.perf_counter() - started
    moved = {name: (after.counters[name] - before.counters[name]) // BLOCK_ROWS for name in after.counters}
    delays: dict[str, list[float]] = {}
    for name, values in (item for seen in ray.get([a.delays.remote() for a in crowd]) for item in seen.items()):
        delays.setdefault(name, []).extend(values)
    cpu_s = [now - then for now, then in zip(after.cpu_s, before.cpu_s, strict=True)]
    return Window(elapsed, moved["segments_sampled"], moved["segments_consumed"], cpu_s, after.rss_bytes, delays)


@dataclass(frozen=True)
class _Books:
    counters: dict[str, int]
    cpu_s: list[float]
    rss_bytes: list[int]


def _books(watched: list[Any]) -> _Books:
    usage = ray.get([actor.usage.remote() for actor in watched])
    return _Books(Shards(tuple(watched)).counters(), [cpu for cpu, _ in usage], [rss for _, rss in usage])


@contextmanager
def _fake_samplers(crowd: Crowd, draw_s: float) -> Iterator[tuple[list[Any], list[str]]]:
    """The processes, and a name for each sampler."""
    mark = uuid4().hex[:8]
    shared = [f"fake-{mark}-{number}" for number in range(crowd.processes)]
    actors = [_actor(FakeSamplers, name=name, max_concurrency=crowd.samplers).remote(draw_s) for name in shared]
    try:
        yield actors, [shared[number % crowd.processes] for number in range(crowd.samplers)]
    finally:
        for actor in actors:
            ray.kill(actor)


def _actor(kind: type, **options: Any) -> Any:
    return ray.remote(kind).options(num_cpus=0, **options)
