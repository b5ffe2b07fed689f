"""Diffusion-QL (Wang et al. 2022, arXiv 2208.06193, algorithm 1) on segments.

The policy is a diffusion model of actions (`diffusion_policy`). Per update: both critics regress on G_0 (`targets`),
bootstrapped with the smaller target Q at an action of the averaged policy; the policy descends its cloning loss minus
eta * Q_i / mean|Q_j| at an action of its own, i drawn from the two critics and j the other, through the whole chain;
the target critics move, and every few updates the averaged policy. Cloning and Q terms use the start pairs only.

`act` takes the best by target Q of `num_candidates` actions, the limit of the paper's softmax draw, from noise that is
the same for every state: the action depends on the observation alone. Other differences: states are standardised,
targets may be clipped (`target_clip`), gradients are not; the learning rate is constant.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from dwm_ray.agents.base import Agent, CriticConfig
from dwm_ray.agents.parts.diffusion_policy import DiffusionPolicy
from dwm_ray.agents.parts.networks import Scaling, TwinCritic
from dwm_ray.agents.parts.optimizer import adam_tensors, descend, fused_adam, load_adam_tensors, track, with_target
from dwm_ray.agents.parts.regression import regress
from dwm_ray.agents.parts.targets import TargetRule
from dwm_ray.diffusion.fast.activation import mish
from dwm_ray.options import PositiveFraction, PositiveInt, TrainingConfig
from dwm_ray.types import DataStats, Metrics, Segments, Spaces

CANDIDATE_SEED = 0
"""Seeds the noise of the candidate actions."""


class DiffusionQLConfig(CriticConfig):
    """Options of Diffusion-QL."""

    hidden_size: PositiveInt = 256
    """Units of each hidden layer."""
    num_hidden: PositiveInt = 3
    """Hidden layers of policy and critics."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    tau: PositiveFraction = 0.005
    """Fraction by which the target critics move towards the learned ones."""
    eta: Annotated[float, Field(ge=0)] = 1.0
    """Weight of Q against behaviour cloning; 0 clones."""
    diffusion_steps: PositiveInt = 5
    """K: denoising steps of the policy, in learning and acting alike."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """Decay of the averaged policy, whose actions the targets use."""
    ema_every: PositiveInt = 5
    """Updates between two updates of the average."""
    ema_start: Annotated[int, Field(ge=0)] = 1000
    """Updates before the average leaves the initial weights."""
    num_target_actions: PositiveInt = 1
    """Actions per bootstrap state, of which the best counts; the paper takes 10 where rewards are sparse (antmaze)."""
    num_candidates: PositiveInt = 50
    """Actions to choose from when acting."""

    @classmethod
    def small(cls) -> dict[str, Any]:
        """A layer less, and fewer actions to choose from."""
        return super().small() | {"num_hidden": 2, "num_candidates": 10}


class DiffusionQL(Agent):
    """The agent; see the module."""

    Config = DiffusionQLConfig
    label = "Diffusion-QL"
    relative_flops = 12.0
    supports_cuda_graphs = True
    config: DiffusionQLConfig

    def __init__(self, config: DiffusionQLConfig, spaces: Spaces, stats: DataStats, training: TrainingConfig) -> None:
        super().__init__(config, spaces, stats, training)
        hidden, precision = [config.hidden_size] * config.num_hidden, config.matmul_precision
        self.scaling = Scaling(spaces, stats)
        self.actor, self.target_actor = with_target(
            lambda: DiffusionPolicy(spaces, hidden, config.diffusion_steps, precision)
        )
        self.critic, self.target_critic = with_target(lambda: TwinCritic(spaces, hidden, precision, mish))
        self.rule = TargetRule.of(config, stats, training.discount)
        self.actor_optimizer = fused_adam(config.learning_rate, self.actor)
        self.critic_optimizer = fused_adam(config.learning_rate, self.critic)
        self.num_updates = 0

    def next_update_kind(self) -> int:
        """1 where the averaged policy moves."""
        due = self.num_updates >= self.config.ema_start and self.num_updates % self.config.ema_every == 0
        self.num_updates += 1
        return int(due)

    def learn(self, segments: Segments, generator: torch.Generator, kind: int) -> Metrics:
        obs, act = self.scaling.obs(segments.obs[:, 0]), self.scaling.unit(segments.act[:, 0])
        metrics = self._update_critic(segments, obs, act, generator) | self._update_actor(obs, act, generator)
        track(self.target_critic, self.critic, self.config.tau)
        if kind:
            track(self.target_actor, self.actor, 1 - self.config.ema_decay)
        return metrics

    def _update_critic(self, segments: Segments, obs: Tensor, act: Tensor, generator: torch.Generator) -> Metrics:
        target, clipped = self._targets(segments, generator)
        return regress(self.critic, self.critic_optimizer, obs, act, target, clipped)

    @torch.no_grad()
    def _targets(self, segments: Segments, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        states = self.rule.bootstrap_obs(segments)
        obs = self.scaling.obs(states.flatten(0, 1))
        act = self._drawn(self.target_actor, obs, self.config.num_target_actions, generator)
        q = self.target_critic.of_each(obs, act).amax(2).amin(0)
        return self.rule(segments, q.view(states.shape[:2]))

    def _drawn(self, policy: DiffusionPolicy, obs: Tensor, num: int, generator: torch.Generator) -> Tensor:
        """`num` unit actions [B, num, A] a state, each from noise of its own."""
        return policy.sample(obs, (len(obs), num, self.spaces.act_size), generator)

    def _update_actor(self, obs: Tensor, act: Tensor, generator: torch.Generator) -> Metrics:
        bc_loss = self.actor.loss(obs, act, generator)
        q = self.critic(obs, self._drawn(self.actor, obs, 1, generator).squeeze(1))
        one = torch.randint(2, (1,), generator=generator, device=obs.device)
        q_loss = -q.index_select(0, one).mean() / q.detach().index_select(0, 1 - one).abs().mean()
        loss = bc_loss + self.config.eta * q_loss
        descend(self.actor_optimizer, loss)
        return {"actor_loss": loss.detach(), "bc_loss": bc_loss.detach()}

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        """See the interface and the module."""
        obs = self.scaling.obs(obs)
        generator = torch.Generator(obs.device).manual_seed(CANDIDATE_SEED)
        candidates = self.actor.sample(obs, (self.config.num_candidates, self.spaces.act_size), generator)
        best = self.target_critic.of_each(obs, candidates).amin(0).argmax(1)
        return self.scaling.raw(candidates[torch.arange(len(obs), device=obs.device), best])

    @torch.no_grad()
    def explore(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """An action of the averaged policy, as in the targets."""
        return self.scaling.raw(self._drawn(self.target_actor, self.scaling.obs(obs), 1, generator).squeeze(1))

    def optimizer_state(self) -> dict[str, Tensor]:
        counter = {"num_updates": torch.tensor(self.num_updates)}
        return counter | adam_tensors("critic", self.critic_optimizer) | adam_tensors("actor", self.actor_optimizer)

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        self.num_updates = int(state["num_updates"])
        load_adam_tensors("critic", self.critic_optimizer, state)
        load_adam_tensors("actor", self.actor_optimizer, state)
