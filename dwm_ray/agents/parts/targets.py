"""Critic targets: the only place where returns are computed.

    G_H = V(s_H),    G_h = r_h + d_h * ((1 - lambda) * V(s_{h+1}) + lambda * G_{h+1}),    target = G_0

with d the discount of each step (0 where the task ended). H = 1 is one-step TD, lambda = 1 is value expansion (MVE, as
in DWM, arXiv 2402.03570, eq. 6), anything between is the lambda-return of its IQL variant. Unrolled, the recursion is
a cumulative product and a sum, without a loop over steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dwm_ray.agents.base import CriticConfig
from dwm_ray.types import DataStats, Segments


def bootstrap_obs(segments: Segments, lam: float) -> Tensor:
    """[..., B, H, O] the states whose values `lambda_return` needs; [..., B, 1, O], the last one, when lam == 1."""
    return segments.obs[..., -1:, :] if lam == 1 else segments.obs[..., 1:, :]


def lambda_return(rew: Tensor, discount: Tensor, values: Tensor, lam: float) -> Tensor:
    """Target [..., B] from rewards and discounts [..., B, H] and values [..., B, H] of the states after each step; with
    lam == 1 the values may be [..., B, 1], those of the last states. ValueError for another shape."""
    if values.shape != rew.shape and not (lam == 1 and values.shape == rew[..., :1].shape):
        raise ValueError(f"values are {list(values.shape)}, expected {list(rew.shape)} (or [B, 1] when lambda is 1)")
    decay = torch.cumprod(lam * discount, dim=-1)
    stepwise = rew + (1 - lam) * discount * values
    tail = decay[..., -1] * values[..., -1]
    return stepwise[..., 0] + (decay[..., :-1] * stepwise[..., 1:]).sum(-1) + tail


def target_range(stats: DataStats, discount: float) -> tuple[float, float]:
    """(low, high): discounted returns that the data allow, in raw reward units.

    The best (worst) reward of the data received for ever, or ended at once: no policy whose rewards stay within those
    of the data can leave it, so a sound critic is never touched. The returns-to-go of the data would be a tighter
    range, but a recording that was cut short understates them and a policy should beat them.
    """
    scale = 1 / (1 - discount)
    return min(0.0, stats.rew_min * scale), max(0.0, stats.rew_max * scale)


@dataclass(frozen=True)
class TargetRule:
    """How an agent turns segments and bootstrap values into targets, in the agent's reward units."""

    lam: float
    penalty_weight: float
    reward_scale: float
    low: float
    high: float

    @staticmethod
    def of(config: CriticConfig, stats: DataStats, discount: float, reward_scale: float = 1.0) -> TargetRule:
        low, high = (-torch.inf, torch.inf) if config.target_clip == "none" else target_range(stats, discount)
        scaled = (low * reward_scale, high * reward_scale)
        return TargetRule(config.return_lambda, config.penalty_weight, reward_scale, *scaled)

    def bootstrap_obs(self, segments: Segments) -> Tensor:
        """[..., B, N, O] raw; N is 1 or H."""
        return bootstrap_obs(segments, self.lam)

    def __call__(self, segments: Segments, values: Tensor) -> tuple[Tensor, Tensor]:
        """Targets [..., B] from values [..., B, N] of the bootstrap states, and the share [...] of them that the guard
        clipped."""
        rew = self.reward_scale * (segments.rew - self.penalty_weight * segments.penalty)
        target = lambda_return(rew, segments.discount, values, self.lam)
        kept = target.clamp(self.low, self.high)
        return kept, (kept != target).float().mean(-1)
