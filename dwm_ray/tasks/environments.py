"""Environments with vector observations from Gymnasium ids, and their spaces; errors name the package to install.

D4RL data were recorded in '-v4' MuJoCo environments, so Gymnasium's advice to upgrade those ids is silenced. So is
MuJoCo's warning about an outdated attribute of their model files, which would otherwise go to MUJOCO_LOG.TXT in the
working directory. All other warnings are passed on.

Mazes and hands come with the package gymnasium-robotics. It replaces Gymnasium's '-v2' and '-v3' robots, so it is
imported only if one of its ids is requested. The notice that it prints on import (the rewards of Adroit's hands differ
between releases) is dropped. Maze observations are dictionaries; `vector_keys` lists the parts of the state.
"""

from __future__ import annotations

import importlib
import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from functools import cache
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict

from dwm_ray.types import Spaces

ROBOTICS = ("PointMaze", "AntMaze", "Adroit", "Franka", "Fetch", "Hand")
"""Prefixes of the ids that the package gymnasium-robotics registers."""


def make_environment(env_id: str) -> gymnasium.Env:
    """Make an environment with vector observations and actions; raise ValueError if that is not possible here."""
    env = _make(env_id)
    try:
        _check_actions(env_id, env.action_space)
        return _with_vectors(env_id, env)
    except ValueError:
        env.close()
        raise


def specification(env_id: str) -> EnvSpec:
    """Return the registered specification of an id; raise ValueError if there is none."""
    with _explained(env_id):
        _register(env_id)
        return gymnasium.spec(env_id)


@cache
def spaces_of(env_id: str) -> Spaces:
    """Return the spaces of an id, goals included, which are read once; raise ValueError as `make_environment` does."""
    env = make_environment(env_id)
    try:
        low, high = (tuple(map(float, bound)) for bound in (env.action_space.low, env.action_space.high))
        return Spaces(env.observation_space.shape[0], len(low), low, high)
    finally:
        env.close()


@cache
def time_limit(env_id: str) -> int | None:
    """Return the number of steps after which Gymnasium truncates an episode, or None."""
    return specification(env_id).max_episode_steps


def vector_keys(env_id: str) -> tuple[str, ...]:
    """Return the parts of a goal-aware observation that form the state, in order.

    'achieved_goal' repeats a part of 'observation', except in AntMaze, whose 'observation' lacks the position. There it
    is the first part, as in D4RL's layout.
    """
    keys = ("observation", "desired_goal")
    return ("achieved_goal", *keys) if env_id.startswith("AntMaze") else keys


def as_vector(where: str, env_id: str, observation: Any) -> np.ndarray:
    """Return a vector [..., O] from an array or a goal-aware dictionary; raise ValueError for other dictionaries."""
    if not isinstance(observation, dict):
        return np.asarray(observation)
    keys = vector_keys(env_id)
    parts: list[Any] = [observation.get(key) for key in keys]
    if any(part is None or isinstance(part, dict) for part in parts):
        raise ValueError(
            f"{where}: observations are a dictionary of {', '.join(observation)}; "
            f"expected vectors, or a dictionary with vectors {', '.join(keys)}"
        )
    return np.concatenate(parts, axis=-1)


class GoalAwareVector(gymnasium.ObservationWrapper):
    """Wrapper that turns goal-aware dictionaries into vectors (`vector_keys`)."""

    def __init__(self, env: gymnasium.Env, env_id: str) -> None:
        super().__init__(env)
        self._env_id = env_id
        low, high = (self.observation(_bounds(env.observation_space, side)) for side in ("low", "high"))
        self.observation_space = Box(low, high, dtype=low.dtype)

    def observation(self, observation: dict[str, Any]) -> np.ndarray:
        return as_vector(f"environment {self._env_id!r}", self._env_id, observation)


def _bounds(space: gymnasium.Space, side: str) -> Any:
    """Return lower or upper bounds in the structure of an observation; None for parts that are not vectors."""
    if isinstance(space, Dict):
        return {key: _bounds(part, side) for key, part in space.spaces.items()}
    return getattr(space, side) if isinstance(space, Box) and len(space.shape) == 1 else None


def _with_vectors(env_id: str, env: gymnasium.Env) -> gymnasium.Env:
    if isinstance(env.observation_space, Dict):
        return GoalAwareVector(env, env_id)
    if _bounds(env.observation_space, "low") is None:
        raise ValueError(
            f"environment {env_id!r}: observations are {env.observation_space}; expected a vector of real numbers"
        )
    return env


def _check_actions(env_id: str, space: gymnasium.Space) -> None:
    where = f"environment {env_id!r}"
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise ValueError(f"{where}: actions are {space}; expected a vector of real numbers")
    if not np.isfinite([space.low, space.high]).all():
        raise ValueError(f"{where}: actions are {space}; expected finite bounds")


def _make(env_id: str) -> gymnasium.Env:
    with _explained(env_id), _quiet():
        _register(env_id)
        return gymnasium.make(env_id)


def _register(env_id: str) -> None:
    """Import the package that registers an id."""
    if env_id.startswith(ROBOTICS):
        with redirect_stderr(io.StringIO()):
            importlib.import_module("gymnasium_robotics")


@contextmanager
def _explained(env_id: str) -> Iterator[None]:
    """Turn all errors of making an environment into a ValueError that names the remedy."""
    try:
        yield
    except (gymnasium.error.Error, ImportError, AssertionError) as error:
        reason = " ".join(str(error).split()) or f"{type(error).__name__} inside it"
        raise ValueError(f"environment {env_id!r} cannot be made here: {reason}; expected {_remedy(env_id)}") from error


def _remedy(env_id: str) -> str:
    if env_id.startswith(ROBOTICS):
        return "the package of such ids: pip install gymnasium-robotics"
    return "a registered id; MuJoCo tasks need gymnasium[mujoco] and an id that ends in -v4 or -v5"


@contextmanager
def _quiet() -> Iterator[None]:
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_pass_on)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is out of date", category=DeprecationWarning)
            yield
    finally:
        mujoco.set_mju_user_warning(before)


def _pass_on(text: str) -> None:
    if "settotalmass" not in text:
        print(f"MuJoCo: {text}", file=sys.stderr)
