import torch
from recordings import episodes

from dwm_ray.data.transitions import fused_rows, real_segments


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


def test_next_action_is_the_recorded_one_within_an_episode() -> None:
    data = episodes([3, 2], [True, False])
    rows, shape = fused_rows(data, 0.9, torch.device("cpu"), True)
    next_act = shape.split(rows).next_act
    assert next_act is not None
    expected = torch.from_numpy(data.act[[1, 2, 2, 4, 4]])
    expected[[2, 4]] = torch.nan  # the episodes' last transitions
    torch.testing.assert_close(next_act, expected, rtol=0, atol=0, equal_nan=True)
    assert real_segments(data, 0.9).next_act is None
