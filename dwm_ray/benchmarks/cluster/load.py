"""The buffer under many samplers and readers that only pretend: where does its index saturate?

The buffer actor is the real one, and so are the calls that reach it; the `crowd` is not. Blocks are not written: the
disk is the samplers' part, not the index's. So `buffer_bytes` is large, and nothing is read back.

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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from dwm_ray.benchmarks.cluster.load_generator import BLOCK_ROWS, Crowd, FakeReaders, as_actor, fake_samplers, fake_spec
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.distributed.buffer.replay_buffer import SyntheticReplayBuffer
from dwm_ray.distributed.buffer.shards import Shards
from dwm_ray.distributed.cluster.connection import connect

NO_LIMIT = 10**12


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
    with tempfile.TemporaryDirectory() as run, fake_samplers(crowd, draw_s) as (samplers, names):
        start = as_actor(WatchedBuffer).remote
        shards = Shards(tuple(start(run, crowd.prefetch_blocks, NO_LIMIT, list(names)) for _ in range(crowd.shards)))
        readers = [as_actor(FakeReaders).remote(shards) for _ in range(crowd.processes)]
        specs = [fake_spec(Path(run).name, number % crowd.streams) for number in range(crowd.readers)]
        ray.get([reader.begin.remote(specs[n :: crowd.processes]) for n, reader in enumerate(readers)])
        try:
            return _watch(list(shards.actors), [*samplers, *readers], warmup_s, seconds)
        finally:
            for actor in (*readers, *shards.actors):
                ray.kill(actor)


def measure_bare(crowd: Crowd, draw_s: float, warmup_s: float, seconds: float) -> Window:
    """The floor of the same calls."""
    with fake_samplers(crowd, draw_s) as (samplers, names):
        caller = as_actor(BareCaller).remote(names)
        ray.get(caller.begin.remote(fake_spec("bare", 0)))
        try:
            return _watch([caller], samplers, warmup_s, seconds)
        finally:
            ray.kill(caller)


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
