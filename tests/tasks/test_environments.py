"""Environments from ids: vector observations, and errors that name the package to install."""

import sys
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict
from optional_packages import needs_robotics

from dwm_ray.tasks.environments import as_vector, make_environment, spaces_of, specification, time_limit, vector_keys
from dwm_ray.tasks.guard import BrokenEnvironmentError

ACTIONS = Box(-1, 1, (1,))


class Toy(gymnasium.Env):
    """Environment with observations sampled from any space."""

    closed: ClassVar[int] = 0

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space = ACTIONS) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def close(self) -> None:
        Toy.closed += 1


class Broken(gymnasium.Env):
    def __init__(self) -> None:
        raise AssertionError


def register(monkeypatch: pytest.MonkeyPatch, env_id: str, entry: Any, **kwargs: Any) -> None:
    spec = EnvSpec(env_id, entry, disable_env_checker=True, kwargs=kwargs, max_episode_steps=9)
    monkeypatch.setitem(gymnasium.registry, env_id, spec)


GOALS = {"achieved_goal": Box(-9, 9, (2,)), "desired_goal": Box(-2, 2, (2,)), "observation": Box(-5, 5, (3,))}


def test_a_goal_is_appended_to_the_observation(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, "Goals-v0", Toy, observation_space=Dict(GOALS))
    env = make_environment("Goals-v0")
    assert env.observation_space.low.tolist() == [-5, -5, -5, -2, -2]
    assert env.observation_space.contains(env.reset(seed=0)[0])
    assert spaces_of("Goals-v0").obs_size == 5
    assert time_limit("Goals-v0") == 9


def test_the_position_of_the_ant_is_part_of_its_state() -> None:
    parts = {
        "observation": np.full((4, 3), 1.0),
        "achieved_goal": np.full((4, 2), 2.0),
        "desired_goal": np.zeros((4, 2)),
    }
    assert vector_keys("AntMaze_UMaze-v4") == ("achieved_goal", "observation", "desired_goal")
    assert as_vector("", "AntMaze_UMaze-v4", parts)[3].tolist() == [2, 2, 1, 1, 1, 0, 0]
    assert as_vector("", "PointMaze_UMaze-v3", parts)[3].tolist() == [1, 1, 1, 0, 0]
    assert as_vector("", "AntMaze_UMaze-v4", np.arange(3.0)).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("observation", "action", "text"),
    [
        (Dict({"camera": Box(0, 1, (2,))}), ACTIONS, "observations are a dictionary of camera; expected vectors"),
        (
            Dict({**GOALS, "desired_goal": Dict(GOALS)}),
            ACTIONS,
            ".*a dictionary with vectors observation, desired_goal",
        ),
        (Box(0, 1, (2, 2)), ACTIONS, "observations are Box.*; expected a vector of real numbers"),
        (gymnasium.spaces.Discrete(3), ACTIONS, "observations are Discrete.*; expected a vector of real numbers"),
        (Box(0, 1, (2,)), Box(-np.inf, np.inf, (1,)), "actions are Box.*; expected finite bounds"),
    ],
)
def test_spaces_without_vectors_are_refused(
    monkeypatch: pytest.MonkeyPatch, observation: gymnasium.Space, action: gymnasium.Space, text: str
) -> None:
    register(monkeypatch, "Odd-v0", Toy, observation_space=observation, action_space=action)
    before = Toy.closed
    with pytest.raises(ValueError, match=f"environment 'Odd-v0': {text}"):
        make_environment("Odd-v0")
    assert Toy.closed == before + 1


def test_an_environment_that_fails_inside_gives_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, "Broken-v0", Broken)
    with pytest.raises(BrokenEnvironmentError, match=r"^environment 'Broken-v0': creation failed: AssertionError$"):
        make_environment("Broken-v0")


@pytest.mark.parametrize(
    ("env_id", "text"),
    [
        ("NoSuchRobot-v0", "'NoSuchRobot-v0' cannot be created.*gymnasium\\[mujoco\\]"),
        ("HalfCheetah-v2", "v4 or -v5"),
        ("PointMaze_Nowhere-v3", "pip install gymnasium-robotics"),
        ("CartPole-v1", "'CartPole-v1': actions are Discrete.*expected a vector"),
    ],
)
def test_an_environment_that_cannot_be_used_is_named(env_id: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make_environment(env_id)


@pytest.mark.parametrize("call", [make_environment, specification, spaces_of])
def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch, call: Any) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    with pytest.raises(ValueError, match=r"'AntMaze_Open-v4' cannot be created: .*pip install gymnasium-robotics$"):
        call("AntMaze_Open-v4")


@pytest.mark.parametrize(
    ("env_id", "sizes", "limit"),
    [
        pytest.param("PointMaze_UMaze-v3", (6, 2), 300, marks=needs_robotics),
        pytest.param("AntMaze_UMaze-v4", (31, 8), 700, marks=needs_robotics),
        pytest.param("AntMaze_UMaze-v5", (109, 8), 700, marks=needs_robotics),
        pytest.param("AdroitHandDoor-v1", (39, 28), 200, marks=needs_robotics),
        pytest.param("AdroitHandHammer-v1", (46, 26), 200, marks=needs_robotics),
        ("Humanoid-v4", (376, 17), 1000),
    ],
)
def test_sizes_of_installed_environments_and_nothing_printed(
    env_id: str, sizes: tuple[int, int], limit: int, capfd: pytest.CaptureFixture[str]
) -> None:
    spaces = spaces_of(env_id)
    assert (spaces.obs_size, spaces.act_size) == sizes
    assert time_limit(env_id) == limit
    assert capfd.readouterr().err == ""


@needs_robotics
def test_a_state_of_antmaze_contains_the_positions_of_ant_and_goal() -> None:
    env = make_environment("AntMaze_UMaze-v4")
    obs, _ = env.reset(seed=3)
    np.testing.assert_array_equal(obs[:2], env.unwrapped.ant_env.data.qpos[:2])
    np.testing.assert_array_equal(obs[-2:], env.unwrapped.goal)
    env.close()


@needs_robotics
def test_mazes_continue_at_the_goal_as_the_task_table_assumes() -> None:
    """`no_termination` and the success rate depend on this default of the environments."""
    for env_id in ("PointMaze_UMaze-v3", "AntMaze_UMaze-v4"):
        maze = make_environment(env_id).unwrapped
        assert (maze.continuing_task, maze.reset_target, maze.reward_type) == (True, False, "sparse")
