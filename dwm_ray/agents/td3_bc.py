"""TD3+BC (Fujimoto & Gu 2021, arXiv 2106.06860) on segments; with imagined ones this is DWM-TD3BC.

Per update: both critics regress on G_0 (see `targets`), bootstrapped with the smaller target Q at the smoothed target
action; every `policy_delay`-th update the actor descends -alpha * Q1 / mean|Q1| + MSE to the data's action, and all
target networks move. Actor and BC terms use the start pairs only. With real segments (H = 1) this is the published
algorithm; differences: actions are scaled to [-1, 1] inside, so noise is in units of half the action range, and
targets may be clipped (`target_clip`).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from dwm_ray.agents.base import Agent, CriticConfig
from dwm_ray.agents.parts.networks import Scaling, TanhActor, TwinCritic
from dwm_ray.agents.parts.noise import Generators, Noise, normal_like
from dwm_ray.agents.parts.optimizer import adam_tensors, descend, fused_adam, load_adam_tensors, track, with_target
from dwm_ray.agents.parts.regression import regress
from dwm_ray.agents.parts.targets import TargetRule
from dwm_ray.options import PositiveFraction, PositiveInt, TrainingConfig
from dwm_ray.types import DataStats, Metrics, Segments, Spaces


class TD3BCConfig(CriticConfig):
    """Options of TD3+BC."""

    hidden_size: PositiveInt = 256
    """Units of each hidden layer."""
    num_hidden: PositiveInt = 2
    """Hidden layers of actor and critics; DWM's agents have 3 layers, the output counted."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    tau: PositiveFraction = 0.005
    """Fraction by which target networks move towards the learned ones."""
    alpha: Annotated[float, Field(ge=0)] = 2.5
    """Weight of Q against behaviour cloning; 0 clones."""
    policy_noise: Annotated[float, Field(ge=0)] = 0.2
    """Standard deviation of the target action's smoothing noise, in units of half the action range."""
    noise_clip: Annotated[float, Field(ge=0)] = 0.5
    """Bound of that noise."""
    policy_delay: PositiveInt = 2
    """Critic updates per actor update."""


class TD3BC(Agent):
    """The agent; see the module."""

    Config = TD3BCConfig
    label = "TD3+BC"
    relative_flops = 4.0
    member_options: ClassVar[dict[str, int] | None] = {"alpha": 0, "policy_noise": 2, "noise_clip": 2}
    supports_cuda_graphs = True
    supports_compile = True
    config: TD3BCConfig

    def __init__(self, config: TD3BCConfig, spaces: Spaces, stats: DataStats, training: TrainingConfig) -> None:
        super().__init__(config, spaces, stats, training)
        hidden = [config.hidden_size] * config.num_hidden
        self.scaling = Scaling(spaces, stats)
        self.actor, self.target_actor = with_target(lambda: TanhActor(spaces, hidden, config.matmul_precision))
        self.critic, self.target_critic = with_target(lambda: TwinCritic(spaces, hidden, config.matmul_precision))
        self.rule = TargetRule.of(config, stats, training.discount)
        self.critic_optimizer = fused_adam(config.learning_rate, self.critic)
        self.actor_optimizer = fused_adam(config.learning_rate, self.actor)
        self.num_updates = 0

    def next_update_kind(self) -> int:
        """1 where the actor and the targets move."""
        self.num_updates += 1
        return int(self.num_updates % self.config.policy_delay == 0)

    def sample_noise(self, segments: Segments, generator: Generators) -> Noise:
        """Of the target actions."""
        states = self.rule.bootstrap_obs(segments).flatten(-3, -2)
        return normal_like(states.new_empty(*states.shape[:-1], self.spaces.act_size), generator)

    def learn(self, segments: Segments, generator: Noise, kind: int) -> Metrics:
        obs, act = self.scaling.obs(segments.obs[..., 0, :]), self.scaling.unit(segments.act[..., 0, :])
        metrics = self._update_critic(segments, obs, act, generator)
        if kind:
            metrics |= self._update_actor(obs, act)
            track(self.target_actor, self.actor, self.config.tau)
            track(self.target_critic, self.critic, self.config.tau)
        return metrics

    def _update_critic(self, segments: Segments, obs: Tensor, act: Tensor, generator: Noise) -> Metrics:
        target, clipped = self._targets(segments, generator)
        return regress(self.critic, self.critic_optimizer, obs, act, target, clipped)

    @torch.no_grad()
    def _targets(self, segments: Segments, generator: Noise) -> tuple[Tensor, Tensor]:
        states = self.rule.bootstrap_obs(segments)
        obs = self.scaling.obs(states.flatten(-3, -2))
        q = self.target_critic(obs, self._smoothed(obs, generator)).amin(-2)
        return self.rule(segments, q.view(states.shape[:-1]))

    def _smoothed(self, obs: Tensor, generator: Noise) -> Tensor:
        """The target actor's unit action with clipped noise."""
        act = self.target_actor(obs)
        noise = normal_like(act, generator) * self.member_values.policy_noise
        return (act + noise.clamp_(-self.member_values.noise_clip, self.member_values.noise_clip)).clamp_(-1, 1)

    def _update_actor(self, obs: Tensor, act: Tensor) -> Metrics:
        chosen = self.actor(obs)
        q = self.critic(obs, chosen, num=1)
        bc_loss = F.mse_loss(chosen, act, reduction="none").mean((-2, -1))
        loss = bc_loss - self.member_values.alpha * q.mean((-2, -1)) / q.detach().abs().mean((-2, -1))
        descend(self.actor_optimizer, loss)
        return {"actor_loss": loss.detach(), "bc_loss": bc_loss.detach()}

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        return self.scaling.raw(self.actor(self.scaling.obs(obs)))

    @torch.no_grad()
    def explore(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        return self.scaling.raw(self._smoothed(self.scaling.obs(obs), generator))

    def optimizer_state(self) -> dict[str, Tensor]:
        counter = {"num_updates": torch.tensor(self.num_updates)}
        return counter | adam_tensors("critic", self.critic_optimizer) | adam_tensors("actor", self.actor_optimizer)

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        self.num_updates = int(state["num_updates"])
        load_adam_tensors("critic", self.critic_optimizer, state)
        load_adam_tensors("actor", self.actor_optimizer, state)
