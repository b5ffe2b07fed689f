"""Sizes and bounds of an environment, asked from Gymnasium once per id."""

from __future__ import annotations

from functools import cache

import gymnasium
import numpy as np

from dwm_ray.environments import make_environment
from dwm_ray.types import Spaces


@cache
def spaces_of(env_id: str) -> Spaces:
    """The spaces of a Gymnasium id. ValueError where it is not installed or not continuous and flat."""
    env = make_environment(env_id)
    try:
        return spaces_from(env_id, env.observation_space, env.action_space)
    finally:
        env.close()


@cache
def time_limit(env_id: str) -> int | None:
    """Steps after which Gymnasium cuts an episode, None without a limit."""
    return gymnasium.spec(env_id).max_episode_steps


def spaces_from(where: str, observation: gymnasium.Space, action: gymnasium.Space) -> Spaces:
    """Spaces of a pair of Gymnasium spaces; goals of a maze are appended to its observation (`flat_width`)."""
    if not isinstance(action, gymnasium.spaces.Box) or len(action.shape) != 1:
        raise ValueError(f"{where}: actions must be a vector of real numbers, not {action}")
    low, high = (tuple(float(x) for x in bound) for bound in (action.low, action.high))
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{where}: actions must have finite bounds, not {action}")
    return Spaces(flat_width(where, observation), action.shape[0], low, high)


def flat_width(where: str, space: gymnasium.Space) -> int:
    """Length of an observation vector; for a maze's dictionary, of 'observation' and 'desired_goal' in a row."""
    if isinstance(space, gymnasium.spaces.Dict):
        if not {"observation", "desired_goal"} <= set(space.spaces):
            raise ValueError(
                f"{where}: observations are a dictionary of {', '.join(space.spaces)}; "
                "only vectors, or dictionaries with 'observation' and 'desired_goal', can be read"
            )
        return sum(flat_width(where, space.spaces[key]) for key in ("observation", "desired_goal"))
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise ValueError(f"{where}: observations must be a vector of real numbers, not {space}")
    return int(space.shape[0])
