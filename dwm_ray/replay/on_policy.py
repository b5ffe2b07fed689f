"""Rollouts that follow the learning policy, refreshed at intervals (DyDiff, arXiv 2405.19189, algorithm 1; MOPO).

    learner  ── policy version v ──►  rollout generator: this process, or sampler actors
             ◄── rows of version v ──

Every `synthesis.refresh_every` updates, the learner publishes its policy as the next version. It adds the rows
generated with earlier versions to its ring, which retains the last `synthesis.kept_versions` versions. A generator in
this process returns its rows immediately. Sampler actors generate version v while the learner continues with older
rows; the learner waits when its newest rows are more than `synthesis.max_staleness` versions old.

Difference from the paper: the size of a refresh is chosen so that the learner samples each row `synthesis.reuse` times
on average. The paper rolls out 2048 start states per refresh, and more than half of the rows are never sampled.
"""

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
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.filters.base import FilterConfig, num_selected
from dwm_ray.options import fingerprint
from dwm_ray.replay.mixture import Mixture, RowSource, num_recorded
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.selection import Selection
from dwm_ray.replay.source import BatchSource
from dwm_ray.types import Segments, Termination


def starts_per_shard(config: RunConfig) -> int:
    """Return the number of start states per rollout shard; a refresh has `synthesis.rollout_shards` shards."""
    recorded = num_recorded(config.replay.real_ratio, config.training.batch_size)
    sampled = config.synthesis.refresh_every * (config.training.batch_size - recorded)
    segments = sampled / config.synthesis.reuse / (config.synthesis.horizon * selected_fraction(config))
    return max(1, math.ceil(segments / config.synthesis.rollout_shards))


def selected_fraction(config: RunConfig) -> float:
    """Return the fraction of segments that the run's filter selects."""
    assert isinstance(config.filter, FilterConfig)
    return config.filter.selected_fraction


@dataclass(frozen=True)
class RolloutShard:
    """Rows that one sampler generated for a refresh."""

    version: int
    rows: Tensor  # [n, width]
    num_segments: int
    seconds: float


@dataclass(frozen=True)
class RolloutContext:
    """Inputs of rollouts except the policy."""

    model: SegmentSampler
    starts: Segments
    """Recorded transitions; rollouts start from their first states."""
    rule: Termination
    select: Selection
    rtg: Tensor  # [N]
    """Return-to-go of each start state, for models that depend on it."""


def generate_shard(config: RunConfig, context: RolloutContext, agent: Agent, version: int, shard: int) -> RolloutShard:
    """Generate a shard, marked with source version + 1; rows depend only on seed, policy, `version` and `shard`."""
    start, device = time.perf_counter(), context.starts.rew.device
    seed = int(fingerprint([config.seed, version, shard]), 16) % 2**63
    generator = torch.Generator(device).manual_seed(seed)
    count = starts_per_shard(config)
    rows = torch.randint(len(context.starts), (count,), generator=generator, device=device)
    obs = context.starts.obs[rows, 0]
    segments = context.model.imagine(
        obs,
        agent.explore(obs, generator),
        policy=lambda states, step: agent.explore(states, generator),
        horizon=config.synthesis.horizon,
        rtg=context.rtg[rows],
        generator=generator,
    )
    segments = end_imagined_episodes(segments, context.rule, config.training.discount)
    segments = replace(segments, source=torch.full_like(segments.source, version + 1))
    selected = context.select.apply(segments, generator)
    return RolloutShard(version, SegmentShape.of(selected).fuse(selected), count, time.perf_counter() - start)


class RolloutGenerator(Protocol):
    """Generator of rollouts for one policy version at a time."""

    asynchronous: bool
    """Whether `submit` returns before the rows are available."""

    def submit(self, version: int, agent: Agent) -> None:
        """Start generating version `version` with the agent's current weights."""

    def collect(self, at_least: int) -> list[RolloutShard]:
        """Return the shards generated since the last call; wait until version `at_least` is complete."""


class LocalRollouts:
    """Rollout generator in the learner's process."""

    asynchronous = False

    def __init__(self, config: RunConfig, context: RolloutContext) -> None:
        self._config, self._context = config, context
        self._shards: list[RolloutShard] = []

    def submit(self, version: int, agent: Agent) -> None:
        for shard in range(self._config.synthesis.rollout_shards):
            self._shards.append(generate_shard(self._config, self._context, agent, version, shard))

    def collect(self, at_least: int) -> list[RolloutShard]:
        shards, self._shards = self._shards, []
        return shards


class OnPolicySource(BatchSource):
    """Batch source of recorded rows and rollouts of recent policy versions."""

    def __init__(self, config: RunConfig, recorded: RowSource, rollouts: RolloutGenerator, agent: Agent) -> None:
        self._config, self._rollouts, self._agent = config, rollouts, agent
        transitions = replace(recorded.shape, horizon=1, has_next_act=False)
        self._ring = Ring(_capacity(config), transitions, recorded.device)
        self._mixture = Mixture(recorded, self._ring, config.replay.real_ratio, config.training.batch_size)
        self.batch_size, self.shape, self.device = self._mixture.batch_size, self._mixture.shape, recorded.device
        self._history: deque[tuple[int, int]] = deque()  # (version, rows), oldest first
        self._max_lag = config.synthesis.max_staleness if rollouts.asynchronous else 0
        self._update, self._version, self._is_first = 0, 0, True
        self._num_segments, self._generating_s, self._waited_s = 0, 0.0, 0.0
        self._learning_s, self._since = 0.0, time.perf_counter()

    def begin(self, update: int) -> None:
        self._update, self._since = update, time.perf_counter()

    def sample_into(self, rows: Tensor, generator: torch.Generator) -> None:
        """Fill `rows` [B, width] with the next batch, after a refresh if one is due."""
        if self._is_first or self._update % self._config.synthesis.refresh_every == 0:
            self._refresh()
        self._update += 1
        self._mixture.sample_into(rows, generator)

    def _refresh(self) -> None:
        """Publish the policy and add the rows that have arrived.

        A version whose rows would arrive after the last update is not requested. The first refresh waits for its own
        version, because the ring is empty at the start and after a restart.
        """
        every = self._config.synthesis.refresh_every
        self._version = self._update // every
        last = (self._config.training.num_updates - 1) // every
        start = time.perf_counter()
        if self._is_first or self._version + min(self._max_lag, 1) <= last:
            self._rollouts.submit(self._version, self._agent)
        needed = self._version if self._is_first else self._version - self._max_lag
        for shard in self._rollouts.collect(needed):
            self._add(shard)
        self._waited_s += time.perf_counter() - start
        self._is_first = False

    def _add(self, shard: RolloutShard) -> None:
        self._ring.add(shard.rows)
        self._history.append((shard.version, len(shard.rows)))
        self._num_segments += shard.num_segments
        self._generating_s += shard.seconds
        while sum(rows for _, rows in self._history) - self._history[0][1] >= self._ring.capacity:
            self._history.popleft()

    def gauges(self) -> dict[str, float]:
        """Return staleness in policy versions and the fractions of learning time that learner and samplers are busy.

        `staleness` is that of the newest rows, `staleness_mean` the mean over the ring. Learning time excludes
        evaluations and checkpoints.
        """
        rows = sum(rows for _, rows in self._history)
        now = time.perf_counter()
        self._learning_s, self._since = self._learning_s + now - self._since, now
        lag = sum(rows * (self._version - version) for version, rows in self._history)
        return {
            **self._mixture.gauges(),
            "policy_version": self._version,
            "staleness": self._version - max((version for version, _ in self._history), default=self._version),
            "staleness_mean": lag / max(rows, 1),
            "synthetic_rows": self._ring.size,
            "segments_imagined": self._num_segments,
            "generating_s": self._generating_s,
            "waited_for_segments_s": self._waited_s,
            "learner_busy_fraction": 1 - self._waited_s / self._learning_s,
            "sampler_busy_fraction": self._generating_s / self._learning_s / self._config.cluster.num_samplers,
        }


def _capacity(config: RunConfig) -> int:
    """Return the ring's capacity in rows: the option, or the rows of `kept_versions` versions if they are fewer."""
    versions = min(config.synthesis.kept_versions, -(-config.training.num_updates // config.synthesis.refresh_every))
    segments = num_selected(starts_per_shard(config), selected_fraction(config)) * config.synthesis.rollout_shards
    return min(config.replay.capacity, versions * segments * config.synthesis.horizon)
