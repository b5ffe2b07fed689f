"""What a denoiser is told besides x: diffusion step, first action and return-to-go, as one embedding.

DWM (arXiv 2402.03570): step -> sinusoids -> 2-layer MLP, return-to-go and action -> 3-layer MLPs, concatenated. Without
return-to-go its third is zero, as in Decision Diffuser. A model whose conditions are all part of x (DyDiff) is told the
noise level only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from dwm_ray.diffusion.fast.activation import Mish


@dataclass(frozen=True)
class Condition:
    """Normalised conditions of a batch."""

    act: Tensor  # [B, A]
    rtg: Tensor  # [B]
    has_rtg: Tensor  # [B] bool

    def with_null_copy(self) -> Condition:
        """[2B]: these rows, then the same rows without return-to-go."""
        null = torch.zeros_like(self.has_rtg)
        return Condition(
            torch.cat([self.act, self.act]), torch.cat([self.rtg, self.rtg]), torch.cat([self.has_rtg, null])
        )


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers with Mish between them."""
    layers: list[nn.Module] = []
    for size_in, size_out in pairwise(sizes):
        layers += [nn.Linear(size_in, size_out), Mish()]
    return nn.Sequential(*layers[:-1])


def sinusoids(num_steps: int, size: int) -> Tensor:
    """[K + 1, size] sine and cosine features of the steps 0..K; `size` is even."""
    half = size // 2
    frequency = torch.exp(torch.arange(half) * (-math.log(10_000) / max(half - 1, 1)))
    angle = torch.arange(num_steps + 1)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], 1)


class Encoder(nn.Module):
    """Interface: (step or noise level [B], condition) -> embedding [B, size]."""

    size: int


class ConditionEncoder(Encoder):
    """(step, condition) -> embedding [B, 3 * dim]."""

    features: Tensor  # [K + 1, dim]

    def __init__(self, act_size: int, dim: int, diffusion_steps: int) -> None:
        super().__init__()
        self.size = 3 * dim
        self.register_buffer("features", sinusoids(diffusion_steps, dim), persistent=False)
        self.step_mlp = mlp(dim, 4 * dim, dim)
        self.rtg_mlp = mlp(1, dim, 4 * dim, dim)
        self.act_mlp = mlp(act_size, dim, 4 * dim, dim)

    def forward(self, step: Tensor, condition: Condition) -> Tensor:
        rtg = self.rtg_mlp(condition.rtg[:, None]) * condition.has_rtg[:, None]
        return torch.cat([self._of_step(step), rtg, self.act_mlp(condition.act)], 1)

    def _of_step(self, step: Tensor) -> Tensor:
        """[B, dim]. Where steps are few, each is worked out once and rows choose by a product with 0 and 1: exact, and
        its gradient is a product too, which sums in float32."""
        num_steps, dim = self.features.shape
        if num_steps > min(len(step), dim):
            return self.step_mlp(self.features[step])
        table = self.step_mlp(self.features)
        chosen = step.unsqueeze(-1) == torch.arange(num_steps, device=step.device)  # one_hot would look at the steps
        return chosen.to(table.dtype) @ table


class LevelEncoder(Encoder):
    """EDM's c_noise = log(sigma) / 4, about -1.6 to 1.1 -> embedding [B, dim]; there is no other condition."""

    frequency: Tensor  # [dim / 2]

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.size = dim
        # A quarter to 16 radians per unit: over the range the slowest is monotonic, the fastest turns seven times.
        self.register_buffer("frequency", torch.logspace(-2, 4, dim // 2, base=2.0), persistent=False)
        self.mlp = mlp(dim, 4 * dim, dim)

    def forward(self, level: Tensor, condition: None) -> Tensor:
        angle = level[:, None] * self.frequency
        return self.mlp(torch.cat([angle.sin(), angle.cos()], 1))
