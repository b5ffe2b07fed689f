"""Reference denoisers in standard torch layers: the same weights and the same function as the project's denoisers.

The temporal U-Net uses channels-first memory, `nn.Conv1d`, `nn.GroupNorm` and `nn.Mish`; every block applies Mish to
the embedding itself. The residual MLP uses `nn.Mish`. Step encoders embed the diffusion step of every row."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from dwm_ray.diffusion.activation import Mish
from dwm_ray.diffusion.conditioning import Condition, ConditionEncoder, StepEncoder
from dwm_ray.diffusion.denoisers import NUM_GROUPS, Denoiser, ResidualBlock, Stage, TemporalUNet
from dwm_ray.diffusion.temporal import TemporalConv


def reference_denoiser(net: Denoiser) -> Denoiser:
    """Return the reference form of a denoiser with a copy of its weights."""
    assert isinstance(net, nn.Module)
    if isinstance(net, TemporalUNet):
        return ReferenceUNet(net)
    copied: Any = _with_torch_mish(net)
    if isinstance(net.encoder, ConditionEncoder) and isinstance(net.encoder.level, StepEncoder):
        copied.encoder = _ReferenceEncoder(copied.encoder)
    mlp: Denoiser = copied
    return mlp


class _ReferenceEncoder(nn.Module):
    """Encoder of the diffusion step of every row."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.features = encoder.level.features
        self.step_mlp, self.rtg_mlp, self.act_mlp = map(
            _with_torch_mish, (encoder.level.mlp, encoder.rtg_mlp, encoder.act_mlp)
        )

    def forward(self, step: Tensor, condition: Condition) -> Tensor:
        rtg = self.rtg_mlp(condition.rtg[:, None]) * condition.has_rtg[:, None]
        return torch.cat([self.step_mlp(self.features[step]), rtg, self.act_mlp(condition.numbers)], 1)


class ReferenceUNet(nn.Module):
    """Temporal U-Net in torch layers. Input and output are [B, T, D]; hidden tensors are [B, D, T]."""

    def __init__(self, net: TemporalUNet) -> None:
        super().__init__()
        self.encoder = _ReferenceEncoder(net.encoder)
        self.down = nn.ModuleList(_ReferenceStage(stage) for stage in net.down)
        self.shrink = nn.ModuleList(_conv(layer) for layer in net.shrink)
        self.middle = _ReferenceStage(net.middle)
        self.up = nn.ModuleList(_ReferenceStage(stage) for stage in net.up)
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


class _ReferenceStage(nn.Module):
    def __init__(self, stage: Any) -> None:
        super().__init__()
        assert isinstance(stage, Stage)
        self.blocks = nn.ModuleList([_ReferenceBlock(stage.first), _ReferenceBlock(stage.second)])

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, embedding)
        return x


class _ReferenceBlock(nn.Module):
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
    copied = nn.GroupNorm(NUM_GROUPS, norm.num_channels)
    copied.load_state_dict(norm.state_dict())
    return nn.Sequential(_conv(conv), copied, nn.Mish())


def _conv(layer: Any) -> nn.Conv1d | nn.ConvTranspose1d:
    """Return a torch convolution with the same weights."""
    assert isinstance(layer, TemporalConv)
    kind = nn.ConvTranspose1d if layer.transposed else nn.Conv1d
    _, size_in, size_out = layer.weight.shape
    copied: nn.Conv1d | nn.ConvTranspose1d = kind(size_in, size_out, layer.kernel, layer.stride, layer.padding)
    with torch.no_grad():
        copied.weight.copy_(layer.weight.permute((1, 2, 0) if layer.transposed else (2, 1, 0)))
        assert copied.bias is not None
        copied.bias.copy_(layer.bias)
    return copied


def _with_torch_mish(module: nn.Module) -> nn.Module:
    """Return a copy with `nn.Mish` instead of the project's Mish."""
    copied = copy.deepcopy(module)
    for parent in list(copied.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Mish):
                setattr(parent, name, nn.Mish())
    return copied
