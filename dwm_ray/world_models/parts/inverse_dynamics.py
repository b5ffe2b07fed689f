"""Inverse dynamics: which action led from one state to the next? An ensemble of networks f(s, s') -> a.

DAWM (arXiv 2509.19538) fills in the actions of diffused states with it. Its settings are not public; here two hidden
layers of ReLU units with dropout, a tanh that keeps actions within the task's bounds, and squared error. The networks
see s and the change s' - s, both standardised: the same information as (s, s'), but the small differences that carry
the action do not drown in large coordinates.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from dwm_ray.data.normalizers import MinMaxNormalizer, ZScore
from dwm_ray.types import Episodes, Spaces
from dwm_ray.world_models.parts.ensemble import EnsembleLinear


class InverseDynamics(nn.Module):
    """States and actions are raw; predictions and errors are in unit actions, the task's bounds at -1 and 1."""

    def __init__(self, spaces: Spaces, num_members: int, width: int, dropout: float) -> None:
        """`dropout` is the share of hidden units that `loss` hides in training. Initial weights come from torch's
        global generator."""
        super().__init__()
        self.num_members, self.dropout = num_members, dropout
        self.obs_normalizer = ZScore(spaces.obs_size)
        self.change_normalizer = ZScore(spaces.obs_size, eps=1e-6)  # a change may be far smaller than 1e-3
        self.act_normalizer = MinMaxNormalizer(spaces.act_size).fit(np.array([spaces.act_low, spaces.act_high]))
        sizes = [2 * spaces.obs_size, width, width, spaces.act_size]
        self.layers = nn.ModuleList(EnsembleLinear(num_members, low, high) for low, high in pairwise(sizes))

    def fit_normalizers(self, episodes: Episodes) -> None:
        """From recorded transitions; the actions' bounds are the task's."""
        self.obs_normalizer.fit(episodes.obs)
        self.change_normalizer.fit((episodes.next_obs - episodes.obs)[episodes.known_next])

    def forward(self, obs: Tensor, next_obs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Unit actions [E, B, A] between raw states [B, O]; with dropout where a generator is given."""
        inputs = [self.obs_normalizer(obs), self.change_normalizer(next_obs - obs)]
        x = torch.cat(inputs, 1).expand(self.num_members, -1, -1)
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
            if generator is not None and self.dropout:
                x = x * torch.empty_like(x).bernoulli_(1 - self.dropout, generator=generator) / (1 - self.dropout)
        return torch.tanh(self.layers[-1](x)).float()

    def loss(
        self, obs: Tensor, act: Tensor, next_obs: Tensor, mask: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Mean squared error of a member over the transitions in `mask` [B]; 0 where there are none."""
        error = (self(obs, next_obs, generator) - self.act_normalizer(act)).square().mean((0, 2))
        return (error * mask).sum() / mask.sum().clamp_min(1)

    def actions(self, members: Tensor) -> Tensor:
        """Raw actions [B, A], the mean of the members' unit actions [E, B, A]."""
        return self.act_normalizer.inverse(members.mean(0))
