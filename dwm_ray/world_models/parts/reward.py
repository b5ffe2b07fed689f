"""Reward network of DyDiff (arXiv 2405.19189): r(s, a) by two hidden layers, least squares on standardised rewards.

Difference: Mish units, as in the other networks of this project.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dwm_ray.data.normalizers import ZScore
from dwm_ray.diffusion.conditioning import mlp
from dwm_ray.types import Episodes, Spaces, Windows
from dwm_ray.world_models.parts.losses import masked_mean


class RewardNetwork(nn.Module):
    """Raw pairs [B, O], [B, A] -> raw rewards [B]; initial weights follow from torch's global generator."""

    def __init__(self, spaces: Spaces, width: int) -> None:
        super().__init__()
        self.obs_normalizer = ZScore(spaces.obs_size)
        self.act_normalizer = ZScore(spaces.act_size)
        self.rew_normalizer = ZScore(1)
        self.net = mlp(spaces.obs_size + spaces.act_size, width, width, 1)

    def fit_normalizers(self, episodes: Episodes) -> None:
        """Set means and deviations from real data."""
        self.obs_normalizer.fit(episodes.obs)
        self.act_normalizer.fit(episodes.act)
        self.rew_normalizer.fit(episodes.rew[:, None])

    def loss(self, windows: Windows) -> Tensor:
        """Return the mean squared error, in variances of the data, over the windows' first steps that were recorded."""
        target = self.rew_normalizer(windows.rew[:, :1])
        error = (self._standardised(windows.obs[:, 0], windows.act[:, 0]) - target).square()
        return masked_mean(error.squeeze(1), windows.step_mask[:, 0])

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        return self.rew_normalizer.inverse(self._standardised(obs, act)).squeeze(1)

    def _standardised(self, obs: Tensor, act: Tensor) -> Tensor:
        return self.net(torch.cat([self.obs_normalizer(obs), self.act_normalizer(act)], 1))
