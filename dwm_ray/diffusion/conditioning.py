"""Conditioning of a denoiser: noise level, first action and return-to-go become one embedding.

DWM (arXiv 2402.03570): step -> sinusoids -> 2-layer MLP, return-to-go and action -> 3-layer MLPs, concatenated. Without
return-to-go, its third of the embedding is zero, as in Decision Diffuser. Models whose conditions are entries of x
(DyDiff) or that have none (SynthER) are conditioned on the noise level only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from dwm_ray.diffusion.activation import Mish


@dataclass(frozen=True)
class Condition:
    """Normalised conditions of a batch."""

    vector: Tensor  # [B, V]: the first action and, for some models, the given entries
    rtg: Tensor  # [B]
    has_rtg: Tensor  # [B] bool

    def with_null_copy(self) -> Condition:
        """Return [2B] rows: these, then the same without return-to-go."""
        null = torch.zeros_like(self.has_rtg)
        return Condition(
            torch.cat([self.vector, self.vector]), torch.cat([self.rtg, self.rtg]), torch.cat([self.has_rtg, null])
        )


def mlp(*sizes: int) -> nn.Sequential:
    """Build linear layers with Mish between them."""
    layers: list[nn.Module] = []
    for size_in, size_out in pairwise(sizes):
        layers += [nn.Linear(size_in, size_out), Mish()]
    return nn.Sequential(*layers[:-1])


def sinusoids(num_steps: int, size: int) -> Tensor:
    """Return [K + 1, size] sine and cosine features of the steps 0..K; `size` is even."""
    half = size // 2
    frequency = torch.exp(torch.arange(half) * (-math.log(10_000) / max(half - 1, 1)))
    angle = torch.arange(num_steps + 1)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], 1)


class Encoder(nn.Module):
    """Interface: (level [B], condition) -> embedding [B, size]."""

    size: int


class StepEncoder(Encoder):
    """Discrete step 0..K -> embedding [B, dim]."""

    features: Tensor  # [K + 1, dim]

    def __init__(self, dim: int, diffusion_steps: int) -> None:
        super().__init__()
        self.size = dim
        self.register_buffer("features", sinusoids(diffusion_steps, dim), persistent=False)
        self.mlp = mlp(dim, 4 * dim, dim)

    def forward(self, step: Tensor, condition: object = None) -> Tensor:
        """Embed each step once and select rows by a product with 0 and 1, if there are fewer steps than rows.

        The product is exact, and its gradient is a product too, which sums in float32.
        """
        num_steps, dim = self.features.shape
        if num_steps > min(len(step), dim):
            return self.mlp(self.features[step])
        table = self.mlp(self.features)
        selected = step.unsqueeze(-1) == torch.arange(
            num_steps, device=step.device
        )  # one_hot would wait for the device
        return selected.to(table.dtype) @ table


class LevelEncoder(Encoder):
    """Continuous level of about -1.6 to 1.1, such as EDM's log(sigma) / 4 -> embedding [B, dim]."""

    frequency: Tensor  # [dim / 2]

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.size = dim
        # A quarter to 16 radians per unit: over the range, the slowest is monotonic and the fastest has seven periods.
        self.register_buffer("frequency", torch.logspace(-2, 4, dim // 2, base=2.0), persistent=False)
        self.mlp = mlp(dim, 4 * dim, dim)

    def forward(self, level: Tensor, condition: object = None) -> Tensor:
        angle = level[:, None] * self.frequency
        return self.mlp(torch.cat([angle.sin(), angle.cos()], 1))


class ConditionEncoder(Encoder):
    """(level, condition) -> embeddings of level, return-to-go and vector, [B, 3 * dim]."""

    def __init__(self, level: StepEncoder | LevelEncoder, vector_size: int) -> None:
        super().__init__()
        dim = level.size
        self.size = 3 * dim
        self.level = level
        self.rtg_mlp = mlp(1, dim, 4 * dim, dim)
        self.act_mlp = mlp(vector_size, dim, 4 * dim, dim)

    def forward(self, level: Tensor, condition: Condition) -> Tensor:
        rtg = self.rtg_mlp(condition.rtg[:, None]) * condition.has_rtg[:, None]
        return torch.cat([self.level(level), rtg, self.act_mlp(condition.vector)], 1)


class ConcatEncoder(Encoder):
    """(level, condition) -> embeddings of level and return-to-go, and the vector itself, [B, 2 * dim + V + 1]."""

    def __init__(self, level: StepEncoder | LevelEncoder, vector_size: int) -> None:
        super().__init__()
        self.size = 2 * level.size + vector_size + 1
        self.level = level
        self.rtg_mlp = mlp(1, level.size, level.size)

    def forward(self, level: Tensor, condition: Condition) -> Tensor:
        has_rtg = condition.has_rtg[:, None]
        rtg = self.rtg_mlp(condition.rtg[:, None]) * has_rtg
        return torch.cat([self.level(level), rtg, condition.vector, has_rtg.to(rtg.dtype)], 1)
