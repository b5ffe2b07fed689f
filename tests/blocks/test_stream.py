"""Streams: start pairs, noise, and ends of imagined episodes."""

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dwm_ray.blocks.stream import MIN_SEGMENTS, StreamSpec, end_imagined_episodes, generate_block, start_rows
from dwm_ray.config import RunConfig
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.experiment.profiles import run_config
from dwm_ray.options import fingerprint
from dwm_ray.tasks.table import hopper_fell, no_termination
from dwm_ray.types import Policy, Segments, Spaces
from dwm_ray.world_models.base import SegmentRequest, WorldModel, WorldModelConfig

CPU = torch.device("cpu")


def spec(num_segments: int = 10, block_rows: int = 4, seed: int = 0, target_rtg: float = 0.5) -> StreamSpec:
    return StreamSpec("model", {"temperature": 0.5}, target_rtg, 0.9, num_segments, block_rows, seed)


class Walk(WorldModel):
    """s' = s + noise, reward = return-to-go: shows which segment starts from which pair."""

    follows_policy = False
    sequence_length = 4
    max_horizon = 3

    def imagine(
        self,
        obs: Tensor,
        act: Tensor,
        *,
        policy: Policy | None,
        horizon: int,
        rtg: Tensor,
        generator: torch.Generator,
        first: Segments | None = None,
    ) -> Segments:
        steps = torch.randn(len(obs), horizon, 2, generator=generator)
        ones = torch.ones(len(obs), horizon)
        states = torch.cat([obs[:, None], obs[:, None] + steps.cumsum(1)], 1)
        return Segments(states, act[:, None], ones * rtg[:, None], ones, 0 * ones, ones[:, 0])


def walk() -> WorldModel:
    return Walk(WorldModelConfig(), Spaces(2, 1, (-1.0,), (1.0,)))


def starts(num: int = 7) -> Segments:
    """Pair i has state (i, i) and action i."""
    rows = torch.arange(num, dtype=torch.float32)
    flat = torch.zeros(num, 1)
    return Segments(rows[:, None, None].expand(num, 2, 2), rows[:, None, None], flat, flat + 0.9, flat, flat[:, 0])


HALF = torch.full((7,), 0.5)


def block(index: int, of: StreamSpec) -> Segments:
    return generate_block(of, index, walk(), starts(), no_termination, HALF)


def test_the_default_length_covers_all_start_pairs() -> None:
    of = partial(StreamSpec.of, run_config("laptop", "dwm"), "model")
    assert (of(10).num_segments, of(400_000).num_segments) == (MIN_SEGMENTS, 400_000)
    assert StreamSpec.of(run_config("paper", "dwm"), "model", 10).num_segments == 1_000_000


@given(st.integers(1, 60), st.integers(1, 17))
def test_blocks_cover_the_stream_without_gap_or_overlap(num_segments: int, block_rows: int) -> None:
    stream = spec(num_segments, block_rows)
    positions = [position for index in range(stream.num_blocks) for position in stream.rows_of(index)]
    assert positions == list(range(num_segments))


@given(num_pairs=st.integers(1, 20), block_rows=st.integers(1, 13), epochs=st.integers(1, 4), seed=st.integers(0, 3))
def test_every_pair_once_before_any_pair_twice(num_pairs: int, block_rows: int, epochs: int, seed: int) -> None:
    stream = spec(num_pairs * epochs, block_rows, seed)
    pairs = torch.cat([start_rows(stream, index, num_pairs) for index in range(stream.num_blocks)])
    for epoch in pairs.split(num_pairs):
        assert sorted(epoch.tolist()) == list(range(num_pairs))


def test_each_epoch_and_each_seed_has_its_own_order() -> None:
    first, second = start_rows(spec(200, 200), 0, 100).split(100)
    assert not torch.equal(first, second)
    assert not torch.equal(first, start_rows(spec(200, 200, seed=1), 0, 100)[:100])
    assert torch.equal(first, start_rows(spec(200, 200, target_rtg=0.9), 0, 100)[:100])


def test_a_block_is_determined_by_specification_and_index() -> None:
    shape = SegmentShape.of(block(0, spec()))
    torch.manual_seed(5)
    rows = {index: shape.fuse(block(index, spec())) for index in (2, 0, 1)}
    torch.manual_seed(6)
    for index in range(3):
        assert torch.equal(shape.fuse(block(index, spec())), rows[index])
    assert len(rows[2]) == 2
    assert not torch.equal(rows[0][:2], rows[2])


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"target_rtg": 0.4}, {"sampling": {"temperature": 1.0}}, {"world_model": "b"}]
)
def test_other_specifications_have_other_names_and_noise(other: dict[str, object]) -> None:
    changed = replace(spec(), **other)  # type: ignore[arg-type]
    assert changed.fingerprint != spec().fingerprint
    assert not torch.equal(block(0, changed).obs[:, 1:], block(0, spec()).obs[:, 1:])


def test_blocks_start_from_their_pairs_and_have_the_maximum_horizon() -> None:
    segments = block(1, spec(10, 4))
    rows = start_rows(spec(10, 4), 1, 7).float()
    assert torch.equal(segments.obs[:, 0, 0], rows)
    assert torch.equal(segments.act[:, 0, 0], rows)
    assert segments.horizon == 3
    assert torch.equal(segments.rew, torch.full((4, 3), 0.5))


def test_options_that_do_not_change_the_stream_are_not_in_its_name() -> None:
    run = RunConfig(world_model="dwm", agent="td3_bc", filter="keep_all")
    same = {
        "synthesis.horizon": 2,
        "seed": 4,
        "agent.penalty_weight": 1.0,
        "filter": "hardmax",
        "replay.real_ratio": 0.5,
    }
    other = {
        "synthesis.target_rtg": 0.1,
        "world_model.guidance_scale": 2.0,
        "synthesis.seed": 1,
        "training.discount": 0.9,
    }
    names = [
        StreamSpec.of(run.with_values({key: value}), "model", 100).fingerprint
        for key, value in {**same, **other}.items()
    ]
    assert Counter(names)[StreamSpec.of(run, "model", 100).fingerprint] == len(same)
    assert len(set(names)) == 1 + len(other)


def test_discounts_are_zero_from_the_terminating_step_on() -> None:
    obs = torch.ones(4, 4, 3)
    obs[:, :, 1] = 0.0
    obs[1, 2, 0] = 0.6  # falls in the second imagined state and stands up again
    obs[2, 0, 0] = 0.6  # the start state is real: it does not end what follows
    obs[3, 3, 1] = 0.3
    flat = torch.ones(4, 3)
    segments = Segments(obs, torch.zeros(4, 1, 1), flat, flat, flat, flat[:, 0])
    ended = end_imagined_episodes(segments, hopper_fell, 0.9)
    expected = [[0.9, 0.9, 0.9], [0.9, 0.0, 0.0], [0.9, 0.9, 0.9], [0.9, 0.9, 0.0]]
    torch.testing.assert_close(ended.discount, torch.tensor(expected))
    assert ended.obs is segments.obs
    assert torch.equal(end_imagined_episodes(segments, no_termination, 0.9).discount, flat * 0.9)


def test_a_termination_by_the_model_counts_like_one_by_the_rule() -> None:
    segments = replace(block(0, spec(2)), discount=torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]))
    ended = end_imagined_episodes(segments, no_termination, 0.9)
    torch.testing.assert_close(ended.discount, torch.tensor([[0.9, 0.0, 0.0], [0.9, 0.9, 0.9]]))


def test_golden_names() -> None:
    """A stream's name must not change between versions: a resumed run would generate everything again."""
    assert fingerprint({"a": 1, "b": [0.5, None]}) == fingerprint({"b": [0.5, None], "a": 1}) == "f1a92042e7c3ddd4"
    assert spec().fingerprint == "5b146fb3caf60cc5"
    assert start_rows(spec(), 0, 7).tolist() == [5, 6, 2, 3]


class Continuing(Walk):
    """Continues from recorded first steps."""

    uses_first_step = True
    imagine = WorldModel.imagine  # type: ignore[assignment]

    def generate(self, request: SegmentRequest) -> Segments:
        assert request.first is not None
        later = [request.first.obs[:, 1] + step for step in range(1, request.horizon)]
        states = torch.stack([request.obs, request.first.obs[:, 1], *later], 1)
        ones = torch.ones_like(states[:, 1:, 0])
        return Segments(states, request.act[:, None], ones, ones, ones, ones[:, 0])


def test_blocks_continue_from_recorded_first_steps_which_the_rule_does_not_judge() -> None:
    pairs = starts()
    pairs = replace(pairs, rew=pairs.rew + 5, discount=torch.tensor([[0.9], [0.0]] * 3 + [[0.9]]))
    model, stream = Continuing(WorldModelConfig(), Spaces(2, 1, (-1.0,), (1.0,))), spec(num_segments=7, block_rows=7)
    segments = generate_block(stream, 0, model, pairs, lambda obs: obs[..., 0] < 3, HALF)
    order = start_rows(stream, 0, len(pairs))
    assert torch.equal(segments.obs[:, :2], pairs[order].obs)
    assert (segments.rew[:, 0] == 5).all()
    assert torch.equal(segments.discount[:, :1], pairs[order].discount)
    for row, number in enumerate(order.tolist()):
        later = segments.obs[row, 2:, 0] >= 3
        expected = 0.9 * torch.cumprod((later & bool(pairs.discount[number])).float(), 0)
        torch.testing.assert_close(segments.discount[row, 1:], expected)


def test_each_start_pair_has_its_own_return_to_go() -> None:
    """The toy's reward is the return-to-go."""
    pairs, targets = starts(), torch.linspace(-1, 1, 7)
    stream = replace(spec(num_segments=14, block_rows=5), target_rtg="own")
    for index in range(stream.num_blocks):
        rew = generate_block(stream, index, walk(), pairs, no_termination, targets).rew
        torch.testing.assert_close(rew, targets[start_rows(stream, index, 7), None].expand(-1, 3))
