"""TD3+BC (Fujimoto & Gu 2021, arXiv 2106.06860) on segments; with imagined ones this is DWM-TD3BC.

Each update regresses both critics on G_0 (see `targets`), bootstrapped with the smaller target Q at the smoothed target
action. Every `policy_delay`-th update the actor descends -alpha * Q1 / mean|Q1| + MSE to the data's action, and all
target networks move. Actor and BC terms use the start pairs only.

Differences from the paper, none of which matters for H = 1, action bounds of +-1 and `target_clip` 'none':

- Networks, noise and the MSE use actions scaled to [-1, 1]; public code uses raw actions. With other bounds the BC term
  therefore has another weight relative to Q, and noise is in units of half the action range.
- Targets may be clipped (`target_clip`).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from dwm_ray.agents.base import Agent, CriticConfig
from dwm_ray.agents.parts.networks import TanhActor, TwinCritic
from dwm_ray.agents.parts.noise import Generators, Noise, normal_like
from dwm_ray.agents.parts.optimizer import descend, fused_adam, track, with_target
from dwm_ray.agents.parts.regression import regress
from dwm_ray.agents.parts.targets import TargetRule
from dwm_ray.options import PositiveInt, TrainingConfig
from dwm_ray.types import DataStats, Metrics, Segments, Spaces


class TD3BCConfig(CriticConfig):
    """Options of TD3+BC."""

    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    alpha: Annotated[float, Field(ge=0)] = 2.5
    """Weight of Q relative to behaviour cloning of unit actions; 0 clones."""
    policy_noise: Annotated[float, Field(ge=0)] = 0.2
    """Standard deviation of the target action's smoothing noise, in units of half the action range."""
    noise_clip: Annotated[float, Field(ge=0)] = 0.5
    """Bound of that noise."""
    policy_delay: PositiveInt = 2
    """Critic updates per actor update."""


class TD3BC(Agent):
    """TD3+BC agent."""

    Config = TD3BCConfig
    label = "TD3+BC"
    relative_flops = 4.0
    member_options: ClassVar[dict[str, int] | None] = {"alpha": 0, "policy_noise": 2, "noise_clip": 2}
    supports_cuda_graphs = True
    supports_compile = True
    config: TD3BCConfig

    def __init__(self, config: TD3BCConfig, spaces: Spaces, stats: DataStats, training: TrainingConfig) -> None:
        super().__init__(config, spaces, stats, training)
        self.actor, self.target_actor = with_target(lambda: TanhActor(*self.network_args))
        self.critic, self.target_critic = with_target(lambda: TwinCritic(*self.network_args))
        self.rule = TargetRule.of(config, stats, training.discount)
        self.optimizers = {
            "critic": fused_adam(config.learning_rate, self.critic),
            "actor": fused_adam(config.learning_rate, self.actor),
        }

    def next_update_kind(self) -> int:
        """See `Agent.next_update_kind`; 1 if the actor and the target networks are updated."""
        super().next_update_kind()
        return int(self.num_updates % self.config.policy_delay == 0)

    def sample_noise(self, segments: Segments, generator: Generators) -> Noise:
        """See `Agent.sample_noise`; the noise of the target actions."""
        states = self.rule.bootstrap_obs(segments)
        return normal_like(states.new_empty(*states.shape[:-1], self.spaces.act_size), generator)

    def learn(self, segments: Segments, generator: Noise, kind: int) -> Metrics:
        obs, act = self.start_pairs(segments)
        target, clipped = self._targets(segments, generator)
        metrics = regress(self.critic, self.optimizers["critic"], obs, act, target, clipped)
        if kind:
            metrics |= self._update_actor(obs, act)
            track(self.target_actor, self.actor, self.config.tau)
            track(self.target_critic, self.critic, self.config.tau)
        return metrics

    @torch.no_grad()
    def _targets(self, segments: Segments, generator: Noise) -> tuple[Tensor, Tensor]:
        obs = self.scaling.obs(self.rule.bootstrap_obs(segments))
        return self.rule(segments, self.target_critic(obs, self._smoothed(obs, generator)).amin(-2))

    def _smoothed(self, obs: Tensor, generator: Noise) -> Tensor:
        """Return the target actor's unit actions with clipped noise."""
        act = self.target_actor(obs)
        noise = normal_like(act, generator) * self.member_values.policy_noise
        bound = self.member_values.noise_clip
        return (act + noise.clamp_(-bound, bound)).clamp_(-1, 1)

    def _update_actor(self, obs: Tensor, act: Tensor) -> Metrics:
        chosen = self.actor(obs)
        q = self.critic(obs, chosen, num=1)
        bc_loss = F.mse_loss(chosen, act, reduction="none").mean((-2, -1))
        loss = bc_loss - self.member_values.alpha * q.mean((-2, -1)) / q.detach().abs().mean((-2, -1))
        descend(self.optimizers["actor"], loss)
        return {"actor_loss": loss.detach(), "bc_loss": bc_loss.detach()}

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        return self.scaling.raw(self.actor(self.scaling.obs(obs)))

    @torch.no_grad()
    def explore(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """See `Agent.explore`; smoothed actions of the target actor."""
        return self.scaling.raw(self._smoothed(self.scaling.obs(obs), generator))
