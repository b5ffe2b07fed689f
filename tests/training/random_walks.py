"""Observations without order and actions that repeat them: enough to see a loop at work."""

import torch

from dwm_ray.types import DataCard, Episodes, Spaces

SPACES = Spaces(2, 1, (-1.0,), (1.0,))


def episodes(seed: int) -> Episodes:
    generator = torch.Generator().manual_seed(seed)
    obs = torch.rand(201, 2, generator=generator)
    last = torch.arange(200) % 20 == 19
    return Episodes(
        obs=obs[:-1].numpy(),
        act=obs[:-1, :1].numpy() * 2 - 1,
        rew=obs[:-1].sum(1).numpy(),
        next_obs=obs[1:].numpy(),
        terminated=torch.zeros(200).bool().numpy(),
        truncated=last.numpy(),
        known_next=torch.ones(200).bool().numpy(),
        card=DataCard("toy", "made by a test", "", "Toy-v0", "0" * 16),
        spaces=SPACES,
    )
