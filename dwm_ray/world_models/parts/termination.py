"""Where a task ends, learned: the stand-in for a task's termination rule in models that predict states.

A step ended the task or did not, by a logistic network on the state that it led to - what the rules of tasks look at as
well. It is trained beside a model on the steps of its windows and shares no weight with it, so that it takes nothing
from the prediction of states; an imagined segment ends at the first state that is more likely an end than not. DWM has
a channel of its windows for it instead (`window_layout`). The papers model no ends.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dwm_ray.data.normalizers import ZScore
from dwm_ray.diffusion.conditioning import mlp
from dwm_ray.types import Episodes, Metrics, Spaces, Windows
from dwm_ray.world_models.base import WorldModelConfig

WIDTH = 128
"""Units in each of the network's two hidden layers."""


class ContinuationConfig(WorldModelConfig):
    """Options of models that can learn where a task ends."""

    continuation: Literal["auto", "on", "off"] = "auto"
    """Learn where the task ends and end imagined segments by that; 'auto' does where the data have terminations and no
    rule of the task tells them."""


class Ending(nn.Module):
    """Says which states end the task; without `learned`, none does and there are no weights.

    Initial weights follow from torch's global generator."""

    def __init__(self, spaces: Spaces, config: ContinuationConfig) -> None:
        super().__init__()
        self.learned = config.continuation == "on"
        if self.learned:
            self.normalizer = ZScore(spaces.obs_size)
            self.net = mlp(spaces.obs_size, WIDTH, WIDTH, 1)

    def fit_normalizers(self, episodes: Episodes) -> None:
        """ValueError for data from which no end can be learned."""
        if not self.learned:
            return
        if not (episodes.terminated & episodes.known_next).any():
            raise ValueError(
                "world_model.continuation on: the data record no state that a termination led to "
                "(next_observations); set it to off, or use world model dwm, which does not need one"
            )
        self.normalizer.fit(episodes.next_obs[episodes.known_next])

    def loss(self, windows: Windows) -> Tensor:
        """0-d mean cross-entropy over the windows' steps whose next state is recorded."""
        if not self.learned:
            return windows.rew.new_zeros(())
        known = windows.step_mask[:, :-1] & windows.obs_mask[:, 1:]
        ended = windows.terminated[:, :-1].to(windows.rew.dtype)
        error = F.binary_cross_entropy_with_logits(self._logit(windows.obs[:, 1:]), ended, reduction="none")
        return (error * known).sum() / known.sum().clamp_min(1)

    def metrics(self, loss: Tensor) -> Metrics:
        """The loss under its name, where there is one."""
        return {"ending_loss": loss.detach()} if self.learned else {}

    def discount(self, states: Tensor) -> Tensor:
        """[B, H] for raw states [B, H + 1, O]: 1, and 0 from the step on whose next state ends the task."""
        if not self.learned:
            return torch.ones_like(states[:, 1:, 0])
        return (self._logit(states[:, 1:]) < 0).to(states.dtype).cumprod(1)

    def _logit(self, states: Tensor) -> Tensor:
        return self.net(self.normalizer(states)).squeeze(-1)
