"""Rollouts and scores of a policy."""

import gymnasium
import numpy as np
import pytest
import torch

from dwm_ray.evaluation import rollout
from dwm_ray.evaluation.evaluators import summarize
from dwm_ray.evaluation.rollout import MAX_ENVIRONMENTS, evaluate
from dwm_ray.tasks.environments import make_environment
from dwm_ray.tasks.table import task_for


class Countdown(gymnasium.Env):
    """Episodes of 2 + seed % 7 steps whose reward is the action; even seeds terminate, odd ones are truncated.

    The observation is (seed, steps so far).
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    closed = 0

    def reset(self, *, seed=None, options=None):
        self.seeded = -1 if seed is None else seed
        self.steps = 0
        return np.array([self.seeded, 0.0]), {}

    def step(self, action):
        self.steps += 1
        over = self.steps >= 2 + self.seeded % 7
        even = self.seeded % 2 == 0
        obs = np.array([self.seeded, float(self.steps)])
        return obs, float(action[0]), over and even, over and not even, {}

    def close(self):
        Countdown.closed += 1


@pytest.fixture(autouse=True)
def countdown():
    gymnasium.register("Countdown-v0", entry_point=Countdown, disable_env_checker=True)
    Countdown.closed = 0
    yield
    del gymnasium.registry["Countdown-v0"]


def pay_seed(obs: torch.Tensor) -> torch.Tensor:
    return obs[:, :1] * 0.01


@pytest.mark.parametrize("num_episodes", [1, MAX_ENVIRONMENTS, 3 * MAX_ENVIRONMENTS + 5])
def test_every_seed_is_played_once_whatever_its_length(num_episodes):
    result = evaluate(pay_seed, "Countdown-v0", num_episodes, seed=30)
    seeds = 30 + np.arange(num_episodes)
    np.testing.assert_array_equal(result.lengths, 2 + seeds % 7)
    np.testing.assert_allclose(result.returns, (2 + seeds % 7) * seeds * 0.01, rtol=1e-6)
    assert (result.returns.dtype, result.lengths.dtype) == (np.float64, np.int64)


def test_policy_gets_one_float32_batch_per_step_without_gradients():
    sizes, weight = [], torch.ones(2, 1, requires_grad=True)

    def policy(obs):
        sizes.append(len(obs))
        assert obs.dtype == torch.float32
        act = obs @ weight
        assert not act.requires_grad
        return act

    result = evaluate(policy, "Countdown-v0", 20, seed=0)
    assert sizes[0] == max(sizes) == MAX_ENVIRONMENTS
    assert sum(sizes) == result.lengths.sum()


def test_only_the_policys_own_time_is_counted(monkeypatch):
    now = [0.0]

    class Slow(Countdown):
        def step(self, action):
            now[0] += 100.0
            return super().step(action)

    def policy(obs):
        now[0] += 0.5
        return obs[:, :1]

    monkeypatch.setattr(rollout.time, "perf_counter", lambda: now[0])
    gymnasium.register("Slow-v0", entry_point=Slow, disable_env_checker=True)
    try:
        result = evaluate(policy, "Slow-v0", 2, seed=0)  # 2 and 3 steps in parallel: three calls
    finally:
        del gymnasium.registry["Slow-v0"]
    assert result.policy_s == 1.5
    assert result.policy_ms == 1500 / 5


def test_environments_are_closed_even_after_an_error():
    evaluate(pay_seed, "Countdown-v0", 3, seed=0)
    assert Countdown.closed == 3
    with pytest.raises(ValueError, match="not finite"):
        evaluate(lambda obs: obs[:, :1] * torch.nan, "Countdown-v0", 3, seed=0)
    assert Countdown.closed == 6


def test_count_below_one_is_refused():
    with pytest.raises(ValueError, match="num_episodes: is 0"):
        evaluate(pay_seed, "Countdown-v0", 0, seed=0)


@pytest.mark.parametrize("env_id", ["HalfCheetah-v4", "HalfCheetah-v5"])
def test_halfcheetah_is_quiet_and_repeats_itself(env_id, capfd, recwarn, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log there
    weights = torch.linspace(-1, 1, 17 * 6).reshape(17, 6)

    def policy(obs):
        return torch.tanh(obs @ weights)

    monkeypatch.setattr(rollout, "make_environment", lambda *args: _shorten(make_environment(*args)))
    first, second = (evaluate(policy, env_id, 2, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.returns, second.returns)
    assert first.lengths.tolist() == [50, 50]
    assert first.returns[0] != first.returns[1]
    assert capfd.readouterr().err == ""
    assert not list(recwarn)
    assert not list(tmp_path.iterdir())


def _shorten(env):
    return gymnasium.wrappers.TimeLimit(env.unwrapped, 50)


def test_golden_summary_on_halfcheetah():
    task = task_for("halfcheetah-medium", "HalfCheetah-v4", 5000.0)
    summary = summarize(np.array([-280.178953, 12135.0]), task)
    assert summary["score_mean"] == pytest.approx(50.0)
    assert summary["score_std"] == pytest.approx(50.0)
    assert summary["return_mean"] == pytest.approx(5927.4105235)
    assert summary["return_std"] == pytest.approx(6207.5894765)
    assert summary["episodes"] == 2


def test_spread_of_equal_returns_is_zero_where_the_reference_is_not():
    task = task_for("halfcheetah-medium", "HalfCheetah-v4", 5000.0)
    assert summarize(np.full(4, 4000.0), task)["score_std"] == 0.0


def test_task_without_references_is_scored_by_returns():
    summary = summarize(np.array([1.0, 3.0]), task_for("mine", "Mine-v0", 5.0))
    assert (summary["score_mean"], summary["score_std"]) == (2.0, 1.0)


def test_no_episodes_are_refused():
    with pytest.raises(ValueError, match="no episodes"):
        summarize(np.array([]), task_for("mine", "Mine-v0", 5.0))
