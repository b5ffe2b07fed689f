"""Regression of twin critics on targets, and the metrics that every agent with such critics reports."""

from __future__ import annotations

import torch
from torch import Tensor

from dwm_ray.types import Metrics


def critic_errors(q: Tensor, target: Tensor, source: Tensor, expectile: float | Tensor) -> Tensor:
    """Return the weighted squared errors [..., 2, B] of values [..., 2, B] on targets [..., B].

    Rows that a model imagined (`source` [..., B] > 0) have twice the weights of LEQ's lower-expectile regression (arXiv
    2407.00699): 2 * (1 - expectile) if Q exceeds the target, else 2 * expectile. Below .5 the critic
    therefore gives lower imagined targets more weight; .5 is the squared error. Recorded rows have weight 1.
    """
    target = target.unsqueeze(-2)
    squares = (q - target).square()
    if not isinstance(expectile, Tensor) and expectile == 0.5:
        return squares
    weight = 2 * torch.where(q > target, 1 - expectile, expectile)
    return torch.where(source.unsqueeze(-2) > 0, weight * squares, squares)


def critic_metrics(loss: Tensor, q: Tensor, target: Tensor, clipped: Tensor) -> Metrics:
    """Return metrics of loss [...], values [..., 2, B], targets [..., B] and the fraction of clipped targets [...]."""
    return {
        "critic_loss": loss.detach(),
        "q_mean": q.detach().mean((-2, -1)),
        "q_max": q.detach().amax((-2, -1)),
        "target_mean": target.mean(-1),
        "target_clipped": clipped,
    }
