"""Logged transitions as segments of length 1, so that agents see one kind of batch."""

from __future__ import annotations

import torch

from dwm_ray.types import Episodes, Segments


def real_segments(episodes: Episodes, discount: float, device: torch.device | str = "cpu") -> Segments:
    """Segments with H = 1, M = 1, source 0: discount is gamma, 0 after termination (truncation keeps gamma).

    Rows whose next observation was not recorded are left out, unless they terminated: no value follows those.
    """
    keep = torch.from_numpy(episodes.known_next | episodes.terminated)
    obs, next_obs, act = (torch.from_numpy(x)[keep] for x in (episodes.obs, episodes.next_obs, episodes.act))
    rew, terminated = (torch.from_numpy(x)[keep].unsqueeze(1) for x in (episodes.rew, episodes.terminated))
    return Segments(
        obs=torch.stack([obs, next_obs], dim=1),
        act=act.unsqueeze(1),
        rew=rew,
        discount=discount * (~terminated).float(),
        penalty=torch.zeros_like(rew),
        source=torch.zeros(len(rew)),
    ).to(device)
