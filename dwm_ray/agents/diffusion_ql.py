"""Diffusion-QL (Wang et al. 2022, arXiv 2208.06193, algorithm 1) on segments.

The policy is a diffusion model of actions (`diffusion_policy`). Each update regresses both critics on G_0 (`targets`),
bootstrapped with the smaller target Q at an action of the averaged policy. The policy minimises its cloning loss minus
eta * Q_i / mean|Q_j| at one of its own actions, through the whole chain; i is one of the two critics, chosen at random,
and j is the other. The target critics are updated next, and the averaged policy every few updates. Cloning and Q terms
use the start pairs only.

Differences from the paper:

- `act` takes the best of `num_candidates` actions by target Q, the limit of the paper's softmax sample. Their noise is
  the same for every state, so the action depends on the observation alone.
- Actions are scaled to [-1, 1] internally; public code uses raw actions. With other bounds, the cloning loss therefore
  has a different weight relative to Q.
- States are standardised, and targets may be clipped (`target_clip`).
- Gradients are not clipped, and the learning rate is constant.
"""

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from dwm_ray.agents.base import Agent, CriticConfig
from dwm_ray.agents.parts.diffusion_policy import DiffusionPolicy
from dwm_ray.agents.parts.networks import TwinCritic
from dwm_ray.agents.parts.optimizer import fused_adam, gradient_step, polyak_update, with_target
from dwm_ray.agents.parts.targets import TargetRule, critic_errors, critic_metrics
from dwm_ray.diffusion.activation import mish
from dwm_ray.options import PositiveInt, TrainingConfig
from dwm_ray.types import DataStats, Metrics, Segments, Spaces

CANDIDATE_SEED = 0
"""Seed of the candidate actions' noise."""


class DiffusionQLConfig(CriticConfig):
    """Options of Diffusion-QL."""

    num_hidden: PositiveInt = 3
    """Hidden layers of policy and critics."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Learning rate of policy and critics."""
    eta: Annotated[float, Field(ge=0)] = 1.0
    """Weight of Q relative to behaviour cloning; 0 is pure behaviour cloning."""
    diffusion_steps: PositiveInt = 5
    """K: denoising steps of the policy, both in learning and in acting."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """Decay of the averaged policy, whose actions the targets use."""
    ema_every: PositiveInt = 5
    """Updates between two updates of the averaged policy."""
    ema_start: Annotated[int, Field(ge=0)] = 1000
    """Updates before the averaged policy starts to follow the policy."""
    num_target_actions: PositiveInt = 1
    """Actions per bootstrap state, of which the best is used; the paper uses 10 if rewards are sparse (antmaze)."""
    num_candidates: PositiveInt = 50
    """Candidate actions when acting, of which the best is taken."""

    @classmethod
    def laptop(cls) -> dict[str, Any]:
        """Return the changes of the profile `laptop`: two hidden layers instead of three, fewer candidate actions."""
        return super().laptop() | {"num_hidden": 2, "num_candidates": 10}


class DiffusionQL(Agent):
    """Diffusion-QL agent."""

    Config = DiffusionQLConfig
    label = "Diffusion-QL"
    relative_flops = 12.0
    supports_cuda_graphs = True
    config: DiffusionQLConfig
    candidate_noise: Tensor  # [n, num_candidates, A], the same for every state

    def __init__(self, config: DiffusionQLConfig, spaces: Spaces, stats: DataStats, training: TrainingConfig) -> None:
        super().__init__(config, spaces, stats, training)
        _, hidden, precision = self.network_args
        self.actor, self.target_actor = with_target(
            lambda: DiffusionPolicy(spaces, hidden, config.diffusion_steps, precision)
        )
        self.critic, self.target_critic = with_target(lambda: TwinCritic(spaces, hidden, precision, mish))
        noise = self.actor.chain.fixed_noise(
            (config.num_candidates, spaces.act_size), torch.Generator().manual_seed(CANDIDATE_SEED)
        )
        self.register_buffer("candidate_noise", noise, persistent=False)
        self.rule = TargetRule.of(config, stats, training.discount)
        self.optimizers = {
            "critic": fused_adam(config.learning_rate, self.critic),
            "actor": fused_adam(config.learning_rate, self.actor),
        }

    def next_update_kind(self) -> int:
        """See `Agent.next_update_kind`; 1 if the averaged policy is updated."""
        due = self.num_updates >= self.config.ema_start and self.num_updates % self.config.ema_every == 0
        super().next_update_kind()
        return int(due)

    def learn(self, segments: Segments, generator: torch.Generator, kind: int) -> Metrics:
        segments = self.rule.cut(segments)
        obs, act = self.start_pairs(segments)
        target, clipped = self._targets(segments, generator)
        q = self.critic(obs, act)
        loss = critic_errors(q, target, segments.source, self.config.imagined_expectile).mean(1).sum()
        gradient_step(self.optimizers["critic"], loss)
        metrics = critic_metrics(loss, q, target, clipped)
        metrics |= self._update_actor(obs, act, generator)
        polyak_update(self.target_critic, self.critic, self.config.tau)
        if kind:
            polyak_update(self.target_actor, self.actor, 1 - self.config.ema_decay)
        return metrics

    @torch.no_grad()
    def _targets(self, segments: Segments, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        obs = self.scaling.obs(self.rule.bootstrap_obs(segments))
        act = self._sample(self.target_actor, obs, self.config.num_target_actions, generator)
        return self.rule(segments, self.target_critic.of_actions(obs, act).amax(2).amin(0))

    def _sample(self, policy: DiffusionPolicy, obs: Tensor, num: int, generator: torch.Generator) -> Tensor:
        """Sample `num` unit actions [B, num, A] per state, each with its own noise."""
        return policy.sample(obs, (len(obs), num, self.spaces.act_size), generator)

    def _update_actor(self, obs: Tensor, act: Tensor, generator: torch.Generator) -> Metrics:
        bc_loss = self.actor.loss(obs, act, generator)
        q = self.critic(obs, self._sample(self.actor, obs, 1, generator).squeeze(1))
        index = torch.randint(2, (1,), generator=generator, device=obs.device)
        q_loss = -q.index_select(0, index).mean() / q.detach().index_select(0, 1 - index).abs().mean()
        loss = bc_loss + self.config.eta * q_loss
        gradient_step(self.optimizers["actor"], loss)
        return {"actor_loss": loss.detach(), "bc_loss": bc_loss.detach()}

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        """See `Agent.act`; the best of `num_candidates` actions."""
        obs = self.scaling.obs(obs)
        candidates = self.actor.sample(obs, self.candidate_noise.shape[1:], iter(self.candidate_noise))
        best = self.target_critic.of_actions(obs, candidates).amin(0).argmax(1)
        return self.scaling.raw(
            candidates.gather(1, best.view(-1, 1, 1).expand(-1, 1, self.spaces.act_size)).squeeze(1)
        )

    @torch.no_grad()
    def explore(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """See `Agent.explore`; actions of the averaged policy, as in the targets."""
        return self.scaling.raw(self._sample(self.target_actor, self.scaling.obs(obs), 1, generator).squeeze(1))
