"""Inverse dynamics: an ensemble of networks f(s, s') -> a that infer the action between two states.

DAWM (arXiv 2509.19538) infers the actions between generated states with it. Its settings are not public. Here, each
network has two hidden layers of ReLU units with dropout and a tanh that bounds the actions, and minimises the squared
error. The networks receive s and the change s' - s, both standardised, so that small differences, which reveal the
action, are not lost next to large coordinates.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from dwm_ray.data.normalizers import MinMaxNormalizer, ZScore
from dwm_ray.types import Episodes, Spaces
from dwm_ray.world_models.parts.ensemble import EnsembleLinear
from dwm_ray.world_models.parts.losses import masked_mean


class InverseDynamics(nn.Module):
    """Inverse dynamics ensemble; predictions and errors are in unit actions, the task's bounds at -1 and 1.

    `dropout` applies to hidden units in training. Initial weights come from torch's global generator.
    """

    def __init__(self, spaces: Spaces, num_members: int, width: int, dropout: float) -> None:
        super().__init__()
        self.num_members, self.dropout = num_members, dropout
        self.obs_normalizer = ZScore(spaces.obs_size)
        self.change_normalizer = ZScore(spaces.obs_size, eps=1e-6)  # a change may be far smaller than 1e-3
        self.act_normalizer = MinMaxNormalizer(spaces.act_size).fit(np.array([spaces.act_low, spaces.act_high]))
        sizes = [2 * spaces.obs_size, width, width, spaces.act_size]
        self.layers = nn.ModuleList(EnsembleLinear(num_members, low, high) for low, high in pairwise(sizes))

    def fit_normalizers(self, episodes: Episodes) -> None:
        """Set the state normalisers from recorded transitions; the action bounds are the task's."""
        self.obs_normalizer.fit(episodes.obs)
        self.change_normalizer.fit((episodes.next_obs - episodes.obs)[episodes.known_next])

    def forward(self, obs: Tensor, next_obs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Predict unit actions [E, B, A] between raw states [B, O]; a generator switches dropout on."""
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
        """Return the mean squared error of a member over the transitions in `mask` [B]."""
        error = (self(obs, next_obs, generator) - self.act_normalizer(act)).square().mean((0, 2))
        return masked_mean(error, mask)

    def actions(self, members: Tensor) -> Tensor:
        """Return raw actions [B, A], the mean of the members' unit actions [E, B, A]."""
        return self.act_normalizer.inverse(members.mean(0))
