"""Layout and units of DWM's windows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import SPACES, toy_episodes, windows

from dwm_ray.types import Windows
from dwm_ray.world_models.parts.window_layout import WindowLayout
from dwm_ray.world_models.parts.window_units import Units, WindowUnits, window_units

PLAIN, TERMINATING = (WindowLayout(4, 2, has_continuation) for has_continuation in (False, True))


def three_windows() -> Windows:
    """Three windows of 4 entries: whole, terminated by the step from entry 1, truncated after the step from entry 1."""
    step_mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]).bool()
    terminated = torch.zeros(3, 4).bool()
    terminated[1, 1] = True
    obs_mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 0]]).bool()
    obs = torch.arange(24.0).view(3, 4, 2)
    return Windows(obs, torch.zeros(3, 4, 1), obs[..., 0] + 100, obs_mask, step_mask, terminated, torch.zeros(3))


def joined(layout: WindowLayout) -> torch.Tensor:
    batch = three_windows()
    return layout.join(batch.obs, batch.rew[..., None], batch.terminated)


@pytest.mark.parametrize("layout", [PLAIN, TERMINATING])
def test_parts_come_back_out_of_the_window(layout: WindowLayout) -> None:
    window, batch = joined(layout), three_windows()
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
    learned = TERMINATING.learned(three_windows())
    states = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 0], [0, 1, 1, 0]]).bool()
    rewards = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]).bool()
    continuation = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    assert torch.equal(learned, torch.stack([states, states, rewards, continuation], -1))
    assert torch.equal(PLAIN.learned(three_windows()), learned[..., :-1])


def test_the_first_state_is_given_and_nothing_else() -> None:
    first = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    window = TERMINATING.given(first).impose(torch.zeros(3, *TERMINATING.shape))
    assert torch.equal(window[:, 0, :2], first)
    assert window.sum() == first.sum()


LENGTH = 5


def fitted(kind: Units) -> WindowUnits:
    units = window_units(kind, SPACES, LENGTH)
    units.fit(toy_episodes())
    return units


@pytest.mark.parametrize("kind", ["absolute", "change"])
def test_decoding_restores_the_window(kind: Units) -> None:
    units, batch = fitted(kind), windows(64, LENGTH)
    states, rew = units.encode(batch.obs, batch.rew)
    assert float(states.std()) == pytest.approx(units.std, rel=0.15)
    obs, raw = units.decode(states[:, None], rew[:, None], batch.obs[:, 0])
    torch.testing.assert_close(obs[:, 0], batch.obs, atol=2e-2 if kind == "absolute" else 1e-5, rtol=0)
    torch.testing.assert_close(raw[:, 0], batch.rew, atol=1e-5, rtol=1e-5)


def test_changes_are_standardised_at_every_step_and_the_first_state_is_kept() -> None:
    units, batch = fitted("change"), windows(4000, LENGTH)
    states, _ = units.encode(batch.obs, batch.rew)
    whole = states[batch.obs_mask.all(1)]
    torch.testing.assert_close(whole.mean(0), torch.zeros(LENGTH, 3), atol=0.1, rtol=0)
    torch.testing.assert_close(whole.std(0), torch.ones(LENGTH, 3), atol=0.1, rtol=0)
    short, _ = units.encode(batch.obs[:, :2], batch.rew[:, :2])
    assert torch.equal(short, states[:, :2])


def test_a_change_is_measured_within_an_episode_and_to_known_states_only() -> None:
    data = toy_episodes(2, 3)
    far = replace(data, next_obs=data.next_obs.copy(), known_next=np.array([True, True, False] * 2))
    far.next_obs[2] = 1e6
    units = window_units("change", SPACES, LENGTH)
    units.fit(far)
    change = np.stack([far.next_obs[1] - far.obs[0], far.next_obs[4] - far.obs[3]])
    np.testing.assert_allclose(units.mean[2], change.mean(0), rtol=1e-4)
    np.testing.assert_allclose(units.scale[2], change.std(0), rtol=1e-4)
    assert torch.equal(units.scale[3:], torch.ones(2, 3))  # no episode is that long
