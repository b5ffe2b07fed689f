"""Make an environment from the id that the data name: observations as one vector, quietly, with errors that say what
to install.

D4RL data were recorded in '-v4' MuJoCo environments, so those ids are wanted here: Gymnasium's advice to upgrade is
silenced, and so is MuJoCo's notice on one outdated attribute of those robots' files (which also goes to a
MUJOCO_LOG.TXT in the working directory otherwise). Everything else is passed on.

Mazes and hands come with the package gymnasium-robotics. It is imported when one of its ids is asked for and not
before, because it replaces Gymnasium's '-v2' and '-v3' robots; what it prints then (rewards of Adroit's hands changed
between its releases) is dropped. Its mazes show a dictionary; `vector_keys` says which parts make a state.
"""

from __future__ import annotations

import importlib
import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict

ROBOTICS = ("PointMaze", "AntMaze", "Adroit", "Franka", "Fetch", "Hand")
"""Beginnings of the ids that the package gymnasium-robotics registers."""


def make_environment(env_id: str) -> gymnasium.Env:
    """One environment with vectors for observations and actions; ValueError where it has none, or this machine cannot
    make it."""
    env = _make(env_id)
    try:
        _check_actions(env_id, env.action_space)
        return _with_vectors(env_id, env)
    except ValueError:
        env.close()
        raise


def specification(env_id: str) -> EnvSpec:
    """What is registered under an id; ValueError where nothing is."""
    with _explained(env_id):
        _register(env_id)
        return gymnasium.spec(env_id)


def vector_keys(env_id: str) -> tuple[str, ...]:
    """The parts of a goal-aware observation that make a state, in order.

    'achieved_goal' repeats a part of 'observation' - except in AntMaze, whose 'observation' leaves the position out.
    There it goes first, as in D4RL's layout.
    """
    own = ("observation", "desired_goal")
    return ("achieved_goal", *own) if env_id.startswith("AntMaze") else own


def as_vector(where: str, env_id: str, observation: Any) -> np.ndarray:
    """[..., O] from an array, or from a goal-aware dictionary of arrays [..., n]; ValueError for other dictionaries."""
    if not isinstance(observation, dict):
        return np.asarray(observation)
    keys = vector_keys(env_id)
    parts: list[Any] = [observation.get(key) for key in keys]
    if any(part is None or isinstance(part, dict) for part in parts):
        raise ValueError(
            f"{where}: observations are a dictionary of {', '.join(observation)}; "
            f"only vectors, or dictionaries with vectors {', '.join(keys)}, can be read"
        )
    return np.concatenate(parts, axis=-1)


class GoalBeside(gymnasium.ObservationWrapper):
    """A goal-aware dictionary as one vector (`vector_keys`)."""

    def __init__(self, env: gymnasium.Env, env_id: str) -> None:
        super().__init__(env)
        self._env_id = env_id
        low, high = (self.observation(_bounds(env.observation_space, side)) for side in ("low", "high"))
        self.observation_space = Box(low, high, dtype=low.dtype)

    def observation(self, observation: dict[str, Any]) -> np.ndarray:
        return as_vector(f"environment {self._env_id!r}", self._env_id, observation)


def _bounds(space: gymnasium.Space, side: str) -> Any:
    """Lower or upper bounds in the shape of an observation; None for what is no vector."""
    if isinstance(space, Dict):
        return {key: _bounds(part, side) for key, part in space.spaces.items()}
    return getattr(space, side) if isinstance(space, Box) and len(space.shape) == 1 else None


def _with_vectors(env_id: str, env: gymnasium.Env) -> gymnasium.Env:
    if isinstance(env.observation_space, Dict):
        return GoalBeside(env, env_id)
    if _bounds(env.observation_space, "low") is None:
        raise ValueError(
            f"environment {env_id!r}: observations must be a vector of real numbers, not {env.observation_space}"
        )
    return env


def _check_actions(env_id: str, space: gymnasium.Space) -> None:
    where = f"environment {env_id!r}"
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise ValueError(f"{where}: actions must be a vector of real numbers, not {space}")
    if not np.isfinite([space.low, space.high]).all():
        raise ValueError(f"{where}: actions must have finite bounds, not {space}")


def _make(env_id: str) -> gymnasium.Env:
    with _explained(env_id), _quiet():
        _register(env_id)
        return gymnasium.make(env_id)


def _register(env_id: str) -> None:
    """Have the package imported that an id comes with."""
    if env_id.startswith(ROBOTICS):
        with redirect_stderr(io.StringIO()):
            importlib.import_module("gymnasium_robotics")


@contextmanager
def _explained(env_id: str) -> Iterator[None]:
    """Whatever keeps an environment from being made, as one ValueError that says what to do."""
    try:
        yield
    except (gymnasium.error.Error, ImportError, AssertionError) as error:
        reason = " ".join(str(error).split()) or f"a {type(error).__name__} inside it"
        raise ValueError(f"environment {env_id!r} cannot be made here: {reason}; {_remedy(env_id)}") from error


def _remedy(env_id: str) -> str:
    if env_id.startswith(ROBOTICS):
        return "ids of this kind come with another package: pip install gymnasium-robotics"
    return "MuJoCo tasks need gymnasium[mujoco] and an id that ends in -v4 or -v5"


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
