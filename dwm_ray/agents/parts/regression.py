"""Regression of twin critics on targets, and the metrics that every agent with such critics reports."""

from __future__ import annotations

import torch
from torch import Tensor

from dwm_ray.agents.parts.networks import TwinCritic
from dwm_ray.agents.parts.optimizer import descend
from dwm_ray.types import Metrics


def regress(
    critic: TwinCritic, optimizer: torch.optim.Adam, obs: Tensor, act: Tensor, target: Tensor, clipped: Tensor
) -> Metrics:
    """Make one step on the summed squared errors of both critics at start pairs [..., B]; see `critic_metrics`."""
    q = critic(obs, act)
    loss = (q - target.unsqueeze(-2)).square().mean(-1).sum(-1)
    descend(optimizer, loss)
    return critic_metrics(loss, q, target, clipped)


def critic_metrics(loss: Tensor, q: Tensor, target: Tensor, clipped: Tensor) -> Metrics:
    """Return metrics of loss [...], values [..., 2, B], targets [..., B] and the fraction of clipped targets [...]."""
    return {
        "critic_loss": loss.detach(),
        "q_mean": q.detach().mean((-2, -1)),
        "q_max": q.detach().amax((-2, -1)),
        "target_mean": target.mean(-1),
        "target_clipped": clipped,
    }
