import json

import numpy as np
import pytest
import torch

from dwm_ray.data.windows import WindowSet
from dwm_ray.evaluation.model_error import UNDRIVEN, Driver, prediction_error
from dwm_ray.types import DataCard, Episodes, Segments, Spaces
from dwm_ray.world_models.base import WorldModel, WorldModelConfig

OBS_STD = np.array([2.0, 0.5])
SPACES = Spaces(2, 1, (-1.0,), (1.0,))


def walk(length: int, seed: int, terminated: bool = False) -> dict[str, np.ndarray]:
    """s' = s + a in both dimensions, r = s[0] + a."""
    rng = np.random.default_rng(seed)
    act = rng.uniform(-1, 1, (length, 1)).astype(np.float32)
    states = np.cumsum(np.concatenate([np.zeros((1, 1), np.float32), act]), axis=0) * np.ones(2, np.float32)
    last = np.arange(length) == length - 1
    return {
        "obs": states[:-1],
        "act": act,
        "rew": states[:-1, 0] + act[:, 0],
        "next_obs": states[1:],
        "terminated": last & terminated,
        "truncated": last & (not terminated),
        "known_next": np.ones(length, bool),
    }


def window_set(*walks: dict[str, np.ndarray], sequence_length: int = 5) -> WindowSet:
    arrays = {key: np.concatenate([w[key] for w in walks]) for key in walks[0]}
    episodes = Episodes(**arrays, card=DataCard("walk", "test", "", "Walk-v0", "0" * 16), spaces=SPACES)
    return WindowSet(episodes, sequence_length, discount=0.99, rtg_scale=1.0)


class FakeModel(WorldModel):
    """Rolls the walk out exactly and adds `obs_bias` * step to states and `rew_bias` to rewards."""

    Config = WorldModelConfig
    sequence_length = 2
    max_horizon = 100

    def __init__(self, follows_policy: bool, obs_bias: float = 0.0, rew_bias: float = 0.0) -> None:
        super().__init__(WorldModelConfig(), SPACES)
        self.follows_policy = follows_policy
        self.bias = (obs_bias, rew_bias)
        self.calls: list[int] = []
        self.rtg: list[torch.Tensor] = []

    def fit_normalizers(self, episodes): ...

    def loss(self, windows, generator): ...

    def imagine(self, obs, act, *, policy, horizon, rtg, generator):
        assert not torch.is_grad_enabled()
        self.calls.append(len(obs))
        self.rtg.append(rtg)
        states, rewards = [obs], []
        for step in range(horizon):
            if step:
                act = policy(states[-1], step) if self.follows_policy else torch.zeros_like(act)
            rewards.append(states[-1][:, 0] + act[:, 0] + self.bias[1])
            states.append(states[-1] + act)
        drift = torch.arange(horizon + 1).float()[:, None] * self.bias[0]
        ones = torch.ones(len(obs), horizon)
        obs = torch.stack(states, 1) + drift
        return Segments(obs, act[:, None], torch.stack(rewards, 1), ones, 0 * ones, ones[:, 0])


def measure(model, windows, **options):
    generator = torch.Generator().manual_seed(0)
    return prediction_error(model, windows, OBS_STD, 3.0, generator, **options)


@pytest.mark.parametrize("terminated", [False, True])
def test_perfect_model_on_logged_actions_has_no_error_even_near_the_ends_of_episodes(terminated):
    error = measure(FakeModel(True), window_set(walk(9, 0), walk(3, 1, terminated)))
    assert error["obs_mse"] == pytest.approx([0.0] * 4, abs=1e-10)
    assert error["rew_mse"] == pytest.approx([0.0] * 4, abs=1e-10)
    assert error["driven_by"] == "logged actions"


def test_golden_errors_in_units_of_the_data():
    error = measure(FakeModel(True, obs_bias=1.0, rew_bias=6.0), window_set(walk(30, 0)))
    # drift h in both dimensions: mean of (h / 2)^2 and (h / .5)^2; rewards: (6 / 3)^2
    assert error["obs_mse"] == pytest.approx([h * h * (0.25 + 4.0) / 2 for h in (1, 2, 3, 4)], rel=1e-4)
    assert error["rew_mse"] == pytest.approx([4.0] * 4, rel=1e-4)


def test_no_change_is_the_distance_from_the_first_state():
    data = walk(6, 3)
    error = measure(FakeModel(True), window_set(data, sequence_length=3))
    states = np.concatenate([data["obs"], data["next_obs"][-1:]])
    for step, got in ((1, error["no_change_obs_mse"][0]), (2, error["no_change_obs_mse"][1])):
        moved = (states[step:] - states[:-step]) / OBS_STD
        assert got == pytest.approx(np.square(moved).mean(), rel=1e-4)


def test_model_that_follows_no_policy_is_undriven_and_gets_the_windows_rtg():
    windows = window_set(walk(20, 0))
    model = FakeModel(False)
    error = measure(model, windows)
    assert error["driven_by"] == UNDRIVEN
    assert error["obs_mse"][0] == pytest.approx(0.0, abs=1e-10)
    assert error["obs_mse"][1] > 1e-3
    expected = windows.gather(torch.arange(20)).rtg
    torch.testing.assert_close(model.rtg[0].sort().values, expected.sort().values)


def test_another_driver_can_take_the_place_of_the_logged_actions():
    still = Driver("standing still", lambda windows: lambda obs, step: torch.zeros(len(obs), 1))
    error = measure(FakeModel(True), window_set(walk(20, 0)), driver=still)
    assert error["driven_by"] == "standing still"
    assert error["obs_mse"] == measure(FakeModel(False), window_set(walk(20, 0)))["obs_mse"]


def test_at_most_the_asked_number_of_windows_is_measured_in_chunks():
    windows = window_set(walk(700, 0))
    model = FakeModel(True)
    assert measure(model, windows, num_windows=600)["num_windows"] == 600
    assert model.calls == [512, 88]
    assert measure(model, window_set(walk(7, 0)), num_windows=600)["num_windows"] == 7


def test_steps_that_no_window_records_are_left_out():
    assert len(measure(FakeModel(True), window_set(walk(2, 0), sequence_length=8))["obs_mse"]) == 2


def test_a_dimension_that_never_varies_counts_as_no_error():
    windows = window_set(walk(10, 0))
    generator = torch.Generator().manual_seed(0)
    model = FakeModel(True, obs_bias=1.0)
    error = prediction_error(model, windows, np.array([2.0, 0.0]), 1.0, generator)
    assert error["obs_mse"][0] == pytest.approx(0.25 / 2, rel=1e-4)


def test_json_has_what_the_report_reads():
    error = measure(FakeModel(True, obs_bias=1.0), window_set(walk(30, 0)))
    assert json.loads(json.dumps(error)) == error
    assert error["steps"] == [1, 2, 3, 4]
    assert error["unit"] == "standard deviations of the data"
