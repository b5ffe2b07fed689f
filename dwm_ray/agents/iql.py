"""IQL (Kostrikov et al. 2021, arXiv 2110.06169) on segments; with imagined ones this is DWM-IQL.

V is the expectile of the smaller target Q at the start pairs. The critics regress on G_0 (see `targets`), bootstrapped
with V. The policy regresses on the data's actions with weights exp(beta * (Q - V)), capped. All three losses use V
before its step, as in CORL, so that they share one backward pass and one optimiser step. The target critics are updated
last.

Differences from the paper and its public code:

- The authors' code updates V first: its targets and advantages use V after that step.
- Actions are scaled to [-1, 1] internally, so that the policy's standard deviations are in units of half the action
  range.
- Targets may be clipped (`target_clip`).
"""

import math
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from dwm_ray.agents.base import Agent, CriticConfig
from dwm_ray.agents.parts.networks import GaussianActor, TwinCritic, ValueNet
from dwm_ray.agents.parts.noise import Noise
from dwm_ray.agents.parts.optimizer import fused_adam, gradient_step, polyak_update, set_rate, with_target
from dwm_ray.agents.parts.targets import TargetRule, critic_errors, critic_metrics
from dwm_ray.options import Fraction, TrainingConfig
from dwm_ray.types import DataStats, Metrics, Segments, Spaces


class IQLConfig(CriticConfig):
    """Options of IQL."""

    return_lambda: Fraction = 0.95
    """lambda of the lambda-return over imagined steps (DWM-IQL uses .95)."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Learning rate of all networks; that of the policy decays to 0 on a cosine schedule over the run."""
    expectile: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """Expectile of Q that V regresses on; above .5, V approaches the value of the best actions in the data."""
    beta: Annotated[float, Field(ge=0)] = 3.0
    """Inverse temperature of the advantage weights; 0 is pure behaviour cloning."""
    max_weight: Annotated[float, Field(gt=0)] = 100.0
    """Upper bound on the advantage weights."""
    deterministic: bool = False
    """Regress the policy by squared error instead of Gaussian likelihood."""
    reward_scale: Literal["return_range", "none"] = "return_range"
    """'return_range' multiplies rewards by 1000 / (best - worst episode return of the data), usual for locomotion."""
    reward_shift: float = 0.0
    """Constant added to every reward before scaling. -1 is common for rewards that are 1 at the goal and 0 elsewhere:
    each step then costs 1, and values depend on the distance to the goal."""

    @classmethod
    def task_options(cls, task: str) -> dict[str, Any]:
        """Return the paper's settings for antmaze tasks with sparse rewards."""
        if "antmaze" not in task or "dense" in task:
            return {}
        values = {"expectile": 0.9, "beta": 10.0, "reward_scale": "none", "reward_shift": -1.0}
        return {f"agent.{name}": value for name, value in values.items()}


class IQL(Agent):
    """IQL agent."""

    Config = IQLConfig
    label = "IQL"
    relative_flops = 5.0
    member_options: ClassVar[dict[str, int] | None] = {
        "expectile": 1,
        "beta": 1,
        "max_weight": 1,
        "imagined_expectile": 2,
    }
    supports_cuda_graphs = True
    supports_compile = True
    config: IQLConfig

    def __init__(self, config: IQLConfig, spaces: Spaces, stats: DataStats, training: TrainingConfig) -> None:
        super().__init__(config, spaces, stats, training)
        self.value = ValueNet(*self.network_args)
        self.critic, self.target_critic = with_target(lambda: TwinCritic(*self.network_args))
        self.actor = GaussianActor(*self.network_args)
        self.rule = TargetRule.of(config, stats, training.discount, reward_scale(config, stats), config.reward_shift)
        policy = self.actor.mean if config.deterministic else self.actor
        self.optimizers = {"adam": fused_adam(config.learning_rate, self.value, self.critic, policy)}
        self.total_updates = training.num_updates

    def next_update_kind(self) -> int:
        """See `Agent.next_update_kind`; sets the policy's learning rate."""
        progress = min(self.num_updates / self.total_updates, 1.0)
        set_rate(self.optimizers["adam"], 2, self.config.learning_rate * (1 + math.cos(math.pi * progress)) / 2)
        return super().next_update_kind()

    def learn(self, segments: Segments, generator: Noise, kind: int) -> Metrics:
        segments = self.rule.cut(segments)
        obs, act = self.start_pairs(segments)
        with torch.no_grad():
            next_v = self.value(self.scaling.obs(self.rule.bootstrap_obs(segments)))
            low_q = self.target_critic(obs, act).amin(-2)
        target, clipped = self.rule(segments, next_v)
        v, q = self.value(obs), self.critic(obs, act)
        value_loss = expectile_loss(low_q - v, self.member_values.expectile)
        errors = critic_errors(q, target, segments.source, self.member_values.imagined_expectile)
        critic_loss = errors.mean((-2, -1))
        actor_loss = self._actor_loss(obs, act, low_q - v.detach())
        gradient_step(self.optimizers["adam"], value_loss + critic_loss + actor_loss)
        polyak_update(self.target_critic, self.critic, self.config.tau)
        losses = {"value_loss": value_loss.detach(), "actor_loss": actor_loss.detach()}
        return critic_metrics(critic_loss, q, target, clipped) | losses

    def _actor_loss(self, obs: Tensor, act: Tensor, advantage: Tensor) -> Tensor:
        weight = (self.member_values.beta * advantage).exp().clamp(max=self.member_values.max_weight)
        if self.config.deterministic:
            error = (self.actor.mean(obs) - act).square().sum(-1)
        else:
            error = self.actor.negative_log_prob(obs, act)
        return (weight * error).mean(-1)

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        """See `Agent.act`; the policy's mean."""
        return self.scaling.raw(self.actor.mean(self.scaling.obs(obs)))


def expectile_loss(error: Tensor, expectile: float | Tensor) -> Tensor:
    """Return the mean [...] of |expectile - 1[error < 0]| * error^2 over errors [..., B] = target - prediction."""
    return (torch.where(error < 0, 1 - expectile, expectile) * error.square()).mean(-1)


def reward_scale(config: IQLConfig, stats: DataStats) -> float:
    """Return the factor of raw rewards; raise ValueError if all episodes of the data have the same return."""
    if config.reward_scale == "none":
        return 1.0
    if stats.return_max <= stats.return_min:
        raise ValueError(
            f"agent.reward_scale 'return_range': every episode of the data returns {stats.return_min}; expected 'none'"
        )
    return 1000.0 / (stats.return_max - stats.return_min)
