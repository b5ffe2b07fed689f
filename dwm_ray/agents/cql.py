"""CQL(H), conservative Q-learning (Kumar et al. 2020, arXiv 2006.04779, equation 4), on segments.

SAC with one more term in the critics' loss at each start state: alpha * (log-sum-exp of Q over all actions minus Q at
the data's action). The sum is importance-weighted over uniform actions and the policy's actions at the start state and
at the state after it. Critics regress on G_0 (see `targets`), bootstrapped with the smaller target Q at an action of
the policy. The temperature is learned for a target entropy of -A. All losses are computed at the same weights before
any optimiser step, as in public code.

Differences from the paper and its public code:

- There is no Lagrange multiplier, and targets contain no entropy unless `entropy_backup` is set.
- The multiplier (1) and the offset (-1) of the policy's log standard deviation are constants; public code learns both.
- Actions are scaled to [-1, 1] internally: with bounds other than +-1, entropy and densities are those of scaled
  actions.
- Initial weights follow torch's Linear.
- Targets may be clipped (`target_clip`).
"""

import math
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from dwm_ray.agents.base import Agent, CriticConfig
from dwm_ray.agents.parts.networks import SquashedActor, TwinCritic, squashed
from dwm_ray.agents.parts.optimizer import fused_adam, gradient_step, polyak_update, with_target
from dwm_ray.agents.parts.targets import TargetRule, critic_errors, critic_metrics
from dwm_ray.diffusion.process import standard_normal
from dwm_ray.options import PositiveInt, TrainingConfig
from dwm_ray.types import DataStats, Metrics, Segments, Spaces


class CQLConfig(CriticConfig):
    """Options of CQL."""

    num_hidden: PositiveInt = 3
    """Hidden layers of policy and critics."""
    policy_learning_rate: Annotated[float, Field(gt=0)] = 3e-5
    """Learning rate of the policy and its temperature."""
    critic_learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Learning rate of the critics."""
    conservative_weight: Annotated[float, Field(ge=0)] = 10.0
    """alpha: weight of the conservative term; 0 is SAC."""
    num_sampled_actions: PositiveInt = 10
    """Sampled actions of each kind (uniform, policy at the start state, policy at the next state) in that term."""
    entropy_backup: bool = False
    """Add the policy's entropy to targets, as in SAC."""

    @classmethod
    def laptop(cls) -> dict[str, Any]:
        """Return the changes of the profile `laptop`: a quarter of the cost and a higher policy learning rate."""
        return super().laptop() | {"num_hidden": 2, "num_sampled_actions": 4, "policy_learning_rate": 3e-4}


class CQL(Agent):
    """CQL agent."""

    Config = CQLConfig
    label = "CQL"
    relative_flops = 30.0
    supports_cuda_graphs = True
    config: CQLConfig

    def __init__(self, config: CQLConfig, spaces: Spaces, stats: DataStats, training: TrainingConfig) -> None:
        super().__init__(config, spaces, stats, training)
        self.actor = SquashedActor(*self.network_args)
        self.critic, self.target_critic = with_target(lambda: TwinCritic(*self.network_args))
        self.temperature = nn.ParameterDict({"log": nn.Parameter(torch.zeros(()))})
        self.rule = TargetRule.of(config, stats, training.discount)
        self.optimizers = {
            "critic": fused_adam(config.critic_learning_rate, self.critic),
            "actor": fused_adam(config.policy_learning_rate, self.actor, self.temperature),
        }

    def learn(self, segments: Segments, generator: torch.Generator, kind: int) -> Metrics:
        segments = self.rule.cut(segments)
        obs, act = self.start_pairs(segments)
        policy = self.actor(obs)
        actor_loss, actor_metrics = self._actor_loss(obs, policy, generator)
        samples, density = self._samples(segments, policy, generator)
        target, clipped = self._targets(segments, generator)
        values = self.critic.of_actions(obs, torch.cat([act.unsqueeze(1), samples], 1))  # [2, B, 1 + 3N]
        q, sampled_q = values[..., 0], values[..., 1:]
        error = critic_errors(q, target, segments.source, self.config.imagined_expectile).mean(1).sum()
        gap = ((sampled_q - density).logsumexp(2) - q).mean(1).sum()
        gradient_step(self.optimizers["actor"], actor_loss)
        gradient_step(self.optimizers["critic"], error + self.config.conservative_weight * gap)
        polyak_update(self.target_critic, self.critic, self.config.tau)
        metrics = critic_metrics(error, q, target, clipped) | actor_metrics
        return metrics | {"conservative_gap": gap.detach() / 2}

    def _actor_loss(
        self, obs: Tensor, policy: tuple[Tensor, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Metrics]:
        """Return the sum of SAC's policy loss and temperature loss, which share no weights."""
        act, log_prob = squashed(*policy, standard_normal(policy[0].shape, generator))
        temperature, entropy = self._entropy_weight(), -log_prob.detach().mean()
        actor_loss = (temperature * log_prob - self.critic(obs, act).amin(0)).mean()
        metrics = {"actor_loss": actor_loss.detach(), "entropy": entropy, "temperature": temperature}
        return actor_loss + self.temperature["log"] * (entropy + self.spaces.act_size), metrics

    def _entropy_weight(self) -> Tensor:
        """Return the temperature [] without gradient: only its own loss changes it."""
        return self.temperature["log"].detach().exp()

    @torch.no_grad()
    def _samples(
        self, segments: Segments, policy: tuple[Tensor, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Sample unit actions [B, 3N, A] for the conservative term, with the log-densities [B, 3N] of their sources."""
        next_policy = self.actor(self.scaling.obs(segments.obs[:, 1]))
        mean, log_std = (torch.stack(pair, 1).unsqueeze(2) for pair in zip(policy, next_policy, strict=True))
        batch, size, num = len(mean), self.spaces.act_size, self.config.num_sampled_actions
        sampled, log_prob = squashed(mean, log_std, standard_normal((batch, 2, num, size), generator))
        uniform = torch.rand((batch, num, size), generator=generator, device=generator.device) * 2 - 1
        flat = uniform.new_full((batch, num), -size * math.log(2))
        return torch.cat([uniform, sampled.flatten(1, 2)], 1), torch.cat([flat, log_prob.flatten(1, 2)], 1)

    @torch.no_grad()
    def _targets(self, segments: Segments, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        obs = self.scaling.obs(self.rule.bootstrap_obs(segments))
        act, log_prob = self._sample(obs, generator)
        value = self.target_critic(obs, act).amin(0)
        if self.config.entropy_backup:
            value = value - self._entropy_weight() * log_prob
        return self.rule(segments, value)

    def _sample(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Sample one unit action [B, A] of the policy per state, with its log-density [B]."""
        mean, log_std = self.actor(obs)
        return squashed(mean, log_std, standard_normal(mean.shape, generator))

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        """See `Agent.act`; the mode of the policy."""
        return self.scaling.raw(torch.tanh(self.actor(self.scaling.obs(obs))[0]))

    @torch.no_grad()
    def explore(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """See `Agent.explore`; sampled actions of the policy."""
        return self.scaling.raw(self._sample(self.scaling.obs(obs), generator)[0])
