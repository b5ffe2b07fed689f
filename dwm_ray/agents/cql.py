"""CQL(H), conservative Q-learning (Kumar et al. 2020, arXiv 2006.04779, equation 4), on segments.

SAC with one more term in the critics' loss: at each start state, alpha * (log-sum-exp of Q over all actions minus Q of
the data's action). The sum is an importance-weighted one over uniform actions and the policy's actions at the start
state and at the state after it. Settings are the field's: no Lagrange multiplier, SAC's own temperature learned for a
target entropy of -A, no entropy in targets unless asked for.

On segments: critics regress on G_0 (see `targets`), bootstrapped with the smaller target Q at an action of the policy;
the conservative term and the policy see the start states only. Differences: actions are scaled to [-1, 1] inside,
weights start as torch's Linear does, targets may be clipped (`target_clip`).

All losses are taken at the same weights, then all are descended, as in the reference. One pass of the critics serves
the data's action and all sampled ones: at 31 actions a state it is nine tenths of an update.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from dwm_ray.agents.base import Agent, CriticConfig
from dwm_ray.agents.parts.networks import Scaling, SquashedActor, TwinCritic, squashed
from dwm_ray.agents.parts.optimizer import adam_tensors, descend, fused_adam, load_adam_tensors, track, with_target
from dwm_ray.agents.parts.targets import TargetRule
from dwm_ray.options import PositiveFraction, PositiveInt, TrainingConfig
from dwm_ray.types import DataStats, Metrics, Segments, Spaces


class CQLConfig(CriticConfig):
    """Options of CQL."""

    hidden_size: PositiveInt = 256
    """Units of each hidden layer."""
    num_hidden: PositiveInt = 3
    """Hidden layers of policy and critics."""
    policy_learning_rate: Annotated[float, Field(gt=0)] = 3e-5
    """Of the policy and of its temperature."""
    critic_learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    tau: PositiveFraction = 0.005
    """Fraction by which the target critics move towards the learned ones."""
    conservative_weight: Annotated[float, Field(ge=0)] = 10.0
    """alpha: weight of the conservative term; 0 is SAC."""
    num_sampled_actions: PositiveInt = 10
    """Actions of each of the three kinds (uniform, policy here, policy at the next state) in that term."""
    entropy_backup: bool = False
    """Whether targets count the policy's entropy, as SAC's do."""

    @classmethod
    def small(cls) -> dict[str, Any]:
        """A quarter of the work: 13 actions a state instead of 31, and a layer less; a policy that learns faster."""
        return super().small() | {"num_hidden": 2, "num_sampled_actions": 4, "policy_learning_rate": 3e-4}


class Temperature(nn.Module):
    """SAC's weight of the entropy, learned as its logarithm."""

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.zeros(()))

    def forward(self) -> Tensor:
        """0-d, without gradient: losses other than its own do not move it."""
        return self.log.detach().exp()


class CQL(Agent):
    """The agent; see the module."""

    Config = CQLConfig
    label = "CQL"
    relative_flops = 30.0
    supports_cuda_graphs = True
    config: CQLConfig

    def __init__(self, config: CQLConfig, spaces: Spaces, stats: DataStats, training: TrainingConfig) -> None:
        super().__init__(config, spaces, stats, training)
        hidden = [config.hidden_size] * config.num_hidden
        self.scaling = Scaling(spaces, stats)
        self.actor = SquashedActor(spaces, hidden, config.matmul_precision)
        self.critic, self.target_critic = with_target(lambda: TwinCritic(spaces, hidden, config.matmul_precision))
        self.temperature = Temperature()
        self.rule = TargetRule.of(config, stats, training.discount)
        self.actor_optimizer = fused_adam(config.policy_learning_rate, self.actor, self.temperature)
        self.critic_optimizer = fused_adam(config.critic_learning_rate, self.critic)

    def learn(self, segments: Segments, generator: torch.Generator, kind: int) -> Metrics:
        obs, act = self.scaling.obs(segments.obs[:, 0]), self.scaling.unit(segments.act[:, 0])
        policy = self.actor(obs)
        actor_loss, actor_metrics = self._actor_loss(obs, policy, generator)
        samples, density = self._samples(segments, policy, generator)
        target, clipped = self._targets(segments, generator)
        critic_loss, critic_metrics = self._critic_loss(obs, act, target, samples, density)
        descend(self.actor_optimizer, actor_loss)
        descend(self.critic_optimizer, critic_loss)
        track(self.target_critic, self.critic, self.config.tau)
        return critic_metrics | actor_metrics | {"target_mean": target.mean(), "target_clipped": clipped}

    def _actor_loss(
        self, obs: Tensor, policy: tuple[Tensor, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Metrics]:
        """SAC's loss of the policy plus that of its temperature, which share no weights."""
        act, log_prob = squashed(*policy, _noise(policy[0].shape, generator))
        temperature = self.temperature()
        actor_loss = (temperature * log_prob - self.critic(obs, act).amin(0)).mean()
        surplus = log_prob.detach().mean() - self.spaces.act_size
        metrics = {
            "actor_loss": actor_loss.detach(),
            "entropy": -log_prob.detach().mean(),
            "temperature": temperature,
        }
        return actor_loss - self.temperature.log * surplus, metrics

    @torch.no_grad()
    def _samples(
        self, segments: Segments, policy: tuple[Tensor, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Unit actions [B, 3N, A] for the conservative term and the log-density [B, 3N] that each was drawn with:
        uniform, the policy's at the start state, the policy's at the state after it."""
        following = self.actor(self.scaling.obs(segments.obs[:, 1]))
        mean, log_std = (torch.stack(pair, 1).unsqueeze(2) for pair in zip(policy, following, strict=True))
        batch, size, num = len(mean), self.spaces.act_size, self.config.num_sampled_actions
        drawn, log_prob = squashed(mean, log_std, _noise((batch, 2, num, size), generator))
        uniform = torch.rand((batch, num, size), generator=generator, device=generator.device) * 2 - 1
        flat = uniform.new_full((batch, num), -size * math.log(2))
        return torch.cat([uniform, drawn.flatten(1, 2)], 1), torch.cat([flat, log_prob.flatten(1, 2)], 1)

    @torch.no_grad()
    def _targets(self, segments: Segments, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        states = self.rule.bootstrap_obs(segments)
        obs = self.scaling.obs(states.flatten(0, 1))
        act, log_prob = self._drawn(obs, generator)
        value = self.target_critic(obs, act).amin(0)
        if self.config.entropy_backup:
            value = value - self.temperature() * log_prob
        return self.rule(segments, value.view(states.shape[:2]))

    def _drawn(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A unit action [B, A] of the policy at each state, and its log-density [B]."""
        mean, log_std = self.actor(obs)
        return squashed(mean, log_std, _noise(mean.shape, generator))

    def _critic_loss(
        self, obs: Tensor, act: Tensor, target: Tensor, samples: Tensor, density: Tensor
    ) -> tuple[Tensor, Metrics]:
        values = self.critic.of_each(obs, torch.cat([act.unsqueeze(1), samples], 1))  # [2, B, 1 + 3N]
        q, others = values[..., 0], values[..., 1:]
        error = (q - target).square().mean(1).sum()
        gap = ((others - density).logsumexp(2) - q).mean(1).sum()
        metrics = {
            "critic_loss": error.detach(),
            "conservative_gap": gap.detach() / 2,
            "q_mean": q.detach().mean(),
            "q_max": q.detach().max(),
        }
        return error + self.config.conservative_weight * gap, metrics

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        return self.scaling.raw(self.actor.mode(self.scaling.obs(obs)))

    @torch.no_grad()
    def explore(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        return self.scaling.raw(self._drawn(self.scaling.obs(obs), generator)[0])

    def optimizer_state(self) -> dict[str, Tensor]:
        return adam_tensors("critic", self.critic_optimizer) | adam_tensors("actor", self.actor_optimizer)

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        load_adam_tensors("critic", self.critic_optimizer, state)
        load_adam_tensors("actor", self.actor_optimizer, state)


def _noise(shape: torch.Size | tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)
