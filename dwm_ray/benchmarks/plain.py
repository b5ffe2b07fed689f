"""Denoisers as they are usually written, to measure ours against: the same weights, the same function, none of the
layout work.

The temporal U-Net is in channels-first memory with `nn.Conv1d`, `nn.GroupNorm` and `nn.Mish`, and every block applies
Mish to the embedding for itself; the residual MLP has the library's Mish. Both work out the diffusion step of each row.
What is around the network in training is ours: the data set is normalised once, as is usual.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from dwm_ray.diffusion.conditioning import Condition
from dwm_ray.diffusion.denoisers import NUM_GROUPS, Denoiser, ResidualBlock, Stage, TemporalUNet
from dwm_ray.diffusion.fast.activation import Mish
from dwm_ray.diffusion.temporal import TemporalConv


def plain_denoiser(net: Denoiser) -> Denoiser:
    """The plain form of a denoiser, with weights of its own."""
    assert isinstance(net, nn.Module)
    if isinstance(net, TemporalUNet):
        return PlainUNet(net)
    plain: Any = _with_library_mish(net)
    plain.encoder = _PlainEncoder(plain.encoder)
    mlp: Denoiser = plain
    return mlp


class _PlainEncoder(nn.Module):
    """Works out the diffusion step of each row."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.features = encoder.level.features
        self.step_mlp, self.rtg_mlp, self.act_mlp = map(
            _with_library_mish, (encoder.level.mlp, encoder.rtg_mlp, encoder.act_mlp)
        )

    def forward(self, step: Tensor, condition: Condition) -> Tensor:
        rtg = self.rtg_mlp(condition.rtg[:, None]) * condition.has_rtg[:, None]
        return torch.cat([self.step_mlp(self.features[step]), rtg, self.act_mlp(condition.act)], 1)


class PlainUNet(nn.Module):
    """See the module. Input and output are [B, T, D] as ours, [B, D, T] in between."""

    def __init__(self, net: TemporalUNet) -> None:
        super().__init__()
        self.encoder = _PlainEncoder(net.encoder)
        self.down = nn.ModuleList(_PlainStage(stage) for stage in net.down)
        self.shrink = nn.ModuleList(_conv(layer) for layer in net.shrink)
        self.middle = _PlainStage(net.middle)
        self.up = nn.ModuleList(_PlainStage(stage) for stage in net.up)
        self.stretch = nn.ModuleList(_conv(layer) for layer in net.stretch)
        self.head = nn.Sequential(_conv_block(net.head[0]), _conv(net.head[1]))

    def forward(self, x: Tensor, step: Tensor, condition: Any) -> Tensor:
        embedding = self.encoder(step, condition)
        x, skips = x.transpose(1, 2), []
        for level, stage in enumerate(self.down):
            x = stage(x, embedding)
            skips.append(x)
            if level < len(self.shrink):
                x = self.shrink[level](x)
        x = self.middle(x, embedding)
        for stage, stretch in zip(self.up, self.stretch, strict=True):
            x = stretch(stage(torch.cat([x, skips.pop()], 1), embedding))
        return self.head(x).transpose(1, 2)


class _PlainStage(nn.Module):
    def __init__(self, stage: Any) -> None:
        super().__init__()
        assert isinstance(stage, Stage)
        self.blocks = nn.ModuleList([_PlainBlock(stage.first), _PlainBlock(stage.second)])

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, embedding)
        return x


class _PlainBlock(nn.Module):
    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.first, self.second = _conv_block(block.first), _conv_block(block.second)
        self.condition = nn.Sequential(nn.Mish(), copy.deepcopy(block.condition))
        self.skip = _conv(block.skip) if isinstance(block.skip, TemporalConv) else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.first(x) + self.condition(embedding)[..., None]
        return self.second(hidden) + self.skip(x)


def _conv_block(block: Any) -> nn.Sequential:
    conv, norm, _ = block
    plain = nn.GroupNorm(NUM_GROUPS, norm.num_channels)
    plain.load_state_dict(norm.state_dict())
    return nn.Sequential(_conv(conv), plain, nn.Mish())


def _conv(layer: Any) -> nn.Conv1d | nn.ConvTranspose1d:
    """The library's convolution with the weights of ours."""
    assert isinstance(layer, TemporalConv)
    kind = nn.ConvTranspose1d if layer.transposed else nn.Conv1d
    _, size_in, size_out = layer.weight.shape
    plain: nn.Conv1d | nn.ConvTranspose1d = kind(size_in, size_out, layer.kernel, layer.stride, layer.padding)
    with torch.no_grad():
        plain.weight.copy_(layer.weight.permute((1, 2, 0) if layer.transposed else (2, 1, 0)))
        assert plain.bias is not None
        plain.bias.copy_(layer.bias)
    return plain


def _with_library_mish(module: nn.Module) -> nn.Module:
    """A copy whose Mish layers are the library's."""
    plain = copy.deepcopy(module)
    for parent in list(plain.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Mish):
                setattr(parent, name, nn.Mish())
    return plain
