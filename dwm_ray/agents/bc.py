"""Behaviour cloning: the floor that every offline agent has to clear.

A deterministic policy regressed on the data's actions, as in TD3+BC's (arXiv 2106.06860) comparison. It reads the start
pairs only, so what a world model imagines after them changes nothing; where every imagined step is a row (DAWM, DyDiff,
SynthER), its action is cloned too.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from dwm_ray.agents.base import Agent, AgentConfig
from dwm_ray.agents.parts.networks import Scaling, TanhActor
from dwm_ray.agents.parts.noise import Noise
from dwm_ray.agents.parts.optimizer import adam_tensors, descend, fused_adam, load_adam_tensors
from dwm_ray.options import PositiveInt, TrainingConfig
from dwm_ray.types import DataStats, Metrics, Segments, Spaces


class BCConfig(AgentConfig):
    """Options of behaviour cloning."""

    hidden_size: PositiveInt = 256
    """Units of each hidden layer."""
    num_hidden: PositiveInt = 2
    """Hidden layers of the policy."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4


class BC(Agent):
    """The agent; see the module."""

    Config = BCConfig
    label = "BC"
    has_critic = False
    member_options: ClassVar[dict[str, int] | None] = {}
    supports_cuda_graphs = True
    supports_compile = True
    config: BCConfig

    def __init__(self, config: BCConfig, spaces: Spaces, stats: DataStats, training: TrainingConfig) -> None:
        super().__init__(config, spaces, stats, training)
        self.scaling = Scaling(spaces, stats)
        self.actor = TanhActor(spaces, [config.hidden_size] * config.num_hidden, config.matmul_precision)
        self.optimizer = fused_adam(config.learning_rate, self.actor)

    def learn(self, segments: Segments, generator: Noise, kind: int) -> Metrics:
        obs, act = self.scaling.obs(segments.obs[..., 0, :]), self.scaling.unit(segments.act[..., 0, :])
        loss = F.mse_loss(self.actor(obs), act, reduction="none").mean((-2, -1))
        descend(self.optimizer, loss)
        return {"bc_loss": loss.detach()}

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        return self.scaling.raw(self.actor(self.scaling.obs(obs)))

    def explore(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        return self.act(obs)

    def optimizer_state(self) -> dict[str, Tensor]:
        return adam_tensors("actor", self.optimizer)

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        load_adam_tensors("actor", self.optimizer, state)
