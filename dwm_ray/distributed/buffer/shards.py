"""The buffer as several actors, each an index of its own: a stream belongs to one of them by its name.

One actor is one event loop, whose limit is what Ray's calls cost it (docs/benchmarks.md). Streams have nothing to do
with each other, so actors that share them out need not talk; all ask the same samplers, and each keeps its part of the
bytes. What one stream asks of its actor is not divided: where a single stream is too much, give its trials different
`synthesis.seed`s, and they read different rows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.distributed.buffer.replay_buffer import SyntheticReplayBuffer
from dwm_ray.options import ClusterConfig

ALWAYS_THERE = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}


def owner(stream: str, num_shards: int) -> int:
    """Which actor a stream's name belongs to."""
    return int(stream, 16) % num_shards


def belongs(number: int, num_shards: int, stream: str) -> bool:
    """Is the stream that actor's?"""
    return owner(stream, num_shards) == number


@dataclass(frozen=True)
class Shards:
    """Handles of the buffer's actors; can be sent to any process."""

    actors: tuple[Any, ...]

    @staticmethod
    def build(run: str, config: ClusterConfig, sampler_names: list[str], where: Any) -> Shards:
        """Start them by a scheduling strategy; they live as long as the process that calls this."""
        num_bytes = max(1, config.buffer_bytes // config.buffer_shards)
        start = ray.remote(SyntheticReplayBuffer).options(**ALWAYS_THERE, scheduling_strategy=where).remote
        about = (run, config.prefetch_blocks, num_bytes, sampler_names)
        numbers = range(config.buffer_shards)
        return Shards(tuple(start(*about, partial(belongs, number, len(numbers)), number) for number in numbers))

    def of(self, spec: StreamSpec) -> Any:
        """The actor that a stream belongs to: the same for all who ask, also in a later session."""
        return self.actors[owner(spec.fingerprint, len(self.actors))]

    def save(self, at_once: bool) -> None:
        """Have the accounts sent to the run's storage, if it has one; not at once, it may be a while."""
        ray.get([actor.save.remote(at_once) for actor in self.actors])

    def counters(self) -> dict[str, int]:
        """Rows in and out, over all actors."""
        totals: Counter[str] = Counter()
        for counters in ray.get([actor.counters.remote() for actor in self.actors]):
            totals.update(counters)
        return dict(totals)
