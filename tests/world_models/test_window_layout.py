import pytest
import torch

from dwm_ray.types import Windows
from dwm_ray.world_models.parts.window_layout import WindowLayout

PLAIN, TERMINATING = (WindowLayout(4, 2, has_continuation) for has_continuation in (False, True))


def windows() -> Windows:
    """Three windows of 4 entries: whole, terminated by the step from entry 1, truncated after the step from entry 1."""
    step_mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]).bool()
    terminated = torch.zeros(3, 4).bool()
    terminated[1, 1] = True
    obs_mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 0]]).bool()
    obs = torch.arange(24.0).view(3, 4, 2)
    return Windows(obs, torch.zeros(3, 4, 1), obs[..., 0] + 100, obs_mask, step_mask, terminated, torch.zeros(3))


def joined(layout: WindowLayout) -> torch.Tensor:
    batch = windows()
    return layout.join(batch.obs, batch.rew[..., None], batch.terminated)


@pytest.mark.parametrize("layout", [PLAIN, TERMINATING])
def test_parts_come_back_out_of_the_window(layout: WindowLayout) -> None:
    window, batch = joined(layout), windows()
    assert window.shape == (3, *layout.shape)
    assert torch.equal(layout.obs(window), batch.obs)
    assert torch.equal(layout.rew(window)[..., 0], batch.rew)


def test_continuation_is_minus_one_from_the_terminating_step_on() -> None:
    expected = torch.tensor([[1, 1, 1, 1], [1, -1, -1, -1], [1, 1, 1, 1]]).float()
    assert torch.equal(joined(TERMINATING)[..., -1], expected)


def test_discount_is_zero_from_the_step_that_ends_and_stays_so() -> None:
    window = torch.zeros(2, *TERMINATING.shape)
    window[0, :, -1] = torch.tensor([0.9, -0.1, 0.8, 0.8])
    window[1, :, -1] = torch.tensor([0.9, 0.0, 0.8, -1.0])
    assert torch.equal(TERMINATING.discount(window), torch.tensor([[1, 0, 0, 0], [1, 1, 1, 0]]).float())
    assert torch.equal(PLAIN.discount(window), torch.ones(2, 4))
    assert torch.equal(TERMINATING.discount(joined(TERMINATING))[1], torch.tensor([1.0, 0, 0, 0]))


def test_given_and_unknown_entries_are_not_learned_but_the_end_is() -> None:
    learned = TERMINATING.learned(windows())
    states = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 0], [0, 1, 1, 0]]).bool()
    rewards = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]).bool()
    continuation = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    assert torch.equal(learned, torch.stack([states, states, rewards, continuation], -1))
    assert torch.equal(PLAIN.learned(windows()), learned[..., :-1])


def test_the_first_state_is_given_and_nothing_else() -> None:
    first = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    window = TERMINATING.given(first).impose(torch.zeros(3, *TERMINATING.shape))
    assert torch.equal(window[:, 0, :2], first)
    assert window.sum() == first.sum()
