"""Environments with vector observations from Gymnasium ids, and their spaces; errors name the package to install.

D4RL data were recorded in '-v4' MuJoCo environments, so Gymnasium's advice to upgrade these ids is silenced, and so is
MuJoCo's warning about an outdated attribute of their model files, which would otherwise be written to MUJOCO_LOG.TXT in
the working directory. All other warnings are passed on.

Mazes and hands need the package gymnasium-robotics. It replaces Gymnasium's '-v2' and '-v3' robots, so it is imported
only for its own ids. Its import notice (the rewards of Adroit's hands differ between releases) is suppressed. Maze
observations are dictionaries; `vector_keys` lists the parts of the state.
"""

import importlib
import io
import json
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stderr
from functools import cache, partial
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict
from gymnasium.wrappers import TransformObservation

from dwm_ray.env_options import REGISTERED, EnvOptions
from dwm_ray.errors import one_line
from dwm_ray.tasks.guard import BrokenEnvironmentError, GuardedEnvironment, fault_of
from dwm_ray.types import Spaces

TRIAL_STEPS, TRIAL_S = 100, 5.0
"""Maximum steps and seconds of the episode that tests an environment."""
ROBOTICS = ("PointMaze", "AntMaze", "Adroit", "Franka", "Fetch", "Hand")
"""Prefixes of the ids that the package gymnasium-robotics registers."""
CREATION_ERRORS = (gymnasium.error.Error, ImportError)
"""Errors of unusable ids, packages and modules; other errors are faults of the environment."""


def make_environment(env_id: str, options: EnvOptions = REGISTERED) -> gymnasium.Env:
    """Create a guarded environment with vector observations and actions.

    An id 'MODULE:NAME' imports the module first, which may be in the working directory. Raises ValueError if the
    environment is unknown or has unsupported spaces, and BrokenEnvironmentError if it fails.
    """
    env = _make(env_id, options)
    try:
        with _quiet():
            _check_actions(env_id, env.action_space)
            return GuardedEnvironment(_with_vectors(env_id, env), env_id)
    except Exception:
        env.close()
        raise


def try_environment(env_id: str, options: EnvOptions = REGISTERED) -> None:
    """Run a short episode with actions at the bounds and random actions; raise as `make_environment` does."""
    with closing(make_environment(env_id, options)) as env:
        space, rng, start = env.action_space, np.random.default_rng(0), time.monotonic()
        env.reset(seed=0)
        for step in range(TRIAL_STEPS):
            action = (space.low, space.high)[step] if step < 2 else rng.uniform(space.low, space.high)
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated or time.monotonic() - start > TRIAL_S:
                break
        env.reset(seed=1)


def specification(env_id: str) -> EnvSpec:
    """Return the registered specification of an id; raise ValueError if there is none."""
    with _explained(env_id):
        _register(env_id)
        return gymnasium.spec(bare_id(env_id))


@cache
def spaces_of(env_id: str, options: EnvOptions = REGISTERED) -> Spaces:
    """Return the spaces of an environment, goals included; raise as `make_environment` does."""
    with closing(make_environment(env_id, options)) as env:
        low, high = (tuple(map(float, bound)) for bound in (env.action_space.low, env.action_space.high))
        return Spaces(env.observation_space.shape[0], len(low), low, high)


@cache
def time_limit(env_id: str, options: EnvOptions = REGISTERED) -> int | None:
    """Return the number of steps after which Gymnasium truncates an episode, or None."""
    return options.max_episode_steps or specification(env_id).max_episode_steps


@cache
def observation_bounds(env_id: str, options: EnvOptions = REGISTERED) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper bounds [O] of observations, which may be infinite."""
    with closing(make_environment(env_id, options)) as env:
        return env.observation_space.low, env.observation_space.high


def bare_id(env_id: str) -> str:
    """Return an id without the module that registers it: 'robots:Arm-v0' -> 'Arm-v0'."""
    return env_id.rpartition(":")[2]


def vector_keys(env_id: str) -> tuple[str, ...]:
    """Return the parts of a goal-aware observation that form the state, in order.

    'achieved_goal' repeats a part of 'observation', except in AntMaze, where 'observation' lacks the position. There it
    comes first, as in D4RL's layout.
    """
    keys = ("observation", "desired_goal")
    return ("achieved_goal", *keys) if bare_id(env_id).startswith("AntMaze") else keys


def as_vector(context: str, env_id: str, observation: Any) -> np.ndarray:
    """Return a vector [..., O] from an array or a goal-aware dictionary; raise ValueError for other dictionaries."""
    if not isinstance(observation, dict):
        return np.asarray(observation)
    keys = vector_keys(env_id)
    vectors: list[Any] = [observation.get(key) for key in keys]
    if any(vector is None or isinstance(vector, dict) for vector in vectors):
        raise ValueError(
            f"{context}: observations are a dictionary of {', '.join(observation)}; "
            f"expected vectors, or a dictionary with vectors {', '.join(keys)}"
        )
    return np.concatenate(vectors, axis=-1)


def _bounds(space: gymnasium.Space, side: str) -> Any:
    """Return the lower or upper bounds with the structure of an observation; None for parts that are not vectors."""
    if isinstance(space, Dict):
        return {key: _bounds(entry, side) for key, entry in space.spaces.items()}
    return getattr(space, side) if isinstance(space, Box) and len(space.shape) == 1 else None


def _with_vectors(env_id: str, env: gymnasium.Env) -> gymnasium.Env:
    """Turn goal-aware dictionaries into vectors (`vector_keys`)."""
    if isinstance(env.observation_space, Dict):
        to_vector = partial(as_vector, f"environment {env_id!r}", env_id)
        low, high = (to_vector(_bounds(env.observation_space, side)) for side in ("low", "high"))
        return TransformObservation(env, to_vector, Box(low, high, dtype=low.dtype))
    if _bounds(env.observation_space, "low") is None:
        raise ValueError(
            f"environment {env_id!r}: observations are {env.observation_space}; expected a vector of real numbers"
        )
    return env


def _check_actions(env_id: str, space: gymnasium.Space) -> None:
    context = f"environment {env_id!r}"
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise ValueError(f"{context}: actions are {space}; expected a vector of real numbers")
    if not np.isfinite([space.low, space.high]).all():
        raise ValueError(f"{context}: actions are {space}; expected finite bounds")
    if (fixed := np.flatnonzero(space.low >= space.high)).size:
        raise BrokenEnvironmentError(
            f"{context}: action entries {fixed.tolist()} are constant in {space}; expected low < high"
        )


def _make(env_id: str, options: EnvOptions) -> gymnasium.Env:
    kwargs, limit = json.loads(options.kwargs), options.max_episode_steps
    errors = (*CREATION_ERRORS, TypeError) if kwargs else CREATION_ERRORS
    with _explained(env_id, bool(kwargs)), _quiet(), fault_of(env_id, "creation", errors):
        _register(env_id)
        gymnasium.spec(bare_id(env_id))  # rejects ids without a version, which `make` would guess
        # The guard replaces Gymnasium's checker, whose warnings would surround an error.
        env = gymnasium.make(bare_id(env_id), max_episode_steps=limit, disable_env_checker=True, **kwargs)
        for name, arguments in options.wrappers:
            env = getattr(gymnasium.wrappers, name)(env, **json.loads(arguments))
        return env


def _register(env_id: str) -> None:
    """Import the module or package that registers an id; modules may be in the working directory."""
    module, _, name = env_id.rpartition(":")
    if module:
        if (working_dir := str(Path.cwd())) not in sys.path:
            sys.path.append(working_dir)
        with fault_of(env_id, f"importing {module}", CREATION_ERRORS):
            importlib.import_module(module)
    if name.startswith(ROBOTICS):
        with redirect_stderr(io.StringIO()):
            importlib.import_module("gymnasium_robotics")


@contextmanager
def _explained(env_id: str, has_kwargs: bool = False) -> Iterator[None]:
    """Turn the errors in `CREATION_ERRORS` into a ValueError that names the remedy."""
    try:
        yield
    except (*CREATION_ERRORS, TypeError) as error:
        raise ValueError(
            f"environment {env_id!r} cannot be created: {one_line(error)}; expected {_remedy(env_id, has_kwargs)}"
        ) from error


def _remedy(env_id: str, has_kwargs: bool) -> str:
    if bare_id(env_id).startswith(ROBOTICS):
        return "the package of such ids: pip install gymnasium-robotics"
    if has_kwargs:
        return "keyword arguments that it accepts (data.env_kwargs)"
    return (
        "a registered id, with its module if that registers it (MODULE:NAME-v0); MuJoCo tasks need gymnasium[mujoco] "
        "and an id that ends in -v4 or -v5"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_pass_on)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is out of date", category=DeprecationWarning)
            warnings.filterwarnings("ignore", message=".*precision lowered by casting")  # OGBench's float64 spaces
            yield
    finally:
        mujoco.set_mju_user_warning(before)


def _pass_on(message: str) -> None:
    if "settotalmass" not in message:
        print(f"MuJoCo: {message}", file=sys.stderr)
