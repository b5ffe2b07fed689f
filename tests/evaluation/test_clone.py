"""The cloned behaviour, on a behaviour whose mean and spread are known in every state."""

import numpy as np
import pytest
import torch

from dwm_ray.data.statistics import data_stats
from dwm_ray.evaluation.clone import CLONED, clone_behaviour
from dwm_ray.types import DataCard, Episodes, Spaces

SPACES = Spaces(2, 1, (-2.0,), (2.0,))


def behaviour(num: int) -> Episodes:
    """Action s[0] + (0.1 or 0.4) * noise, the larger where s[1] > 0; in bounds of -2..2."""
    rng = np.random.default_rng(0)
    obs = rng.uniform(-1, 1, (num, 2)).astype(np.float32)
    noise = np.where(obs[:, 1:] > 0, 0.4, 0.1) * rng.standard_normal((num, 1))
    act = np.clip(obs[:, :1] + noise, -2, 2).astype(np.float32)
    last = np.arange(num) == num - 1
    return Episodes(
        obs, act, obs[:, 0], obs, np.zeros(num, bool), last, ~last, DataCard("b", "test", "", "X-v0", "0" * 16), SPACES
    )


@pytest.fixture(scope="module")
def clone():
    data = behaviour(4000)
    return clone_behaviour(data, data_stats(data, 0.9), 400, 0, torch.device("cpu"))


@pytest.mark.parametrize(("state", "std"), [((0.5, -0.5), 0.1), ((-0.5, 0.5), 0.4)])
def test_mean_and_spread_are_those_of_the_behaviour(clone, state, std):
    actions = clone.sample(torch.tensor([state]).expand(4000, 2), torch.Generator().manual_seed(0))
    assert float(actions.mean()) == pytest.approx(state[0], abs=0.08)
    assert float(actions.std()) == pytest.approx(std, rel=0.25)


def test_actions_stay_within_the_bounds(clone):
    actions = clone.sample(torch.full((500, 2), 50.0), torch.Generator().manual_seed(0))
    assert actions.abs().max() <= 2


def test_equal_seeds_give_equal_clones_and_draws(clone):
    data = behaviour(4000)
    again = clone_behaviour(data, data_stats(data, 0.9), 400, 0, torch.device("cpu"))
    obs = torch.zeros(8, 2)
    first, second = (c.sample(obs, torch.Generator().manual_seed(3)) for c in (clone, again))
    assert torch.equal(first, second)


def test_as_a_driver_it_acts_in_the_states_it_is_shown(clone):
    driver = clone.driver(torch.Generator().manual_seed(0))
    policy = driver.policy_for(None)
    obs = torch.tensor([[0.5, -0.5]])
    expected = clone.sample(obs, torch.Generator().manual_seed(0))
    assert driver.name == CLONED
    assert torch.equal(policy(obs, 7), expected)
