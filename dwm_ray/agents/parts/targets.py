"""Critic targets, and the regression of twin critics on them; the only module that computes returns.

    G_H = V(s_H),    G_h = r_h + d_h * ((1 - lambda) * V(s_{h+1}) + lambda * G_{h+1}),    target = G_0

with d the discount of each step (0 after a termination). H = 1 is one-step TD, lambda = 1 is value expansion (MVE; DWM,
arXiv 2402.03570, eq. 6), and other values give the lambda-return of DWM-IQL. The recursion is computed as a cumulative
product and a sum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dwm_ray.agents.base import CriticConfig
from dwm_ray.types import DataStats, Metrics, Segments


def lambda_return(rew: Tensor, discount: Tensor, values: Tensor, lam: float) -> Tensor:
    """Return targets [..., B] from rewards and discounts [..., B, H] and values of the states after each step.

    Values are [..., B, H]; with lam == 1 they may be [..., B, 1], those of the last states. Raises ValueError for other
    shapes.
    """
    if values.shape != rew.shape and not (lam == 1 and values.shape == rew[..., :1].shape):
        raise ValueError(f"values are {list(values.shape)}; expected {list(rew.shape)} (or [B, 1] when lambda is 1)")
    decay = torch.cumprod(lam * discount, dim=-1)
    stepwise = rew + (1 - lam) * discount * values
    tail = decay[..., -1] * values[..., -1]
    return stepwise[..., 0] + (decay[..., :-1] * stepwise[..., 1:]).sum(-1) + tail


def target_range(stats: DataStats, discount: float, shift: float = 0.0) -> tuple[float, float]:
    """Return the lowest and highest discounted return that the data's rewards allow, in raw reward units.

    The bounds are the best (worst) reward of the data received indefinitely, or an immediate termination. If rewards
    stay within those of the data, returns cannot leave the range, so targets of an accurate critic are never clipped.
    The data's own returns-to-go would be too narrow: truncated recordings understate them, and a policy should exceed
    them. `shift` is added to the rewards.
    """
    scale = 1 / (1 - discount)
    return min(0.0, (stats.rew_min + shift) * scale), max(0.0, (stats.rew_max + shift) * scale)


@dataclass(frozen=True)
class TargetRule:
    """Rule that turns segments and bootstrap values into targets, in the agent's reward units."""

    lam: float
    penalty_weight: float
    reward_scale: float
    reward_shift: float
    low: float
    high: float
    max_penalty_ratio: float | None

    @staticmethod
    def of(
        config: CriticConfig, stats: DataStats, discount: float, reward_scale: float = 1.0, reward_shift: float = 0.0
    ) -> TargetRule:
        """Build the rule that an agent's options describe.

        Penalties have no known bound and may lower targets below every return of the data, so that with a
        `penalty_weight` there is no lower bound.
        """
        low, high = -torch.inf, torch.inf
        if config.target_clip == "data":
            low, high = target_range(stats, discount, reward_shift)
        low = -torch.inf if config.penalty_weight > 0 else low
        return TargetRule(
            lam=config.return_lambda,
            penalty_weight=config.penalty_weight,
            reward_scale=reward_scale,
            reward_shift=reward_shift,
            low=low * reward_scale,
            high=high * reward_scale,
            max_penalty_ratio=config.max_penalty_ratio,
        )

    def cut(self, segments: Segments) -> Segments:
        """Return the segments cut before their first uncertain step (`CriticConfig.max_penalty_ratio`).

        The first step always remains. A cut segment is padded as by `Segments.padded`. Ending the horizon where the
        disagreement exceeds that on the data is an idea of Neubay (arXiv 2512.04341).
        """
        if self.max_penalty_ratio is None:
            return segments
        penalty, imagined = segments.penalty, segments.source > 0
        mean = (penalty[..., 0] * imagined).sum(-1) / imagined.sum(-1).clamp(min=1)
        is_high = penalty[..., 1:] > self.max_penalty_ratio * mean[..., None, None]
        is_first = torch.ones_like(penalty[..., :1], dtype=torch.bool)
        stays = torch.cat([is_first, is_high.cumsum(-1) == 0], -1)  # [..., B, H]
        last = torch.arange(segments.horizon + 1, device=penalty.device).minimum(stays.sum(-1, keepdim=True))
        return replace(
            segments,
            obs=segments.obs.gather(-2, last.unsqueeze(-1).expand_as(segments.obs)),
            rew=segments.rew.masked_fill(~stays, 0.0),
            discount=segments.discount.masked_fill(~stays, 1.0),
            penalty=penalty.masked_fill(~stays, 0.0),
        )

    def bootstrap_obs(self, segments: Segments) -> Tensor:
        """Return the raw states [..., B * N, O] whose values are needed: the last (N = 1) if lambda is 1, else all."""
        states = segments.obs[..., -1:, :] if self.lam == 1 else segments.obs[..., 1:, :]
        return states.flatten(-3, -2)

    def __call__(self, segments: Segments, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return targets [..., B] from values [..., B * N] of `bootstrap_obs`, and the fraction [...] clipped."""
        rew = self.reward_scale * (self._shifted(segments) - self.penalty_weight * segments.penalty)
        values = values.unflatten(-1, (rew.shape[-2], -1))
        target = lambda_return(rew, segments.discount, values, self.lam)
        clipped = target.clamp(self.low, self.high)
        return clipped, (clipped != target).float().mean(-1)

    def _shifted(self, segments: Segments) -> Tensor:
        """Return rewards [..., B, H] with the shift, except those of padding, which are the steps with discount 1."""
        if self.reward_shift == 0:
            return segments.rew
        return segments.rew + self.reward_shift * (segments.discount < 1)


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
