"""The buffer as several actors: a stream belongs to one of them, determined by its name.

One actor is one event loop, which accepts some hundred blocks per CPU second (docs/benchmarks.md). Streams are
independent, so the actors need not communicate. All of them use the same samplers, and each gets an equal part of
`buffer_bytes`. The load of one stream is not divided: if it is too high, give its trials different values of
`synthesis.seed`, so that they read different streams.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import ray

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.distributed.buffer.replay_buffer import SyntheticReplayBuffer, owner
from dwm_ray.options import ClusterConfig

RESTARTED = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}


@dataclass(frozen=True)
class Shards:
    """Handles of the buffer's actors; can be sent to any process."""

    actors: tuple[Any, ...]

    @staticmethod
    def build(run: str, config: ClusterConfig, sampler_names: list[str], strategy: Any) -> Shards:
        """Start the actors with a scheduling strategy; they live as long as the calling process."""
        count = config.buffer_shards
        start = ray.remote(SyntheticReplayBuffer).options(**RESTARTED, scheduling_strategy=strategy).remote
        args = (run, config.prefetch_blocks, max(1, config.buffer_bytes // count), sampler_names)
        return Shards(tuple(start(*args, number, count) for number in range(count)))

    def of(self, spec: StreamSpec) -> Any:
        """Return the actor that owns a stream; the same in every process and session."""
        return self.actors[owner(spec.fingerprint, len(self.actors))]

    def push_journals(self, force: bool) -> None:
        """Push the journals to the run's storage, if it has one; without `force` only if they are due."""
        ray.get([actor.push_journals.remote(force) for actor in self.actors])

    def counters(self) -> dict[str, int]:
        """Return the counters summed over all actors."""
        totals: Counter[str] = Counter()
        for counters in ray.get([actor.counters.remote() for actor in self.actors]):
            totals.update(counters)
        return dict(totals)
