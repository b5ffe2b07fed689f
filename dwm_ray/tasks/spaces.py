"""Spaces and time limits of environments, read from Gymnasium once per id."""

from __future__ import annotations

from functools import cache

from dwm_ray.tasks.environments import make_environment, specification
from dwm_ray.types import Spaces


@cache
def spaces_of(env_id: str) -> Spaces:
    """Return the spaces of a Gymnasium id, goals included; raise ValueError as `make_environment` does."""
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
