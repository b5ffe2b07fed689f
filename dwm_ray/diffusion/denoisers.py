"""Networks that look at a noisy window [B, T, D] and a condition and predict its noise (or the clean window).

`TemporalUNet` is the one of Diffuser (arXiv 2205.09991) and Decision Diffuser (arXiv 2211.15657) that DWM uses: two
residual blocks per resolution, each of two kernel-5 convolutions with GroupNorm(8) and Mish, the condition added after
the first. `ResidualMLP` (ours) sees the flattened window: no notion of time, far less work per parameter. What else a
network is told is its encoder's business: any module with a `size` that turns (step or noise level, condition) into an
embedding [B, size].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dwm_ray.diffusion.conditioning import Encoder
from dwm_ray.diffusion.fast.activation import Mish, mish
from dwm_ray.diffusion.temporal import TemporalConv, TemporalGroupNorm

DenoiserKind = Literal["unet", "mlp"]
NUM_GROUPS = 8


class Denoiser(Protocol):
    """x [B, T, D], step [B] int64 in 1..K, condition -> prediction [B, T, D]."""

    def __call__(self, x: Tensor, step: Tensor, condition: Any) -> Tensor: ...


def conv_block(size_in: int, size_out: int) -> nn.Sequential:
    """Kernel-5 convolution, GroupNorm, Mish."""
    return nn.Sequential(
        TemporalConv(size_in, size_out, kernel=5, padding=2), TemporalGroupNorm(NUM_GROUPS, size_out), Mish()
    )


class ResidualBlock(nn.Module):
    """[B, T, C_in], what `condition` makes of the embedding [B, C_out] -> [B, T, C_out]."""

    def __init__(self, size_in: int, size_out: int, embedding_size: int) -> None:
        super().__init__()
        self.first = conv_block(size_in, size_out)
        self.second = conv_block(size_out, size_out)
        self.condition = nn.Linear(embedding_size, size_out)
        self.skip = TemporalConv(size_in, size_out, kernel=1) if size_in != size_out else nn.Identity()

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        hidden = self.first(x) + told[:, None]
        return self.second(hidden) + self.skip(x)


class Stage(nn.Module):
    """Two residual blocks: what happens at one resolution."""

    def __init__(self, size_in: int, size_out: int, embedding_size: int) -> None:
        super().__init__()
        self.first = ResidualBlock(size_in, size_out, embedding_size)
        self.second = ResidualBlock(size_out, size_out, embedding_size)

    def forward(self, x: Tensor, told: Iterator[Tensor]) -> Tensor:
        return self.second(self.first(x, next(told)), next(told))


class TemporalUNet(nn.Module):
    """Channels `dim * multipliers[i]` at T / 2^i positions. T is divisible by 2^(levels - 1), channels by 8."""

    def __init__(self, size: int, encoder: Encoder, dim: int, multipliers: Sequence[int]) -> None:
        super().__init__()
        sizes = [size, *(dim * multiplier for multiplier in multipliers)]
        levels = list(pairwise(sizes))
        self.encoder = encoder
        self.down = nn.ModuleList(Stage(low, high, encoder.size) for low, high in levels)
        self.shrink = nn.ModuleList(TemporalConv(high, high, 3, stride=2, padding=1) for _, high in levels[:-1])
        self.middle = Stage(sizes[-1], sizes[-1], encoder.size)
        self.up = nn.ModuleList(Stage(2 * high, low, encoder.size) for low, high in reversed(levels[1:]))
        self.stretch = nn.ModuleList(
            TemporalConv(low, low, 4, stride=2, padding=1, transposed=True) for low, _ in reversed(levels[1:])
        )
        self.head = nn.Sequential(conv_block(sizes[1], sizes[1]), TemporalConv(sizes[1], size, kernel=1))

    def forward(self, x: Tensor, step: Tensor, condition: Any) -> Tensor:
        told = iter(self._told(mish(self.encoder(step, condition))))
        skips: list[Tensor] = []
        for stage, shrink in zip(self.down, self.shrink, strict=False):
            x = stage(x, told)
            skips.append(x)
            x = shrink(x)
        # As in Decision Diffuser's code the finest skip is never used: there is one stage up less than down.
        x = self.down[-1](x, told)
        skips.append(x)
        x = self.middle(x, told)
        for stage, stretch in zip(self.up, self.stretch, strict=True):
            x = stretch(stage(torch.cat([x, skips.pop()], -1), told))
        return self.head(x)

    def _told(self, embedding: Tensor) -> Sequence[Tensor]:
        """What each block's `condition` makes of the embedding, in one product: by themselves they are small."""
        stages: list[Any] = [*self.down, self.middle, *self.up]
        layers: list[nn.Linear] = [block.condition for stage in stages for block in (stage.first, stage.second)]
        weight, bias = torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
        return F.linear(embedding, weight, bias).split([layer.out_features for layer in layers], 1)


class MLPBlock(nn.Module):
    """h + W2 mish(W1 LayerNorm(h) + We embedding)."""

    def __init__(self, width: int, hidden: int, embedding_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.condition = nn.Linear(embedding_size, hidden)
        self.mish = Mish()
        self.contract = nn.Linear(hidden, width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return x + self.contract(self.mish(self.expand(self.norm(x)) + self.condition(embedding)))


class ResidualMLP(nn.Module):
    """One residual block of `dim * multipliers[i]` hidden units per multiplier; the first is also the trunk's width."""

    def __init__(self, length: int, size: int, encoder: Encoder, dim: int, multipliers: Sequence[int]) -> None:
        super().__init__()
        width = dim * multipliers[0]
        self.encoder = encoder
        self.enter = nn.Linear(length * size, width)
        self.blocks = nn.ModuleList(MLPBlock(width, dim * multiplier, encoder.size) for multiplier in multipliers)
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, length * size))

    def forward(self, x: Tensor, step: Tensor, condition: Any) -> Tensor:
        embedding = mish(self.encoder(step, condition))
        hidden = self.enter(x.flatten(1))
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return self.leave(hidden).view_as(x)
