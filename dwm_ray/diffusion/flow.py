"""Flow matching along straight lines (rectified flow, arXiv 2209.03003): x_t = (1 - t) clean + t noise.

The network predicts the velocity dx/dt = noise - clean. Sampling integrates it from t = 1 (noise) to t = 0 (data) in
equal steps by Euler's method; it is deterministic given its initial noise.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from dwm_ray.diffusion.process import GivenEntries, Network, imposer, per_row, standard_normal


@dataclass(frozen=True)
class Flow:
    """The process; a level is a time t in [0, 1), which the network receives as 2 t - 1."""

    solver_steps: int
    """N: steps of the solver, and network calls."""
    temperature: float = 1.0
    """Scale of the initial noise."""

    def training_levels(self, batch: int, generator: torch.Generator) -> Tensor:
        return torch.rand(batch, generator=generator, device=generator.device)

    def add_noise(self, clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        return torch.lerp(clean, noise, per_row(level, clean))

    def squared_error(
        self, network: Network, noisy: Tensor, level: Tensor, clean: Tensor, noise: Tensor, given: GivenEntries | None
    ) -> Tensor:
        return (network(noisy, 2 * level - 1) - (noise - clean)).square()

    def weight(self, level: Tensor) -> Tensor:
        return torch.ones_like(level)

    def sample(
        self, network: Network, shape: tuple[int, ...], given: GivenEntries | None, generator: torch.Generator
    ) -> Tensor:
        impose = imposer(given)
        x = impose(self.temperature * standard_normal(shape, generator))
        for time, next_time in pairwise(1 - i / self.solver_steps for i in range(self.solver_steps + 1)):
            velocity = network(x, torch.full((len(x),), 2 * time - 1, device=x.device))
            x = impose(x + (next_time - time) * velocity)
        return x
