"""Streams: which pairs, which noise, where imagined episodes end, what a learner keeps."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dwm_ray.blocks.stream import Selection, StreamSpec, end_imagined_episodes, generate_block, start_rows
from dwm_ray.config import RunConfig
from dwm_ray.filters.base import Filter
from dwm_ray.filters.hardmax import Hardmax, HardmaxConfig
from dwm_ray.filters.keep_all import KeepAll, KeepAllConfig
from dwm_ray.options import fingerprint
from dwm_ray.tasks.table import hopper_fell, never
from dwm_ray.types import Policy, Segments, SegmentShape, Spaces
from dwm_ray.world_models.base import WorldModel, WorldModelConfig

CPU = torch.device("cpu")


def spec(num_segments: int = 10, block_rows: int = 4, seed: int = 0, target_rtg: float = 0.5) -> StreamSpec:
    return StreamSpec("model", {"temperature": 0.5}, target_rtg, 0.9, num_segments, block_rows, seed)


class Walk(WorldModel):
    """s' = s + noise, reward the return-to-go asked for: enough to see what was drawn from which pair."""

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
        rtg: float | Tensor,
        generator: torch.Generator,
    ) -> Segments:
        steps = torch.randn(len(obs), horizon, 2, generator=generator)
        ones = torch.ones(len(obs), horizon)
        states = torch.cat([obs[:, None], obs[:, None] + steps.cumsum(1)], 1)
        return Segments(states, act[:, None], ones * rtg, ones, 0 * ones, ones[:, 0])


def walk() -> WorldModel:
    return Walk(WorldModelConfig(), Spaces(2, 1, (-1.0,), (1.0,)))


def starts(num: int = 7) -> Segments:
    """Pair i has state (i, i) and action i."""
    rows = torch.arange(num, dtype=torch.float32)
    flat = torch.zeros(num, 1)
    return Segments(rows[:, None, None].expand(num, 2, 2), rows[:, None, None], flat, flat + 0.9, flat, flat[:, 0])


def block(index: int, of: StreamSpec) -> Segments:
    return generate_block(of, index, walk(), starts(), never)


@given(st.integers(1, 60), st.integers(1, 17))
def test_blocks_cover_the_stream_without_gap_or_overlap(num_segments: int, block_rows: int) -> None:
    stream = spec(num_segments, block_rows)
    positions = [position for index in range(stream.num_blocks) for position in stream.rows_of(index)]
    assert positions == list(range(num_segments))


@given(num_pairs=st.integers(1, 20), block_rows=st.integers(1, 13), turns=st.integers(1, 4), seed=st.integers(0, 3))
def test_every_pair_once_before_any_pair_twice(num_pairs: int, block_rows: int, turns: int, seed: int) -> None:
    stream = spec(num_pairs * turns, block_rows, seed)
    drawn = torch.cat([start_rows(stream, index, num_pairs) for index in range(stream.num_blocks)])
    for turn in drawn.split(num_pairs):
        assert sorted(turn.tolist()) == list(range(num_pairs))


def test_each_turn_and_each_seed_has_its_own_order() -> None:
    first, second = start_rows(spec(200, 200), 0, 100).split(100)
    assert not torch.equal(first, second)
    assert not torch.equal(first, start_rows(spec(200, 200, seed=1), 0, 100)[:100])
    assert torch.equal(first, start_rows(spec(200, 200, target_rtg=0.9), 0, 100)[:100])


def test_a_block_is_decided_by_specification_and_index() -> None:
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


def test_blocks_start_from_their_pairs_and_are_as_long_as_the_model_can() -> None:
    segments = block(1, spec(10, 4))
    rows = start_rows(spec(10, 4), 1, 7).float()
    assert torch.equal(segments.obs[:, 0, 0], rows)
    assert torch.equal(segments.act[:, 0, 0], rows)
    assert segments.horizon == 3
    assert torch.equal(segments.rew, torch.full((4, 3), 0.5))


def test_spec_of_a_run_leaves_out_what_does_not_change_the_stream() -> None:
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
        StreamSpec.of(run.with_values({key: value}), "model").fingerprint for key, value in {**same, **other}.items()
    ]
    assert Counter(names)[StreamSpec.of(run, "model").fingerprint] == len(same)
    assert len(set(names)) == 1 + len(other)


def test_discounts_are_zero_from_the_step_on_that_ends_the_task() -> None:
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
    assert torch.equal(end_imagined_episodes(segments, never, 0.9).discount, flat * 0.9)


def test_admission_keeps_the_best_of_its_own_horizon() -> None:
    """Rewards of step 3 would turn the order round: the filter must not see them."""
    segments = block(0, spec())
    rew = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 9.0], [2.0, 0.0, 0.0], [0.5, 0.0, 99.0]])
    segments = replace(segments, rew=rew)
    shape = SegmentShape.of(segments)
    selection = Selection(Hardmax(HardmaxConfig(keep_ratio=0.5)), horizon=2, transitions=False)
    rows = selection.rows(spec(), 0, shape.fuse(segments), shape)
    kept = selection.shape(shape).split(rows)
    assert kept.rew.tolist() == [[2.0, 0.0], [1.0, 0.0]]
    assert torch.equal(kept.obs, segments.obs[[2, 0], :3])
    assert rows.shape[1] == selection.shape(shape).width


def test_admission_without_a_filter_only_cuts_and_repeats_itself() -> None:
    segments = block(0, spec())
    shape = SegmentShape.of(segments)
    selection = Selection(KeepAll(KeepAllConfig()), horizon=1, transitions=False)
    rows = selection.rows(spec(), 0, shape.fuse(segments), shape)
    assert torch.equal(rows, selection.shape(shape).fuse(segments.prefix(1)))


def test_all_actions_are_cut_with_the_horizon() -> None:
    shape = SegmentShape(horizon=5, obs_size=2, act_size=1, num_actions=5)
    assert Selection(KeepAll(KeepAllConfig()), 3, False).shape(shape) == SegmentShape(3, 2, 1, 3)
    assert Selection(KeepAll(KeepAllConfig()), 3, False).shape(replace(shape, num_actions=1)).num_actions == 1


def all_actions(discount: Tensor) -> Segments:
    """Two segments of three steps with all actions; the discounts are given."""
    rows, steps = discount.shape
    count = torch.arange(rows * steps, dtype=torch.float32).view(rows, steps)
    obs = torch.arange(rows * (steps + 1), dtype=torch.float32).view(rows, steps + 1, 1)
    return Segments(obs, count[..., None], count, discount, count / 10, torch.tensor([1.0, 2.0]))


def test_steps_become_transitions_up_to_the_end_of_the_task() -> None:
    transitions = all_actions(torch.tensor([[0.9, 0.0, 0.0], [0.9, 0.9, 0.9]])).transitions()
    assert transitions.obs.squeeze(-1).tolist() == [[0, 1], [1, 2], [4, 5], [5, 6], [6, 7]]
    assert transitions.act.flatten().tolist() == transitions.rew.flatten().tolist() == [0, 1, 3, 4, 5]
    torch.testing.assert_close(transitions.discount.flatten(), torch.tensor([0.9, 0.0, 0.9, 0.9, 0.9]))
    assert transitions.source.tolist() == [1, 1, 2, 2, 2]
    with pytest.raises(ValueError, match="1 actions for 3 steps"):
        all_actions(torch.ones(2, 3)).with_first_action().transitions()


class WorstStep(Filter):
    """The row of the largest penalty."""

    def select(self, segments: Segments, generator: torch.Generator) -> Tensor:
        return segments.penalty.amax(1).topk(1).indices


class WorstTransition(WorstStep):
    per_transition = True


@pytest.mark.parametrize(("kind", "kept"), [(WorstStep, [3, 4]), (WorstTransition, [4])])
def test_a_filter_judges_whole_segments_or_steps(kind: type[Filter], kept: list[int]) -> None:
    segments = all_actions(torch.full((2, 3), 0.9))
    shape = SegmentShape.of(segments)
    selection = Selection(kind(KeepAllConfig()), horizon=2, transitions=True)
    rows = selection.shape(shape).split(selection.rows(spec(), 0, shape.fuse(segments), shape))
    assert rows.rew.flatten().tolist() == kept
    assert selection.rows_a_segment == 2


def test_the_models_own_end_counts_as_the_rules_does() -> None:
    segments = replace(all_actions(torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])))
    ended = end_imagined_episodes(segments, never, 0.9)
    torch.testing.assert_close(ended.discount, torch.tensor([[0.9, 0.0, 0.0], [0.9, 0.9, 0.9]]))


def test_golden_names() -> None:
    """A stream's name must not change between sessions: a resumed run would draw everything again."""
    assert fingerprint({"a": 1, "b": [0.5, None]}) == fingerprint({"b": [0.5, None], "a": 1}) == "f1a92042e7c3ddd4"
    assert spec().fingerprint == "5b146fb3caf60cc5"
    assert start_rows(spec(), 0, 7).tolist() == [5, 6, 2, 3]
