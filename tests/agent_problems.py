"""Small problems for tests of agents: sizes, statistics, random segments and small agents."""

from typing import Any

import numpy as np
import torch

from dwm_ray.options import TrainingConfig
from dwm_ray.registry import find
from dwm_ray.types import DataStats, Segments, Spaces

SPACES = Spaces(obs_size=3, act_size=2, act_low=(-2.0, 0.0), act_high=(2.0, 1.0))
UNIT = Spaces(obs_size=3, act_size=2, act_low=(-1.0, -1.0), act_high=(1.0, 1.0))
STATS = DataStats(
    obs_mean=np.array([0.5, -1.0, 2.0], np.float32),
    obs_std=np.array([1.0, 2.0, 0.5], np.float32),
    rew_min=-5.0,
    rew_max=5.0,
    return_min=-20.0,
    return_max=30.0,
    rtg_min=-15.0,
    rtg_max=25.0,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def segments(
    batch: int = 16, horizon: int = 3, spaces: Spaces = SPACES, seed: int = 0, num_actions: int = 1
) -> Segments:
    """Random imagined segments; the last row's task ends at its first step, and the first row has no next action."""
    noise = rng(seed)
    low, high = torch.tensor(spaces.act_low), torch.tensor(spaces.act_high)
    discount = torch.full((batch, horizon), 0.99)
    discount[-1] = 0.0
    rows = Segments(
        obs=torch.randn(batch, horizon + 1, spaces.obs_size, generator=noise),
        act=low + (high - low) * torch.rand(batch, num_actions, spaces.act_size, generator=noise),
        rew=torch.randn(batch, horizon, generator=noise),
        discount=discount,
        penalty=torch.rand(batch, horizon, generator=noise),
        source=torch.ones(batch),
        next_act=low + (high - low) * torch.rand(batch, spaces.act_size, generator=rng(seed + 1)),
    )
    assert rows.next_act is not None
    rows.next_act[0] = torch.nan
    return rows


def build(name: str, spaces: Spaces = UNIT, seed: int = 0, num_updates: int = 100, **options: Any) -> Any:
    """Build an agent with small networks."""
    torch.manual_seed(seed)
    cls = find("agents", name)
    config = cls.Config(**{"hidden_size": 16, **options})
    return cls(config, spaces, STATS, TrainingConfig(num_updates=num_updates))
