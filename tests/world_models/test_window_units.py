"""Units of windows: what goes in comes back out, and changes are standardised by step and dimension."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import SPACES, toy_episodes, windows

from dwm_ray.world_models.parts.window_units import Units, WindowUnits, window_units

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
