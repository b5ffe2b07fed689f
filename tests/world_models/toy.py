"""A task that a network of a few hundred weights can learn: s' = .9 s + .3 a, reward s_0 + a, random actions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dwm_ray.data.windows import WindowSet
from dwm_ray.types import DataCard, Episodes, Spaces, Windows
from dwm_ray.world_models.base import WorldModel

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


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fitted(plugin: type[Any], options: dict[str, Any], episodes: Episodes | None = None) -> Any:
    """Build a world model with normalisers fitted to the toy."""
    model = plugin(plugin.Config.model_validate(options), SPACES)
    model.fit_normalizers(episodes or toy_episodes())
    return model


def windows(rows: int = 64, length: int = 4, seed: int = 0, episodes: Episodes | None = None) -> Windows:
    return WindowSet(episodes or toy_episodes(), length, 0.99, 10.0).sample(rows, generator(seed))


def starts(rows: int = 16) -> tuple[Tensor, Tensor]:
    """Return start pairs."""
    batch = windows(rows)
    return batch.obs[:, 0], batch.act[:, 0]


def train(
    model: WorldModel, batch: Callable[[torch.Generator], Windows], num_updates: int, rate: float, last: float = 1.0
) -> None:
    """Train by Adam with a learning rate that falls linearly to `last` times the first one."""
    rng, adam = generator(), torch.optim.Adam(model.parameters(), rate)
    decay = torch.optim.lr_scheduler.LinearLR(adam, 1.0, last, num_updates)
    for _ in range(num_updates):
        adam.zero_grad()
        model.loss(batch(rng), rng)[0].backward()
        adam.step()
        decay.step()
