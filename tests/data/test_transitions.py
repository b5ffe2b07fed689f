import torch
from recordings import episodes

from dwm_ray.data.transitions import real_segments


def test_discount_is_zero_after_termination_only() -> None:
    segments = real_segments(episodes([2, 2], [True, False]), 0.9)
    torch.testing.assert_close(segments.discount, torch.tensor([[0.9], [0.0], [0.9], [0.9]]))
    assert segments.obs[1].tolist() == [[1, 0], [1, 1]]
    assert segments.rew.flatten().tolist() == [1, 2, 3, 4]
    assert segments.act.shape == (4, 1, 1)
    assert segments.source.tolist() == [0] * 4
    assert segments.penalty.tolist() == [[0]] * 4


def test_rows_without_next_state_are_dropped_unless_terminated() -> None:
    segments = real_segments(episodes([2, 2], [True, False], with_next=False), 0.9)
    assert segments.rew.flatten().tolist() == [1, 2, 3]
