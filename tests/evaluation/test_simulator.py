"""The check gives recorded transitions no error, and changed ones the error of the change."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from dwm_ray.evaluation.simulator import Simulator, recorded_segments, simulated, simulator_error
from dwm_ray.tasks.environments import make_environment
from dwm_ray.types import Segments, Windows

STEPS, ROWS = 3, 8


@cache
def recorded(env_id: str) -> Segments:
    """Return segments of STEPS random actions in the environment, float64 as the simulator returns them."""
    env = make_environment(env_id).unwrapped
    rng = np.random.default_rng(0)
    states, actions, rewards = [], [], []
    for row in range(ROWS):
        states.append([env.reset(seed=row)[0]])
        for _ in range(STEPS):
            actions.append(rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32))
            obs, reward, *_ = env.step(actions[-1])
            states[-1].append(obs)
            rewards.append(reward)
    obs, rew = torch.from_numpy(np.array(states)), torch.tensor(rewards, dtype=torch.float64).view(ROWS, STEPS)
    act = torch.from_numpy(np.array(actions)).view(ROWS, STEPS, -1)
    return Segments(obs, act, rew, torch.full_like(rew, 0.99), torch.zeros_like(rew), torch.zeros(ROWS))


def rounded(env_id: str) -> Segments:
    """Return the same segments in float32, as datasets hold them."""
    return recorded(env_id).map(lambda part: part.float())


def error(segments: Segments, env_id: str = "HalfCheetah-v5", rew_std: float = 1.0):
    return simulator_error(segments, env_id, np.full(segments.obs.shape[2], 2.0), rew_std)


@pytest.mark.parametrize(
    "env_id", ["HalfCheetah-v5", "HalfCheetah-v4", "Hopper-v5", "Hopper-v4", "Walker2d-v5", "Ant-v4", "Ant-v5"]
)
def test_recorded_transitions_have_no_error(env_id: str) -> None:
    result = error(rounded(env_id), env_id)
    assert max(result["obs_mse"]) < 1e-8
    assert max(result["rew_mse"]) < (1e-4 if env_id.startswith("Ant") else 1e-8)  # the Ant's reward: see the module
    assert result["steps_checked"][0] == ROWS
    assert min(result["steps_checked"]) >= 1


def test_errors_golden_by_step_in_units_of_the_data() -> None:
    segments = rounded("HalfCheetah-v5")
    obs, rew = segments.obs.clone(), segments.rew.clone()
    obs[:, STEPS, 0] += 4.0  # the last state is no start of a step: two deviations in one of 17 dimensions
    rew[:, 1] += 6.0
    result = error(replace(segments, obs=obs, rew=rew), rew_std=3.0)
    assert result["obs_mse"] == pytest.approx([0, 0, 4.0 / 17], rel=1e-4, abs=1e-8)
    assert result["rew_mse"] == pytest.approx([0, 4.0, 0], rel=1e-4, abs=1e-8)
    assert result["obs_median"][2] == pytest.approx(np.sqrt(4.0 / 17), rel=1e-4)
    assert result["steps_checked"] == [ROWS] * STEPS


def test_other_actions_do_not_lead_there() -> None:
    segments = rounded("HalfCheetah-v5")
    act = segments.act.clone()
    act[:, 1] = -act[:, 1]
    result = error(replace(segments, act=act))
    assert result["obs_mse"][1] > 1e-2
    assert max(result["obs_mse"][0], result["obs_mse"][2]) < 1e-8


def test_with_the_first_action_only_the_first_step_is_checked() -> None:
    result = error(rounded("HalfCheetah-v5").with_first_action())
    assert result["steps"] == [1]
    assert result["obs_mse"][0] < 1e-8


def test_steps_after_the_end_are_left_out() -> None:
    segments = rounded("HalfCheetah-v5")
    discount, obs = segments.discount.clone(), segments.obs.clone()
    discount[:3, 1] = 0
    obs[:3, STEPS] += 100.0
    result = error(replace(segments, discount=discount, obs=obs))
    assert result["steps_checked"] == [ROWS, ROWS, ROWS - 3]
    assert max(result["obs_mse"]) < 1e-8
    discount[:, 0] = 0
    none_left = error(replace(segments, discount=discount))
    assert none_left["obs_mse"][1:] == [None, None]
    assert none_left["rew_mse"][1:] == [None, None]


def test_steps_that_begin_at_a_clipped_velocity_are_left_out() -> None:
    segments = rounded("Hopper-v5")
    obs = segments.obs.clone()
    before = error(segments, "Hopper-v5")["steps_checked"]
    obs[:2, 0, -1] = 10.0
    assert error(replace(segments, obs=obs), "Hopper-v5")["steps_checked"] == [before[0] - 2, *before[1:]]


def test_steps_that_break_the_simulator_are_left_out_and_disturb_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    segments = rounded("HalfCheetah-v5")
    obs = segments.obs.clone()
    obs[:2, 0, 9:] = 1e12
    obs[2, 0, 0] = float("nan")
    result = error(replace(segments, obs=obs))
    assert result["steps_checked"] == [ROWS - 3, ROWS, ROWS]
    assert max(result["obs_mse"]) < 1e-8
    assert not list(tmp_path.iterdir())  # MuJoCo's log file


def test_simulated_segments_of_recorded_actions_are_the_recorded_ones() -> None:
    expected = recorded("HalfCheetah-v5")
    result, valid = simulated(
        "HalfCheetah-v5", expected.obs[:, 0], expected.act[:, 0], lambda obs, step: expected.act[:, step], STEPS
    )
    assert valid.all()
    for name in ("obs", "rew", "act"):
        torch.testing.assert_close(getattr(result, name), getattr(expected, name), atol=1e-6, rtol=1e-6)
    assert (result.discount == 1).all()


def test_simulated_rows_with_states_that_cannot_be_set_are_marked() -> None:
    segments = recorded("HalfCheetah-v5")[:2]
    broken = segments.obs[:, 0].clone()
    broken[1, 0] = torch.nan
    _, valid = simulated("HalfCheetah-v5", broken, segments.act[:, 0], lambda obs, step: segments.act[:, 0], 2)
    assert valid.tolist() == [True, False]


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "Humanoid-v5", "PointMaze_UMaze-v3", "Hopper-v2"])
def test_environments_whose_state_is_hidden_are_refused(env_id: str) -> None:
    with pytest.raises(ValueError, match=f"state of {env_id} cannot be set.*HalfCheetah, Hopper, Walker2d, Ant"):
        Simulator(env_id)


def test_segments_of_another_task_are_refused() -> None:
    with pytest.raises(ValueError, match="have size 17; expected 11 as in Hopper-v5"):
        error(rounded("HalfCheetah-v5"), "Hopper-v5")


def test_recorded_windows_become_segments_where_they_are_whole() -> None:
    obs, act, rew = torch.rand(4, 3, 2), torch.rand(4, 3, 1), torch.rand(4, 3)
    obs_mask, step_mask, terminated = torch.ones(4, 3).bool(), torch.ones(4, 3).bool(), torch.zeros(4, 3).bool()
    step_mask[0, 2] = False  # the episode's last state: still whole
    step_mask[1, 1:] = False
    obs_mask[2, 2] = False
    terminated[3, 1] = True
    segments = recorded_segments(Windows(obs, act, rew, obs_mask, step_mask, terminated, torch.zeros(4)))
    assert torch.equal(segments.obs, obs[[0, 3]])
    assert torch.equal(segments.act, act[[0, 3], :2])
    assert torch.equal(segments.rew, rew[[0, 3], :2])
    assert torch.equal(segments.discount, torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    assert len(segments.transitions()) == 4
