"""TD3 (Fujimoto et al. 2018, arXiv 1802.09477) on segments, the base of agents that regularise their policy.

Each update regresses both critics on G_0 (see `targets`), bootstrapped with the smaller target Q at the smoothed target
action. Every `policy_delay`-th update also takes a gradient step on the actor's loss and updates all target networks.
"""

from abc import abstractmethod
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from dwm_ray.agents.base import Agent, CriticConfig
from dwm_ray.agents.parts.networks import TanhActor, TwinCritic
from dwm_ray.agents.parts.noise import Generators, Noise, normal_like
from dwm_ray.agents.parts.optimizer import fused_adam, gradient_step, polyak_update, with_target
from dwm_ray.agents.parts.targets import TargetRule, critic_errors, critic_metrics
from dwm_ray.options import PositiveInt, TrainingConfig
from dwm_ray.types import DataStats, Metrics, Segments, Spaces

MEMBER_OPTIONS = {"policy_noise": 2, "noise_clip": 2, "imagined_expectile": 2}
"""Entries of `member_options` of every subclass."""


class TD3Config(CriticConfig):
    """Options of TD3."""

    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Learning rate of policy and critics."""
    policy_noise: Annotated[float, Field(ge=0)] = 0.2
    """Standard deviation of the target action's smoothing noise, in units of half the action range."""
    noise_clip: Annotated[float, Field(ge=0)] = 0.5
    """Bound on that noise."""
    policy_delay: PositiveInt = 2
    """Critic updates per actor update."""


class TD3(Agent):
    """Base class of agents with a deterministic policy that maximises twin critics."""

    layer_norm: ClassVar[bool] = False
    """Whether the critics have LayerNorm after each hidden layer."""
    supports_cuda_graphs = True
    supports_compile = True
    config: TD3Config

    def __init__(self, config: TD3Config, spaces: Spaces, stats: DataStats, training: TrainingConfig) -> None:
        super().__init__(config, spaces, stats, training)
        self.actor, self.target_actor = with_target(lambda: TanhActor(*self.network_args))
        self.critic, self.target_critic = with_target(
            lambda: TwinCritic(*self.network_args, layer_norm=self.layer_norm)
        )
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
        segments = self.rule.cut(segments)
        obs, act = self.start_pairs(segments)
        target, clipped = self._targets(segments, generator)
        q = self.critic(obs, act)
        loss = critic_errors(q, target, segments.source, self.member_values.imagined_expectile).mean(-1).sum(-1)
        gradient_step(self.optimizers["critic"], loss)
        metrics = critic_metrics(loss, q, target, clipped)
        if kind:
            metrics |= self._update_actor(obs, act)
            polyak_update(self.target_actor, self.actor, self.config.tau)
            polyak_update(self.target_critic, self.critic, self.config.tau)
        return metrics

    @torch.no_grad()
    def _targets(self, segments: Segments, generator: Noise) -> tuple[Tensor, Tensor]:
        """Return targets [..., B] and the fraction [...] that was clipped."""
        obs = self.scaling.obs(self.rule.bootstrap_obs(segments))
        act = self._smoothed(obs, generator)
        target, clipped = self.rule(segments, self.target_critic(obs, act).amin(-2))
        return self._regularized(target, segments, act), clipped

    def _regularized(self, target: Tensor, segments: Segments, act: Tensor) -> Tensor:
        """Return targets [..., B] with the agent's penalty on the target actions [..., B * N, A]; by default none."""
        return target

    def _smoothed(self, obs: Tensor, generator: Noise) -> Tensor:
        """Return the target actor's unit actions with clipped noise."""
        act = self.target_actor(obs)
        noise = normal_like(act, generator) * self.member_values.policy_noise
        bound = self.member_values.noise_clip
        return (act + noise.clamp_(-bound, bound)).clamp_(-1, 1)

    def _update_actor(self, obs: Tensor, act: Tensor) -> Metrics:
        loss, bc_loss = self._actor_loss(obs, act)
        gradient_step(self.optimizers["actor"], loss)
        return {"actor_loss": loss.detach(), "bc_loss": bc_loss.detach()}

    @abstractmethod
    def _actor_loss(self, obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor]:
        """Return the actor's loss [...] at start pairs, and its behaviour-cloning part [...] before weighting."""

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        return self.scaling.raw(self.actor(self.scaling.obs(obs)))

    @torch.no_grad()
    def explore(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """See `Agent.explore`; actions of the target policy with its smoothing noise, as in the targets."""
        return self.scaling.raw(self._smoothed(self.scaling.obs(obs), generator))
