"""Behaviour cloning: a deterministic policy regressed on the actions of the data, as in TD3+BC (arXiv 2106.06860).

The agent reads start pairs only, so imagined steps after them have no effect. It clones imagined actions only if every
imagined step is a row of its own (DAWM, DyDiff, SynthER). Actions are scaled to [-1, 1] internally, so that the loss
does not depend on their bounds.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from dwm_ray.agents.base import Agent, AgentConfig
from dwm_ray.agents.parts.networks import TanhActor
from dwm_ray.agents.parts.noise import Noise
from dwm_ray.agents.parts.optimizer import fused_adam, gradient_step
from dwm_ray.options import TrainingConfig
from dwm_ray.types import DataStats, Metrics, Segments, Spaces


class BCConfig(AgentConfig):
    """Options of behaviour cloning."""

    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Learning rate of Adam."""


class BC(Agent):
    """Behaviour cloning agent."""

    Config = BCConfig
    label = "BC"
    has_critic = False
    member_options: ClassVar[dict[str, int] | None] = {}
    supports_cuda_graphs = True
    supports_compile = True

    def __init__(self, config: BCConfig, spaces: Spaces, stats: DataStats, training: TrainingConfig) -> None:
        super().__init__(config, spaces, stats, training)
        self.actor = TanhActor(*self.network_args)
        self.optimizers = {"actor": fused_adam(config.learning_rate, self.actor)}

    def learn(self, segments: Segments, generator: Noise, kind: int) -> Metrics:
        obs, act = self.start_pairs(segments)
        loss = F.mse_loss(self.actor(obs), act, reduction="none").mean((-2, -1))
        gradient_step(self.optimizers["actor"], loss)
        return {"bc_loss": loss.detach()}

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        return self.scaling.raw(self.actor(self.scaling.obs(obs)))
