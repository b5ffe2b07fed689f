"""Denoising networks and guidance: a noisy window [B, T, D] and a condition -> a prediction of the window's shape.

`TemporalUNet` is the network of Diffuser (arXiv 2205.09991) and Decision Diffuser (arXiv 2211.15657), which DWM uses:
two residual blocks per resolution, each with two kernel-5 convolutions, GroupNorm(8) and Mish. The condition is added
after the first convolution. `ResidualMLP` (ours) takes the flattened window and needs far less computation per
parameter. `AttentionDenoiser` has the blocks of DiT (arXiv 2212.09748), with one token per position of the window.
Conditions enter through an `Encoder`, which maps (level, condition) to an embedding [B, size].

Classifier-free guidance (arXiv 2207.12598) applies to the return-to-go only: w * f(x, rtg) + (1 - w) * f(x, no rtg).
Both passes run as one batch of 2B rows. The combination is linear, so it serves every prediction target (noise, clean
sample, velocity) alike.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dwm_ray.devices import Precision, autocast
from dwm_ray.diffusion.activation import Mish, mish
from dwm_ray.diffusion.conditioning import Encoder
from dwm_ray.diffusion.process import Network
from dwm_ray.diffusion.temporal import TemporalConv, TemporalGroupNorm

DenoiserKind = Literal["unet", "mlp", "attention"]
NUM_GROUPS = 8
MAX_HEADS = 8


class Denoiser(Protocol):
    """x [B, T, D], level [B] of the process, condition -> prediction [B, T, D]."""

    def __call__(self, x: Tensor, level: Tensor, condition: Any) -> Tensor: ...


def conv_block(size_in: int, size_out: int) -> nn.Sequential:
    """Build a kernel-5 convolution, GroupNorm and Mish."""
    return nn.Sequential(
        TemporalConv(size_in, size_out, kernel=5, padding=2), TemporalGroupNorm(NUM_GROUPS, size_out), Mish()
    )


class ResidualBlock(nn.Module):
    """Activations [B, T, C_in], projected embedding [B, C_out] -> [B, T, C_out]."""

    def __init__(self, size_in: int, size_out: int, embedding_size: int) -> None:
        super().__init__()
        self.first = conv_block(size_in, size_out)
        self.second = conv_block(size_out, size_out)
        self.condition = nn.Linear(embedding_size, size_out)
        self.skip = TemporalConv(size_in, size_out, kernel=1) if size_in != size_out else nn.Identity()

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        hidden = self.first(x) + shift[:, None]
        return self.second(hidden) + self.skip(x)


class Stage(nn.Module):
    """Two residual blocks at one resolution."""

    def __init__(self, size_in: int, size_out: int, embedding_size: int) -> None:
        super().__init__()
        self.first = ResidualBlock(size_in, size_out, embedding_size)
        self.second = ResidualBlock(size_out, size_out, embedding_size)

    def forward(self, x: Tensor, shifts: Iterator[Tensor]) -> Tensor:
        return self.second(self.first(x, next(shifts)), next(shifts))


class TemporalUNet(nn.Module):
    """U-Net with `dim * multipliers[i]` channels (a multiple of 8) at T / 2^i positions (an integer)."""

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

    def forward(self, x: Tensor, level: Tensor, condition: Any) -> Tensor:
        shifts = iter(self._shifts(mish(self.encoder(level, condition))))
        skips: list[Tensor] = []
        for stage, shrink in zip(self.down, self.shrink, strict=False):
            x = stage(x, shifts)
            skips.append(x)
            x = shrink(x)
        # The finest skip is never used, as in Decision Diffuser's code: there is one stage up less than down.
        x = self.down[-1](x, shifts)
        skips.append(x)
        x = self.middle(x, shifts)
        for stage, stretch in zip(self.up, self.stretch, strict=True):
            x = stretch(stage(torch.cat([x, skips.pop()], -1), shifts))
        return self.head(x)

    def _shifts(self, embedding: Tensor) -> Sequence[Tensor]:
        """Project the embedding for every block, in one product instead of many small ones."""
        stages: list[Any] = [*self.down, self.middle, *self.up]
        layers: list[nn.Linear] = [block.condition for stage in stages for block in (stage.first, stage.second)]
        weight, bias = torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
        return F.linear(embedding, weight, bias).split([layer.out_features for layer in layers], 1)


class MLPBlock(nn.Module):
    """Residual block h + W2 mish(W1 LayerNorm(h)), the identity at first."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.mish = Mish()
        self.contract = nn.Linear(hidden, width)
        nn.init.zeros_(self.contract.weight)
        nn.init.zeros_(self.contract.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.contract(self.mish(self.expand(self.norm(x))))


class ResidualMLP(nn.Module):
    """Residual blocks of `dim * multipliers[i]` hidden units; the first size is also the width of the trunk.

    The embedding of the condition is concatenated to the flattened window at the input and to the trunk at the output.
    """

    def __init__(self, length: int, size: int, encoder: Encoder, dim: int, multipliers: Sequence[int]) -> None:
        super().__init__()
        width = dim * multipliers[0]
        self.encoder = encoder
        self.enter = nn.Linear(length * size + encoder.size, width)
        self.blocks = nn.Sequential(*(MLPBlock(width, dim * multiplier) for multiplier in multipliers))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width + encoder.size, length * size)

    def forward(self, x: Tensor, level: Tensor, condition: Any) -> Tensor:
        embedding = self.encoder(level, condition)
        hidden = self.blocks(self.enter(torch.cat([x.flatten(1), embedding], 1)))
        return self.leave(torch.cat([self.norm(hidden), embedding], 1)).view_as(x)


class AttentionBlock(nn.Module):
    """Attention and an MLP. The condition shifts and scales their inputs, and scales their outputs (initially by 0)."""

    def __init__(self, width: int, hidden: int, embedding_size: int) -> None:
        super().__init__()
        self.num_heads = math.gcd(width // 8, MAX_HEADS)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), Mish(), nn.Linear(hidden, width))
        self.modulation = nn.Linear(embedding_size, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Process tokens [B, T, width] under an embedding [B, size]."""
        shifts, scales, gates = self.modulation(embedding).unflatten(-1, (3, 2, 1, -1)).unbind(1)
        x = x + gates[:, 0] * self._attend(torch.addcmul(shifts[:, 0], self.norm(x), 1 + scales[:, 0]))
        return x + gates[:, 1] * self.mlp(torch.addcmul(shifts[:, 1], self.norm(x), 1 + scales[:, 1]))

    def _attend(self, x: Tensor) -> Tensor:
        heads = self.query_key_value(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.merge(F.scaled_dot_product_attention(*heads.unbind()).transpose(1, 2).flatten(2))


class AttentionDenoiser(nn.Module):
    """One token of `dim` units per position; attention blocks whose MLPs have `dim * multipliers[i]` hidden units."""

    def __init__(self, length: int, size: int, encoder: Encoder, dim: int, multipliers: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.position = nn.Parameter(torch.randn(length, dim) * 0.02)
        self.enter = nn.Linear(size, dim)
        self.blocks = nn.ModuleList(AttentionBlock(dim, dim * factor, encoder.size) for factor in multipliers)
        self.leave = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, size))

    def forward(self, x: Tensor, level: Tensor, condition: Any) -> Tensor:
        embedding = mish(self.encoder(level, condition))
        hidden = self.enter(x) + self.position
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return self.leave(hidden)


def guided(denoiser: Denoiser, x: Tensor, level: Tensor, condition: Any, scale: float) -> Tensor:
    """Return the guided prediction [B, T, D] under a `Condition`; `scale` 1 takes one pass and any condition."""
    if scale == 1:
        return denoiser(x, level, condition)
    both = denoiser(torch.cat([x, x]), torch.cat([level, level]), condition.with_null_copy())
    conditional, null = both.chunk(2)
    return torch.lerp(null, conditional, scale)


def conditioned(denoiser: Denoiser, condition: Any, precision: Precision, scale: float = 1.0) -> Network:
    """Return the denoiser under a condition as the network of a process, with products in `precision`."""

    def network(x: Tensor, level: Tensor) -> Tensor:
        with autocast(precision, x.device):
            return guided(denoiser, x, level, condition, scale).float()

    return network
