"""Cloned behaviour policy, which provides a world model with actions in any state.

The clone is a Gaussian with a state-dependent standard deviation, fitted by maximum likelihood, so that it is as random
as the behaviour policy. Imagined futures of a deterministic clone would be too similar to each other. Samples are
clipped to the action bounds, as the recorded actions are. One Gaussian cannot represent several modes; its negative
log-likelihood on held-out data measures the fit.
"""

import math

import torch
from torch import Tensor, nn

from dwm_ray.agents.parts.networks import Scaling, StackedMLP
from dwm_ray.evaluation.model_error import Driver
from dwm_ray.types import DataStats, Episodes, Policy, Spaces
from dwm_ray.world_models.base import seeded

CLONED = "cloned behaviour"
HIDDEN = [256, 256]
BATCH_SIZE = 256
LEARNING_RATE = 1e-3
LOG_STD_RANGE = (-5.0, 1.0)
"""Bounds of the log standard deviation of unit actions."""


class BehaviourClone(nn.Module):
    """Policy from states to a Gaussian over unit actions."""

    def __init__(self, spaces: Spaces, stats: DataStats) -> None:
        super().__init__()
        self.scaling = Scaling(spaces, stats)
        self.net = StackedMLP(1, [spaces.obs_size, *HIDDEN, 2 * spaces.act_size], "fp32")

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation [B, A] for raw observations [B, O]."""
        mean, log_std = self.net(self.scaling.obs(obs)).squeeze(0).chunk(2, -1)
        return mean, log_std.clamp(*LOG_STD_RANGE)

    def loss(self, obs: Tensor, act: Tensor) -> Tensor:
        """Return the negative log-likelihood of raw actions in nats per action dimension."""
        mean, log_std = self(obs)
        z = (self.scaling.unit(act) - mean) * torch.exp(-log_std)
        return (0.5 * z.square() + log_std).mean() + 0.5 * math.log(2 * math.pi)

    @torch.no_grad()
    def sample(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """Sample raw actions [B, A] within the bounds."""
        mean, log_std = self(obs)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return self.scaling.raw((mean + log_std.exp() * noise).clamp(-1, 1))

    def policy(self, generator: torch.Generator) -> Policy:
        """Return this policy for `WorldModel.imagine`."""
        return lambda obs, step: self.sample(obs, generator)

    def driver(self, generator: torch.Generator) -> Driver:
        """Return this policy as the driver of a world model."""
        return Driver(CLONED, lambda windows: self.policy(generator))


def clone_behaviour(
    episodes: Episodes, stats: DataStats, num_updates: int, seed: int, device: torch.device
) -> BehaviourClone:
    """Return a clone trained on all transitions of `episodes`."""
    with seeded(seed):
        clone = BehaviourClone(episodes.spaces, stats).to(device)
    obs, act = (torch.from_numpy(x).to(device) for x in (episodes.obs, episodes.act))
    generator = torch.Generator(device).manual_seed(seed)
    adam = torch.optim.Adam(clone.parameters(), LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, num_updates)
    for _ in range(num_updates):
        rows = torch.randint(len(obs), (BATCH_SIZE,), generator=generator, device=device)
        adam.zero_grad(set_to_none=True)
        clone.loss(obs[rows], act[rows]).backward()
        adam.step()
        schedule.step()
    return clone.requires_grad_(False).eval()
