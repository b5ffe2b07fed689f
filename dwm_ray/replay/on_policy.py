"""Imagined transitions that follow the learning policy, in rounds (DyDiff, arXiv 2405.19189, algorithm 1).

    learner  ── policy of version v ──►  drawer: this process, or sampler actors
             ◄── rows of round v ──────

Every `synthesis.refresh_every` updates the learner hands out its policy as the next version and takes in what was drawn
with earlier ones, first in first out, the last `synthesis.kept_versions` rounds in all. A drawer in this process
answers at once; samplers draw round v while the learner goes on with older rows, at most `synthesis.max_staleness`
versions old at their newest: beyond that it waits.
A round holds what the learner will draw from it, `reuse` times over, so little is imagined for nothing.
Difference from the paper: 2048 start states a round there, of whose rows over half are never drawn.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from dwm_ray.agents.base import Agent
from dwm_ray.blocks.micro_batching import SegmentSampler
from dwm_ray.blocks.stream import end_imagined_episodes
from dwm_ray.config import RunConfig
from dwm_ray.filters.base import FilterConfig, num_selected
from dwm_ray.options import fingerprint
from dwm_ray.replay.mixture import Mixture
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.selection import Selection
from dwm_ray.replay.source import BatchSource
from dwm_ray.types import Segments, SegmentShape, Termination


def starts_per_shard(config: RunConfig) -> int:
    """Return the start states of one rollout shard; a refresh has `synthesis.rollout_shards` shards."""
    drawn = config.synthesis.refresh_every * (config.training.batch_size - num_real(config))
    segments = drawn / config.synthesis.reuse / (config.synthesis.horizon * kept_share(config))
    return max(1, math.ceil(segments / config.synthesis.rollout_shards))


def kept_share(config: RunConfig) -> float:
    """Fraction of what is imagined that the run's filter keeps."""
    assert isinstance(config.filter, FilterConfig)
    return config.filter.selected_fraction


def num_real(config: RunConfig) -> int:
    """Recorded rows in a batch."""
    return Mixture.num_real(config.replay.real_ratio, config.training.batch_size)


@dataclass(frozen=True)
class RolloutShard:
    """What one sampler contributes to a round."""

    version: int
    rows: Tensor
    num_segments: int
    seconds: float


@dataclass(frozen=True)
class RolloutContext:
    """What rounds are imagined with, beside the policy."""

    model: SegmentSampler
    starts: Segments
    """Recorded transitions, in whose first states rollouts begin."""
    rule: Termination
    admit: Selection


def generate_shard(config: RunConfig, ground: RolloutContext, agent: Agent, version: int, part: int) -> RolloutShard:
    """Imagine one part of round `version` with the agent's policy; decided by the run's seed, the weights and these
    numbers. Every row's source is version + 1."""
    started, device = time.perf_counter(), ground.starts.rew.device
    seed = int(fingerprint([config.seed, version, part]), 16) % 2**63
    generator = torch.Generator(device).manual_seed(seed)
    count = starts_per_shard(config)
    chosen = torch.randint(len(ground.starts), (count,), generator=generator, device=device)
    obs = ground.starts.obs[chosen, 0]
    segments = ground.model.imagine(
        obs,
        agent.explore(obs, generator),
        policy=lambda states, step: agent.explore(states, generator),
        horizon=config.synthesis.horizon,
        rtg=config.synthesis.target_rtg,
        generator=generator,
    )
    segments = end_imagined_episodes(segments, ground.rule, config.training.discount)
    segments = replace(segments, source=torch.full_like(segments.source, version + 1))
    kept = ground.admit.apply(segments, generator)
    return RolloutShard(version, SegmentShape.of(kept).fuse(kept), count, time.perf_counter() - started)


class RolloutGenerator(Protocol):
    """Who imagines."""

    asynchronous: bool
    """False where a round is there as soon as it was submitted."""

    def submit(self, version: int, agent: Agent) -> None:
        """Have round `version` imagined with the agent's weights as they are now."""

    def collect(self, at_least: int) -> list[RolloutShard]:
        """What has been imagined since; waits until round `at_least` is complete."""


class LocalRollouts:
    """Draws in this process, at once: the specification."""

    asynchronous = False

    def __init__(self, config: RunConfig, ground: RolloutContext) -> None:
        self._config, self._ground = config, ground
        self._parts: list[RolloutShard] = []

    def submit(self, version: int, agent: Agent) -> None:
        for part in range(self._config.synthesis.rollout_shards):
            self._parts.append(generate_shard(self._config, self._ground, agent, version, part))

    def collect(self, at_least: int) -> list[RolloutShard]:
        parts, self._parts = self._parts, []
        return parts


class OnPolicySource(BatchSource):
    """Batches of recorded transitions and of those imagined with recent versions of the policy."""

    def __init__(self, config: RunConfig, real: Ring, drawer: RolloutGenerator, agent: Agent) -> None:
        self._config, self._drawer, self._agent = config, drawer, agent
        self._ring = Ring(_capacity(config), real.shape, real.device)
        self._mixture = Mixture(real, self._ring, config.replay.real_ratio, config.training.batch_size)
        self._history: deque[tuple[int, int]] = deque()  # (version, rows), oldest first
        self._lag = config.synthesis.max_staleness if drawer.asynchronous else 0
        self._update, self._version, self._first = 0, 0, True
        self._num_segments, self._generating_s, self._waited_s = 0, 0.0, 0.0
        self._learning_s, self._since = 0.0, time.perf_counter()

    def begin(self, update: int) -> None:
        self._update, self._since = update, time.perf_counter()

    def next_batch(self, generator: torch.Generator) -> Segments:
        if self._first or self._update % self._config.synthesis.refresh_every == 0:
            self._refresh()
        self._update += 1
        return self._mixture.next_batch(generator)

    def _refresh(self) -> None:
        """Hand out the policy as it is now and take in what has come; a round that would come too late to be learned
        from is not asked for. After a restart the first round is waited for: the ring is empty."""
        every = self._config.synthesis.refresh_every
        self._version = self._update // every
        last = (self._config.training.num_updates - 1) // every
        started = time.perf_counter()
        if self._first or self._version + min(self._lag, 1) <= last:
            self._drawer.submit(self._version, self._agent)
        allowed = self._version if self._first else self._version - self._lag
        for part in self._drawer.collect(allowed):
            self._take(part)
        self._waited_s += time.perf_counter() - started
        self._first = False

    def _take(self, part: RolloutShard) -> None:
        self._ring.add(part.rows)
        self._history.append((part.version, len(part.rows)))
        self._num_segments += part.num_segments
        self._generating_s += part.seconds
        while sum(rows for _, rows in self._history) - self._history[0][1] >= self._ring.capacity:
            self._history.popleft()

    def gauges(self) -> dict[str, float]:
        """Staleness is in versions of the policy: of the newest rows, and on average over the ring. Shares are of the
        time spent learning since the learner's start, evaluations and checkpoints left out."""
        rows = sum(rows for _, rows in self._history)
        now = time.perf_counter()
        self._learning_s, self._since = self._learning_s + now - self._since, now
        wall_s = self._learning_s
        mean = sum(rows * (self._version - version) for version, rows in self._history) / max(rows, 1)
        return {
            **self._mixture.gauges(),
            "policy_version": self._version,
            "staleness": self._version - max((version for version, _ in self._history), default=self._version),
            "staleness_mean": mean,
            "synthetic_rows": self._ring.size,
            "segments_imagined": self._num_segments,
            "generating_s": self._generating_s,
            "waited_for_segments_s": self._waited_s,
            "learner_busy_fraction": 1 - self._waited_s / wall_s,
            "sampler_busy_fraction": self._generating_s / wall_s / self._config.cluster.num_samplers,
        }


def _capacity(config: RunConfig) -> int:
    """Rows of the ring: the option, or those of the last `kept_versions` rounds where these are fewer."""
    rounds = min(config.synthesis.kept_versions, -(-config.training.num_updates // config.synthesis.refresh_every))
    segments = num_selected(starts_per_shard(config), kept_share(config)) * config.synthesis.rollout_shards
    return min(config.replay.capacity, rounds * segments * config.synthesis.horizon)
