"""Futures for the picture of a world model: starts by return, masks after the end, dimensions by variance."""

from typing import Any

import numpy as np
import pytest
import torch

from dwm_ray.data.statistics import data_stats
from dwm_ray.evaluation.clone import CLONED, clone_behaviour
from dwm_ray.evaluation.examples import NUM_IMAGINED, example_futures
from dwm_ray.tasks.table import no_termination
from dwm_ray.types import DataCard, Episodes, Segments, Spaces, Windows

STD = np.array([1.0, 3.0, 2.0])


class Recording:
    """Five windows of four steps; the last one has the highest return-to-go but stops after two steps."""

    num_windows = 5

    def gather(self, rows: torch.Tensor) -> Windows:
        obs = torch.arange(5.0)[:, None, None] * 10 + torch.arange(4.0)[None, :, None] + torch.zeros(5, 4, 3)
        mask = torch.ones(5, 4, dtype=torch.bool)
        mask[4, 2:] = False
        return Windows(obs, torch.ones(5, 4, 1), obs[..., 0], mask, mask, ~mask, torch.arange(5.0))[rows]


class Model:
    """Repeats the start, adds noise to rewards, and ends after the first step if the start is positive."""

    max_horizon, follows_policy = 2, False

    def imagine(self, obs: Any, act: Any, *, policy: Any, horizon: int, rtg: Any, generator: Any) -> Segments:
        ended = (obs[:, :1] > 0).float()
        rew = torch.randn(len(obs), horizon, generator=generator)
        discount = torch.cat([1 - ended, 1 - ended], 1)
        return Segments(obs[:, None].expand(-1, horizon + 1, -1), act[:, None], rew, discount, 0 * rew, rew[:, 0])


def examples() -> dict[str, Any]:
    model: Any = Model()
    windows: Any = Recording()
    return example_futures(model, windows, STD, no_termination, torch.Generator().manual_seed(0))


def test_dimensions_are_those_with_the_largest_variance() -> None:
    result = examples()
    assert result["names"] == ["state 1", "state 2", "reward"]
    assert result["steps"] == {"state 1": [0, 1, 2], "state 2": [0, 1, 2], "reward": [1, 2]}


def test_starts_are_completely_recorded_and_ordered_by_return() -> None:
    starts = examples()["starts"]
    assert [start["return"] for start in starts] == ["low", "medium", "high"]
    assert [start["recorded"]["state 1"][0] for start in starts] == [0.0, 20.0, 30.0]
    assert starts[1]["recorded"]["reward"] == [20.0, 21.0]


def test_imagined_futures_begin_where_the_recorded_one_does_differ_and_stop_where_the_task_ends() -> None:
    low, _, high = examples()["starts"]
    assert {values[0] for values in high["imagined"]["state 1"]} == {30.0}
    assert len({values[0] for values in low["imagined"]["reward"]}) == NUM_IMAGINED
    assert all(None not in values for values in low["imagined"]["state 1"])
    assert all(values == [30.0, 30.0, None] for values in high["imagined"]["state 1"])
    assert all(values[1] is None for values in high["imagined"]["reward"])


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
