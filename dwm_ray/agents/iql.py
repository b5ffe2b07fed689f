"""IQL (Kostrikov et al. 2021, arXiv 2110.06169) on segments; with imagined ones this is DWM-IQL.

V is the expectile of the smaller target Q at the start pairs; the critics regress on G_0 (see `targets`),
bootstrapped with V; the policy is regressed on the data's actions with weights exp(beta * (Q - V)), capped. All three
losses touch different parameters and, in the published order (V, Q, targets, policy), none reads what another has just
changed except the target critics, which move last here: one backward pass and one optimiser step serve all. Rewards
may be scaled to 1000 / (best - worst return), the field's habit for locomotion.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from dwm_ray.agents.base import Agent, CriticConfig
from dwm_ray.agents.parts.networks import GaussianActor, Scaling, TwinCritic, ValueNet
from dwm_ray.agents.parts.noise import Noise
from dwm_ray.agents.parts.optimizer import (
    adam_tensors,
    descend,
    fused_adam,
    load_adam_tensors,
    set_rate,
    track,
    with_target,
)
from dwm_ray.agents.parts.targets import TargetRule
from dwm_ray.options import Fraction, PositiveFraction, PositiveInt, TrainingConfig
from dwm_ray.types import DataStats, Metrics, Segments, Spaces


class IQLConfig(CriticConfig):
    """Options of IQL."""

    return_lambda: Fraction = 0.95
    """lambda of the lambda-return over imagined steps (DWM-IQL's .95)."""
    hidden_size: PositiveInt = 256
    """Units of each hidden layer."""
    num_hidden: PositiveInt = 2
    """Hidden layers of all networks."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Of all networks; the policy's falls to 0 along a cosine over the run."""
    tau: PositiveFraction = 0.005
    """Fraction by which the target critics move towards the learned ones."""
    expectile: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """Above .5, V leans towards the better actions of the data."""
    beta: Annotated[float, Field(ge=0)] = 3.0
    """Inverse temperature of the policy's weights; 0 clones."""
    max_weight: Annotated[float, Field(gt=0)] = 100.0
    """Cap of the policy's weights."""
    deterministic: bool = False
    """Regress the policy by squared error instead of Gaussian likelihood."""
    reward_scale: Literal["return_range", "none"] = "return_range"
    """'return_range' multiplies rewards by 1000 / (best - worst episode return of the data)."""


class IQL(Agent):
    """The agent; see the module."""

    Config = IQLConfig
    label = "IQL"
    relative_flops = 5.0
    member_options: ClassVar[dict[str, int] | None] = {"expectile": 1, "beta": 1, "max_weight": 1}
    supports_cuda_graphs = True
    supports_compile = True
    config: IQLConfig

    def __init__(self, config: IQLConfig, spaces: Spaces, stats: DataStats, training: TrainingConfig) -> None:
        super().__init__(config, spaces, stats, training)
        hidden = [config.hidden_size] * config.num_hidden
        self.scaling = Scaling(spaces, stats)
        self.value = ValueNet(spaces, hidden, config.matmul_precision)
        self.critic, self.target_critic = with_target(lambda: TwinCritic(spaces, hidden, config.matmul_precision))
        self.actor = GaussianActor(spaces, hidden, config.matmul_precision)
        self.rule = TargetRule.of(config, stats, training.discount, reward_scale(config, stats))
        policy = self.actor.mean if config.deterministic else self.actor
        self.optimizer = fused_adam(config.learning_rate, self.value, self.critic, policy)
        self.num_updates, self.total_updates = 0, training.num_updates

    def next_update_kind(self) -> int:
        progress = min(self.num_updates / self.total_updates, 1.0)
        set_rate(self.optimizer, 2, self.config.learning_rate * (1 + math.cos(math.pi * progress)) / 2)
        self.num_updates += 1
        return 0

    def learn(self, segments: Segments, generator: Noise, kind: int) -> Metrics:
        obs, act = self.scaling.obs(segments.obs[..., 0, :]), self.scaling.unit(segments.act[..., 0, :])
        states = self.rule.bootstrap_obs(segments)
        v, next_v = self._values(obs, self.scaling.obs(states.flatten(-3, -2)))
        target, clipped = self.rule(segments, next_v.view(states.shape[:-1]))
        with torch.no_grad():
            low_q = self.target_critic(obs, act).amin(-2)
        q = self.critic(obs, act)
        value_loss = expectile_loss(low_q - v, self.member_values.expectile)
        critic_loss = (q - target.unsqueeze(-2)).square().mean((-2, -1))
        actor_loss = self._actor_loss(obs, act, low_q - v.detach())
        descend(self.optimizer, value_loss + critic_loss + actor_loss)
        track(self.target_critic, self.critic, self.config.tau)
        return {
            "critic_loss": critic_loss.detach(),
            "value_loss": value_loss.detach(),
            "actor_loss": actor_loss.detach(),
            "q_mean": q.detach().mean((-2, -1)),
            "q_max": q.detach().amax((-2, -1)),
            "target_mean": target.mean(-1),
            "target_clipped": clipped,
        }

    def _values(self, obs: Tensor, next_obs: Tensor) -> tuple[Tensor, Tensor]:
        """V of the start states, with gradients, and of the bootstrap states, without."""
        with torch.no_grad():
            next_v = self.value(next_obs)
        return self.value(obs), next_v

    def _actor_loss(self, obs: Tensor, act: Tensor, advantage: Tensor) -> Tensor:
        weight = (self.member_values.beta * advantage).exp().clamp(max=self.member_values.max_weight)
        if self.config.deterministic:
            error = (self.actor.mean(obs) - act).square().sum(-1)
        else:
            error = self.actor.negative_log_prob(obs, act)
        return (weight * error).mean(-1)

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        return self.scaling.raw(self.actor.mean(self.scaling.obs(obs)))

    def explore(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        return self.act(obs)

    def optimizer_state(self) -> dict[str, Tensor]:
        return {"num_updates": torch.tensor(self.num_updates)} | adam_tensors("adam", self.optimizer)

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        self.num_updates = int(state["num_updates"])
        load_adam_tensors("adam", self.optimizer, state)


def expectile_loss(error: Tensor, expectile: float | Tensor) -> Tensor:
    """Mean [...] of |expectile - 1[error < 0]| * error^2 over errors [..., B] = target - prediction."""
    return (torch.where(error < 0, 1 - expectile, expectile) * error.square()).mean(-1)


def reward_scale(config: IQLConfig, stats: DataStats) -> float:
    """Factor of raw rewards; ValueError where the data have no range of returns."""
    if config.reward_scale == "none":
        return 1.0
    if stats.return_max <= stats.return_min:
        raise ValueError(
            f"agent.reward_scale 'return_range': every episode of the data returns {stats.return_min}; set it to 'none'"
        )
    return 1000.0 / (stats.return_max - stats.return_min)
