"""OnPolicySource: whose policy rows follow, how many are imagined, how old they may be, and the gauges."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_task import ONE_STEP, tiny_config

from dwm_ray.agents.base import Agent, new_agent
from dwm_ray.config import RunConfig
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.data.task_data import load_task_data
from dwm_ray.filters.keep_all import KeepAll, KeepAllConfig
from dwm_ray.replay.on_policy import (
    LocalRollouts,
    OnPolicySource,
    RolloutContext,
    RolloutShard,
    generate_shard,
    starts_per_shard,
)
from dwm_ray.replay.recorded import RecordedFutures
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.selection import Selection
from dwm_ray.replay.sources import recorded_ring
from dwm_ray.tasks.table import no_termination
from dwm_ray.world_models.parts.build import new_model

CPU = torch.device("cpu")
OPTIONS = {
    "synthesis.refresh_every": 5,
    "synthesis.reuse": 2.0,
    "replay.real_ratio": 0.25,
    "synthesis.rollout_shards": 2,
}


def configured(file: Path, **options: Any) -> RunConfig:
    return tiny_config(file, ONE_STEP, **{**OPTIONS, **options})


def parts_of(config: RunConfig) -> tuple[Ring, RolloutContext, Agent]:
    task_data = load_task_data(config)
    model, agent = new_model(config, task_data, CPU), new_agent(config, task_data, CPU)
    starts = task_data.start_pairs(0.99, CPU)
    selection = Selection(KeepAll(KeepAllConfig()), config.synthesis.horizon, True)
    context = RolloutContext(model, starts, no_termination, selection, torch.zeros(len(starts)))
    return recorded_ring(config, task_data, CPU), context, agent


class SlowRollouts:
    """Rollouts of four rows that arrive only when they must."""

    asynchronous = True

    def __init__(self, shape: SegmentShape) -> None:
        self.shape, self.requested, self.waited_for = shape, [], []
        self._waiting: list[int] = []

    def submit(self, version: int, agent: Agent) -> None:
        self.requested.append(version)
        self._waiting.append(version)

    def collect(self, at_least: int) -> list[RolloutShard]:
        self.waited_for.append(at_least)
        ready = [version for version in self._waiting if version <= at_least]
        self._waiting = [version for version in self._waiting if version > at_least]
        return [RolloutShard(v, torch.full((4, self.shape.width), float(v + 1)), 2, 0.0) for v in ready]


def test_a_refresh_holds_the_rows_that_the_learner_will_sample(file: Path) -> None:
    """5 updates x 12 imagined rows = 60 samples, each row twice: 30 rows, 15 segments of 2 steps, in two shards."""
    assert starts_per_shard(configured(file)) == 8
    filtered = configured(file, **{"filter": "hardmax", "filter.keep_ratio": 0.5})
    assert starts_per_shard(filtered) == 15


def test_rows_are_transitions_of_their_policy_and_carry_its_version(file: Path) -> None:
    config = configured(file)
    recorded, context, agent = parts_of(config)
    shard = generate_shard(config, context, agent, version=3, shard=0)
    segments = recorded.shape.split(shard.rows)
    assert shard.num_segments == 8
    assert len(segments) == 16
    assert set(segments.source.tolist()) == {4.0}
    assert torch.equal(segments.obs[::2, 1], segments.obs[1::2, 0]), "step by step, row by row"
    assert not torch.isin(segments.act, context.starts.act).all()


def test_a_shard_depends_only_on_seed_weights_and_numbers(file: Path) -> None:
    config = configured(file)
    _, context, agent = parts_of(config)
    first, again = (generate_shard(config, context, agent, 0, 0) for _ in range(2))
    assert torch.equal(first.rows, again.rows)
    for other in (generate_shard(config, context, agent, 0, 1), generate_shard(config, context, agent, 1, 0)):
        assert not torch.equal(first.rows, other.rows)


def test_batches_have_the_exact_real_ratio_and_the_newest_version(file: Path) -> None:
    config = configured(file)
    recorded, context, agent = parts_of(config)
    batch_source = OnPolicySource(config, recorded, LocalRollouts(config, context), agent)
    generator = torch.Generator().manual_seed(0)
    batch_source.begin(0)
    versions = []
    for _ in range(11):
        source = batch_source.next_batch(generator).source
        assert (source[:4] == 0).all()
        assert (source[4:] > 0).all()
        versions.append(int(source.max()))
    assert versions == sorted(versions)
    assert versions[4] == 1
    assert versions[10] == 3
    gauges = batch_source.gauges()
    assert gauges["policy_version"] == 2
    assert gauges["staleness"] == 0
    assert gauges["staleness_mean"] == 1.0, "three refreshes of equal size, 0, 1 and 2 versions old"
    assert gauges["segments_imagined"] == 3 * 16
    assert 0.5 < gauges["consumed_fraction"] <= 1


def test_recorded_rows_may_be_futures(file: Path) -> None:
    config = configured(file)
    _, context, agent = parts_of(config)
    futures = RecordedFutures(
        tiny_config(file, {"name": "recorded"}, **{"synthesis.horizon": 3}), load_task_data(config), CPU
    )
    source = OnPolicySource(config, futures, LocalRollouts(config, context), agent)
    source.begin(0)
    batch = source.next_batch(torch.Generator().manual_seed(0))
    assert (batch.source[:4] == 0).all()
    assert (batch.rew[:4, 2] != 0).any()
    assert (batch.source[4:] > 0).all()
    assert (batch.rew[4:, 1:] == 0).all(), "rollouts are transitions, padded"


@pytest.mark.parametrize(
    ("staleness", "waited_for", "requested"),
    [
        (2, [0, -1, 0, 1, 2, 3], [0, 1, 2, 3, 4]),  # a sixth refresh would arrive after the last update
        (0, [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_the_learner_waits_only_where_rows_would_be_too_old(
    staleness: int, waited_for: list[int], requested: list[int], file: Path
) -> None:
    config = configured(file, **{"synthesis.max_staleness": staleness})
    recorded, _, agent = parts_of(config)
    rollouts = SlowRollouts(recorded.shape)
    batch_source = OnPolicySource(config, recorded, rollouts, agent)
    batch_source.begin(0)
    stale = []
    for _ in range(30):
        batch_source.next_batch(torch.Generator().manual_seed(0))
        stale.append(batch_source.gauges()["staleness"])
    assert (rollouts.waited_for, rollouts.requested) == (waited_for, requested)
    assert max(stale) == staleness


def test_a_restarted_learner_waits_for_a_refresh_of_its_own_policy(file: Path) -> None:
    config = configured(file)
    recorded, _, agent = parts_of(config)
    rollouts = SlowRollouts(recorded.shape)
    batch_source = OnPolicySource(config, recorded, rollouts, agent)
    batch_source.begin(13)
    batch = batch_source.next_batch(torch.Generator().manual_seed(0))
    assert rollouts.requested == rollouts.waited_for == [2]
    assert Counter(batch.source.tolist()) == {0.0: 4, 3.0: 12}


def test_the_ring_forgets_the_oldest_refreshes(file: Path) -> None:
    config = configured(file, **{"replay.capacity": 8})
    recorded, _, agent = parts_of(config)
    batch_source = OnPolicySource(config, recorded, SlowRollouts(recorded.shape), agent)
    for _ in range(30):
        batch = batch_source.next_batch(torch.Generator().manual_seed(0))
    assert set(batch.source[4:].tolist()) <= {4.0, 5.0}
    assert batch_source.gauges()["synthetic_rows"] == 8
    assert batch_source.gauges()["staleness_mean"] == 1.5
