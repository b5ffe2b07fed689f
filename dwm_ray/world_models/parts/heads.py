"""Termination head and reward network of models that predict states.

Termination head, a learned termination rule: a logistic network on the state after a step predicts whether the step
terminated the task. It is trained together with a model, on the same windows, and shares no weights with it. A
generated segment ends at the first state that is more likely terminal than not. DWM uses a channel of its windows
instead (`window_layout`). The papers do not model terminations.

Reward network of DyDiff (arXiv 2405.19189): r(s, a) with two hidden layers, fitted by least squares to standardised
rewards. Unlike the paper's, it uses Mish activations, as the other networks of this project do.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dwm_ray.data.normalizers import ZScore
from dwm_ray.diffusion.conditioning import mlp
from dwm_ray.types import Episodes, Metrics, Spaces, Windows
from dwm_ray.world_models.base import WorldModelConfig
from dwm_ray.world_models.parts.losses import masked_mean

WIDTH = 128
"""Units in each of the network's two hidden layers."""


class ContinuationConfig(WorldModelConfig):
    """Options of models that can learn terminations."""

    continuation: Literal["auto", "on", "off"] = "auto"
    """Learn terminations and end generated segments at predicted ones; 'auto' does so if the data contain terminations
    that no rule of the task explains."""


class TerminationHead(nn.Module):
    """Predictor of terminal states; without `learned` it has no weights and predicts none."""

    def __init__(self, spaces: Spaces, config: ContinuationConfig) -> None:
        super().__init__()
        self.learned = config.continuation == "on"
        if self.learned:
            self.normalizer = ZScore(spaces.obs_size)
            self.net = mlp(spaces.obs_size, WIDTH, WIDTH, 1)

    def fit_normalizers(self, episodes: Episodes) -> None:
        """Set the normaliser from recorded data; raise ValueError if they contain no terminal state."""
        if not self.learned:
            return
        if not (episodes.terminated & episodes.known_next).any():
            raise ValueError(
                "world_model.continuation: the data contain no state after a termination (next_observations); expected "
                "'off', or world model dwm, which needs none"
            )
        self.normalizer.fit(episodes.next_obs[episodes.known_next])

    def loss(self, windows: Windows) -> Tensor:
        """Return the mean cross-entropy over the windows' steps whose next state is recorded."""
        if not self.learned:
            return windows.rew.new_zeros(())
        terminated = windows.terminated[:, :-1].to(windows.rew.dtype)
        error = F.binary_cross_entropy_with_logits(self._logit(windows.obs[:, 1:]), terminated, reduction="none")
        return masked_mean(error, windows.transition_mask)

    def metrics(self, loss: Tensor) -> Metrics:
        """Return the loss under its name, if terminations are learned."""
        return {"termination_loss": loss.detach()} if self.learned else {}

    def discount(self, states: Tensor, num_recorded: int = 0) -> Tensor:
        """Return the discount [B, H] of raw states [B, H + 1, O]: 1, then 0 once a next state is terminal.

        The first `num_recorded` steps are recorded, so their discount remains 1.
        """
        discount = torch.ones_like(states[:, 1:, 0])
        if self.learned:
            discount[:, num_recorded:] = (self._logit(states[:, 1 + num_recorded :]) < 0).to(states.dtype).cumprod(1)
        return discount

    def _logit(self, states: Tensor) -> Tensor:
        return self.net(self.normalizer(states)).squeeze(-1)


class RewardNetwork(nn.Module):
    """Raw pairs [B, O], [B, A] -> raw rewards [B]; initial weights come from torch's global generator."""

    def __init__(self, spaces: Spaces, width: int) -> None:
        super().__init__()
        self.obs_normalizer = ZScore(spaces.obs_size)
        self.act_normalizer = ZScore(spaces.act_size)
        self.rew_normalizer = ZScore(1)
        self.net = mlp(spaces.obs_size + spaces.act_size, width, width, 1)

    def fit_normalizers(self, episodes: Episodes) -> None:
        """Fit the normalisers to recorded data."""
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
