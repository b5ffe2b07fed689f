"""Environments as policies see them: one flat observation vector, laid out as the data's readers lay it out."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from dwm_ray.data.spaces import spaces_from
from dwm_ray.environments import make_environment


def flat_environment(env_id: str) -> gymnasium.Env:
    """An environment with vectors for observations and actions; ValueError where it has none, or cannot be made."""
    env = make_environment(env_id)
    try:
        spaces_from(f"environment {env_id!r}", env.observation_space, env.action_space)
    except ValueError:
        env.close()
        raise
    return GoalBeside(env) if isinstance(env.observation_space, gymnasium.spaces.Dict) else env


class GoalBeside(gymnasium.ObservationWrapper):
    """A maze's dictionary as one vector: 'observation', then 'desired_goal'."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        parts = env.observation_space.spaces
        low = self.observation({name: space.low for name, space in parts.items()})
        high = self.observation({name: space.high for name, space in parts.items()})
        self.observation_space = gymnasium.spaces.Box(low, high, dtype=low.dtype)

    def observation(self, observation: dict[str, Any]) -> np.ndarray:
        return np.concatenate([observation["observation"], observation["desired_goal"]])
