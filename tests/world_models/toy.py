"""A task that a network of a few hundred weights can learn: s' = .9 s + .3 a, reward s_0 + a, random actions."""

import numpy as np

from dwm_ray.types import DataCard, Episodes, Spaces

SPACES = Spaces(obs_size=3, act_size=1, act_low=(-1.0,), act_high=(1.0,))


def next_obs(obs: np.ndarray, act: np.ndarray) -> np.ndarray:
    return 0.9 * obs + 0.3 * act


def toy_episodes(num_episodes: int = 40, length: int = 25, seed: int = 0) -> Episodes:
    rng = np.random.default_rng(seed)
    states = [rng.normal(size=(num_episodes, 3)).astype(np.float32)]
    actions = rng.uniform(-1, 1, (length, num_episodes, 1)).astype(np.float32)
    for act in actions:
        states.append(next_obs(states[-1], act).astype(np.float32))
    table = np.stack(states, 1)  # [E, L + 1, 3]
    act = actions.transpose(1, 0, 2)
    obs = table[:, :-1].reshape(-1, 3)
    last = np.tile(np.arange(length) == length - 1, num_episodes)
    return Episodes(
        obs=obs,
        act=act.reshape(-1, 1),
        rew=obs[:, 0] + act.reshape(-1),
        next_obs=table[:, 1:].reshape(-1, 3),
        terminated=np.zeros(len(obs), bool),
        truncated=last,
        known_next=np.ones(len(obs), bool),
        card=DataCard("toy", "made by a test", "", "Toy-v0", "0" * 16),
        spaces=SPACES,
    )
