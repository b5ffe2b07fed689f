"""A temporal U-Net whose weights no longer change, rearranged for drawing: the same function, less work.

- What depends on the weights alone is done once: matrices of the convolutions in the type of the products, and the
  diffusion steps' share of every block's condition, a table of K + 1 rows.
- What depends on the start pairs alone is done once for all steps (`given`): the shares of action and return-to-go.
- The pass without return-to-go shares its first convolution with the other; both run as one batch otherwise.
- Convolutions are products whose form depends on the width (`frozen_layouts`).

Windows of up to 8 positions, a power of two: longer ones are better off in the library's convolutions. Results differ
from the network's by rounding only: 1e-5 in float32, about 2 % of the output's root mean square in bfloat16 (tested).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dwm_ray.diffusion.conditioning import Condition, ConditionEncoder
from dwm_ray.diffusion.denoisers import ResidualBlock, Stage, TemporalUNet
from dwm_ray.diffusion.fast.activation import mish
from dwm_ray.diffusion.fast.layouts import GroupMajor, Layout, TimeMajor
from dwm_ray.diffusion.temporal import TemporalConv

LONGEST = 8
WIDE_FROM = 64
"""Channels of the finest resolution from which products are so large that fewer of them pay for sums around them."""


PIECE = 512
"""Start pairs that go through at once: activations of narrow networks then stay in a core's cache."""


def can_freeze(net: object, length: int) -> TypeGuard[TemporalUNet]:
    """Whether `FrozenUNet` takes this network for windows of T = `length`."""
    short = length <= LONGEST and length & (length - 1) == 0
    return short and isinstance(net, TemporalUNet) and isinstance(net.encoder, ConditionEncoder)


class FrozenUNet:
    """See the module. `given` once for a batch of start pairs, then a call for each step."""

    def __init__(self, net: TemporalUNet, length: int, dtype: torch.dtype) -> None:
        assert isinstance(net.encoder, ConditionEncoder)
        source: Any = net  # its lists of modules forget what they hold
        kind = TimeMajor if source.head[1].weight.shape[1] >= WIDE_FROM else GroupMajor
        self.layout: Layout = kind(dtype)
        self._encoder = source.encoder
        self._widths: list[int] = []
        self._conditions: list[tuple[Tensor, Tensor]] = []
        lengths = [length >> level for level in range(len(source.down))]
        self._down = [
            self._stage(stage, at, parts=min(i, 1))
            for i, (stage, at) in enumerate(zip(source.down, lengths, strict=True))
        ]
        self._shrink = [self.layout.linear("moved", conv, at) for conv, at in zip(source.shrink, lengths, strict=False)]
        self._middle = self._stage(source.middle, lengths[-1])
        coarse = lengths[:0:-1]
        self._up = [self._stage(stage, at, parts=2) for stage, at in zip(source.up, coarse, strict=True)]
        self._stretch = [self.layout.linear("moved", conv, at) for conv, at in zip(source.stretch, coarse, strict=True)]
        conv, norm, _ = source.head[0]
        self._head = self.layout.conv("first", conv, length), self.layout.norm_mish(norm, length)
        self._leave = self.layout.leave(source.head[1], length)
        self._weight = torch.cat([weight for weight, _ in self._conditions])  # [sum of widths, 3 * dim]
        bias = torch.cat([bias for _, bias in self._conditions])
        step, _, _ = self._weight.chunk(3, 1)
        self._table = F.linear(mish(net.encoder.step_mlp(net.encoder.features)), step, bias)

    def _stage(self, stage: Stage, length: int, parts: int = 1) -> list[_Block]:
        return [self._block(stage.first, length, parts), self._block(stage.second, length, 1)]

    def _block(self, block: ResidualBlock, length: int, parts: int) -> _Block:
        weight, bias = (
            self.layout.spread(block.condition.weight, length),
            self.layout.spread(block.condition.bias, length),
        )
        self._widths.append(len(bias))
        self._conditions.append((weight, bias))
        return _Block(self.layout, block, length, parts)

    @torch.no_grad()
    def given(self, condition: Condition, guided: bool) -> list[Tensor]:
        """What action and return-to-go add in every block, by pieces [rows, sum of widths]; guided, a second time
        without the latter below."""
        _, rtg, act = self._weight.chunk(3, 1)
        shown = mish(self._encoder.rtg_mlp(condition.rtg[:, None])) * condition.has_rtg[:, None]
        hidden = mish(self._encoder.act_mlp(condition.act))
        pieces = []
        for told, known in zip(shown.split(PIECE), hidden.split(PIECE), strict=True):
            rows = len(told)
            piece = known.new_empty(2 * rows if guided else rows, len(act))
            torch.mm(known, act.T, out=piece[-rows:])
            torch.addmm(piece[-rows:], told, rtg.T, out=piece[:rows])
            pieces.append(piece)
        return pieces

    @torch.no_grad()
    def guided(self, x: Tensor, step: int, given: list[Tensor], scale: float) -> Tensor:
        """The prediction [B, T, D] as `guidance.guided` gives it; `given` is guided unless `scale` is 1."""
        predicted = [self(rows, step, known) for rows, known in zip(x.split(PIECE), given, strict=True)]
        if scale == 1:
            return torch.cat(predicted)
        return torch.cat([torch.lerp(null, shown, scale) for shown, null in (both.chunk(2) for both in predicted)])

    def __call__(self, x: Tensor, step: int, given: Tensor) -> Tensor:
        """x [B, T, D] -> [B or 2B, T, D], as many rows as `given`, in float32."""
        sums = self.layout.scratch.take("given", tuple(given.shape), given.dtype, given.device)
        parts = iter(torch.add(given, self._table[step], out=sums).split(self._widths, 1))
        hidden = self.layout.enter(x)
        repeats = len(given) // len(x)
        skips = []
        for level, stage in enumerate(self._down):
            for block in stage:
                hidden = block(hidden, next(parts), repeats)
                repeats = 1
            skips.append(hidden)
            if level < len(self._shrink):
                hidden = self._shrink[level](hidden)
        hidden = self._through(self._middle, hidden, parts)
        for stage, stretch in zip(self._up, self._stretch, strict=True):
            hidden = stretch(self._through(stage, torch.cat([hidden, skips.pop()], -1), parts))
        conv, norm_mish = self._head
        return self._leave(norm_mish(conv(hidden)))

    def _through(self, stage: list[_Block], hidden: Tensor, parts: Iterator[Tensor]) -> Tensor:
        for block in stage:
            hidden = block(hidden, next(parts), 1)
        return hidden


class _Block:
    """A residual block; `parts` tensors side by side are its input."""

    def __init__(self, layout: Layout, block: ResidualBlock, length: int, parts: int) -> None:
        self.layout = layout
        source: Any = block
        first, first_norm, _ = source.first
        second, second_norm, _ = source.second
        self.first = layout.conv("first", first, length, parts), layout.norm_mish(first_norm, length)
        self.second = layout.conv("second", second, length), layout.norm_mish(second_norm, length)
        self.skip = layout.linear("skip", block.skip, length, parts) if isinstance(block.skip, TemporalConv) else None

    def __call__(self, x: Tensor, given: Tensor, repeats: int) -> Tensor:
        layout, scratch = self.layout, self.layout.scratch
        conv, norm_mish = self.first
        hidden = layout.add_rows(layout.repeat(norm_mish(conv(x)), repeats), given)
        conv, norm_mish = self.second
        out = norm_mish(conv(scratch.copy("between", hidden, layout.dtype)))
        kept = layout.repeat(x if self.skip is None else self.skip(x), repeats)
        out.add_(scratch.copy("kept", kept, torch.float32))
        return out.to(layout.dtype, copy=True)


_FROZEN: WeakKeyDictionary[nn.Module, tuple[object, FrozenUNet]] = WeakKeyDictionary()


def frozen(net: TemporalUNet, length: int, dtype: torch.dtype) -> FrozenUNet:
    """The frozen form of a network as its weights are now; made anew when one of them has changed."""
    state = length, dtype, tuple((param.data_ptr(), param._version) for param in net.parameters())
    known = _FROZEN.get(net)
    if known is None or known[0] != state:
        with torch.no_grad(), torch.inference_mode(False):
            known = _FROZEN[net] = state, FrozenUNet(net, length, dtype)
    return known[1]
