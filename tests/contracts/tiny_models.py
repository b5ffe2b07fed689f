"""World models of every plug-in on small data, and their segments."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from dwm_ray.data.transitions import real_segments
from dwm_ray.data.windows import WindowSet
from dwm_ray.registry import find
from dwm_ray.types import DataCard, Episodes, Segments, Spaces, Windows
from dwm_ray.world_models.base import WorldModel

SPACES = Spaces(obs_size=3, act_size=2, act_low=(-1.0, 0.0), act_high=(1.0, 4.0))
CENTRE, REW_CENTRE = 1000.0, -500.0
"""Raw units far from a network's: a model that forgets a normaliser misses them by hundreds."""


@cache
def episodes(num_episodes: int = 6, length: int = 20) -> Episodes:
    rng, num = np.random.default_rng(0), num_episodes * length
    walk = rng.normal(size=(num_episodes, length + 1, 3)).cumsum(1) * 0.2 + CENTRE
    last = np.tile(np.arange(length) == length - 1, num_episodes)
    half = np.arange(num) < num // 2
    return Episodes(
        obs=walk[:, :-1].reshape(-1, 3).astype(np.float32),
        act=rng.uniform(SPACES.act_low, SPACES.act_high, (num, 2)).astype(np.float32),
        rew=rng.normal(REW_CENTRE, 1, num).astype(np.float32),
        next_obs=walk[:, 1:].reshape(-1, 3).astype(np.float32),
        terminated=last & half,
        truncated=last & ~half,
        known_next=~last | half,
        card=DataCard("walk", "made by a test", "", "Walk-v0", "0" * 16),
        spaces=SPACES,
    )


@cache
def build(name: str) -> WorldModel:
    torch.manual_seed(0)
    cls = find("world_models", name)
    model: WorldModel = cls(cls.Config.for_profile("laptop"), SPACES)
    model.fit_normalizers(episodes())
    return model


def windows(model: WorldModel, batch: int = 32) -> Windows:
    data = WindowSet(episodes(), model.sequence_length, 0.99, 100.0)
    return data.sample(batch, torch.Generator().manual_seed(0))


def starts(batch: int = 8) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(episodes().obs[:batch]), torch.from_numpy(episodes().act[:batch])


def first_steps(batch: int = 8) -> Segments:
    """Return the recorded transitions of `starts`."""
    return real_segments(episodes(), 0.99)[:batch]


def horizon_of(model: WorldModel) -> int:
    return min(3, model.max_horizon)


def recorded_actions(rows: int, horizon: int) -> Tensor:
    """Return [B, H + 1, A] actions within the bounds, all different."""
    low, high = torch.tensor(SPACES.act_low), torch.tensor(SPACES.act_high)
    return low + (high - low) * torch.rand(rows, horizon + 1, 2, generator=torch.Generator().manual_seed(9))


def imagined(
    model: WorldModel,
    seed: int = 0,
    batch: int = 8,
    rtg: float | Tensor = 0.5,
    horizon: int | None = None,
    first: Segments | None = None,
) -> Segments:
    """Generate segments, under recorded actions if the model follows a policy."""
    obs, act = starts(batch)
    horizon = horizon or horizon_of(model)
    recorded = recorded_actions(batch, horizon)
    return model.imagine(
        obs,
        act,
        policy=lambda obs, step: recorded[:, step],
        horizon=horizon,
        rtg=rtg,
        generator=torch.Generator().manual_seed(seed),
        first=first,
    )


def same(first: Segments, second: Segments) -> bool:
    return all(torch.equal(value, getattr(second, key)) for key, value in first.tensors().items())
