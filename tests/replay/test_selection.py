"""Selection of the rows that a learner trains on."""

import pytest
import torch
from torch import Tensor

from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.filters.base import Filter
from dwm_ray.filters.hardmax import Hardmax, HardmaxConfig
from dwm_ray.filters.keep_all import KeepAll, KeepAllConfig
from dwm_ray.replay.selection import Selection
from dwm_ray.types import Segments

SPEC = StreamSpec("model", {}, 0.5, 0.9, 10, 4, 0)


def segments_of(rew: list[list[float]]) -> Segments:
    """Segments of three steps with these rewards and their first action only."""
    rows = len(rew)
    obs = torch.randn(rows, 4, 2, generator=torch.Generator().manual_seed(0))
    ones = torch.ones(rows, 3)
    return Segments(obs, torch.ones(rows, 1, 1), torch.tensor(rew), ones, 0 * ones, ones[:, 0])


def all_actions(discount: Tensor) -> Segments:
    """Two segments of three steps with all actions; the discounts are given."""
    rows, steps = discount.shape
    count = torch.arange(rows * steps, dtype=torch.float32).view(rows, steps)
    obs = torch.arange(rows * (steps + 1), dtype=torch.float32).view(rows, steps + 1, 1)
    return Segments(obs, count[..., None], count, discount, count / 10, torch.tensor([1.0, 2.0]))


def test_the_filter_sees_the_learners_horizon_only() -> None:
    """The rewards of step 3 would reverse the order."""
    segments = segments_of([[1.0, 0.0, 0.0], [0.0, 0.0, 9.0], [2.0, 0.0, 0.0], [0.5, 0.0, 99.0]])
    shape = SegmentShape.of(segments)
    selection = Selection(Hardmax(HardmaxConfig(keep_ratio=0.5)), horizon=2, transitions=False)
    rows = selection.apply_to_block(SPEC, 0, shape.fuse(segments), shape)
    selected = selection.shape(shape).split(rows)
    assert selected.rew.tolist() == [[2.0, 0.0], [1.0, 0.0]]
    assert torch.equal(selected.obs, segments.obs[[2, 0], :3])
    assert rows.shape[1] == selection.shape(shape).width


def test_without_a_filter_rows_are_only_cut() -> None:
    segments = segments_of([[1.0, 2.0, 3.0]] * 4)
    shape = SegmentShape.of(segments)
    selection = Selection(KeepAll(KeepAllConfig()), horizon=1, transitions=False)
    rows = selection.apply_to_block(SPEC, 0, shape.fuse(segments), shape)
    assert torch.equal(rows, selection.shape(shape).fuse(segments.prefix(1)))


@pytest.mark.parametrize("num_actions", [1, 5])
def test_rows_hold_the_first_action_only(num_actions: int) -> None:
    shape = SegmentShape(horizon=5, obs_size=2, act_size=1, num_actions=num_actions)
    assert Selection(KeepAll(KeepAllConfig()), 3, False).shape(shape) == SegmentShape(3, 2, 1, 1)


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


@pytest.mark.parametrize(("kind", "rewards"), [(WorstStep, [3, 4]), (WorstTransition, [4])])
def test_a_filter_selects_whole_segments_or_steps(kind: type[Filter], rewards: list[int]) -> None:
    segments = all_actions(torch.full((2, 3), 0.9))
    shape = SegmentShape.of(segments)
    selection = Selection(kind(KeepAllConfig()), horizon=2, transitions=True)
    rows = selection.shape(shape).split(selection.apply_to_block(SPEC, 0, shape.fuse(segments), shape))
    assert rows.rew.flatten().tolist() == rewards
    assert selection.rows_per_segment == 2
