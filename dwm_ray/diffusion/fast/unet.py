"""Inference form of a temporal U-Net on a CPU: the same function of fixed weights with fewer operations.

- Terms that depend on the weights only are computed once: the matrices of the convolutions in the type of the products,
  and the diffusion steps' part of every block's condition, a table of K + 1 rows.
- Terms that depend on the start pairs only (action and return-to-go) are computed once for all steps (`shifts`).
- The passes with and without return-to-go share the first convolution; after it, both run as one batch.
- Convolutions are products whose form depends on the width (`layouts`).

It accepts windows of up to 8 positions, a power of two; PyTorch's convolutions are faster on longer ones. Outputs
differ from the network's by rounding: 1e-5 in float32; in bfloat16 the error at dim 64 and above was measured as 2.4 to
3.1 % of the output's root mean square. It has never run on a GPU and is not used there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dwm_ray.diffusion.conditioning import Condition, ConditionEncoder, StepEncoder
from dwm_ray.diffusion.denoisers import ResidualBlock, Stage, TemporalUNet
from dwm_ray.diffusion.fast.activation import mish
from dwm_ray.diffusion.fast.layouts import GroupMajor, Layout, TimeMajor
from dwm_ray.diffusion.temporal import TemporalConv

LONGEST = 8
"""Longest window in positions."""
WIDE_FROM = 64
"""Channels at the finest resolution from which the saved products outweigh the additional sums."""
CHUNK = 512
"""Start pairs per pass, so that the activations of narrow networks stay in a core's cache."""


def has_inference_form(net: object, length: int, device: torch.device) -> TypeGuard[TemporalUNet]:
    """Return whether `InferenceUNet` replaces this network for windows of T = `length` on a device."""
    short = length <= LONGEST and length & (length - 1) == 0
    if not short or not isinstance(net, TemporalUNet) or device.type not in net.inference_devices:
        return False
    return isinstance(net.encoder, ConditionEncoder) and isinstance(net.encoder.level, StepEncoder)


class InferenceUNet:
    """Inference form; call `shifts` once per batch of start pairs, then `guided` once per step."""

    def __init__(self, net: TemporalUNet, length: int, dtype: torch.dtype) -> None:
        source: Any = net  # module lists lose the types of their entries
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
        self._table = F.linear(mish(self._encoder.level.mlp(self._encoder.level.features)), step, bias)

    def _stage(self, stage: Stage, length: int, parts: int = 1) -> list[_Block]:
        return [self._block(stage.first, length, parts), self._block(stage.second, length, 1)]

    def _block(self, block: ResidualBlock, length: int, parts: int) -> _Block:
        weight = self.layout.spread(block.condition.weight, length)
        bias = self.layout.spread(block.condition.bias, length)
        self._widths.append(len(bias))
        self._conditions.append((weight, bias))
        return _Block(self.layout, block, length, parts)

    @torch.no_grad()
    def shifts(self, condition: Condition, guided: bool) -> list[Tensor]:
        """Return the terms of action and return-to-go in every block, in chunks [rows, sum of widths].

        If guided, the rows are followed by the same without return-to-go.
        """
        _, rtg, act = self._weight.chunk(3, 1)
        shown = mish(self._encoder.rtg_mlp(condition.rtg[:, None])) * condition.has_rtg[:, None]
        hidden = mish(self._encoder.act_mlp(condition.numbers))
        chunks = []
        for rtg_rows, act_rows in zip(shown.split(CHUNK), hidden.split(CHUNK), strict=True):
            rows = len(act_rows)
            chunk = act_rows.new_empty(2 * rows if guided else rows, len(act))
            torch.mm(act_rows, act.T, out=chunk[-rows:])
            torch.addmm(chunk[-rows:], rtg_rows, rtg.T, out=chunk[:rows])
            chunks.append(chunk)
        return chunks

    @torch.no_grad()
    def guided(self, x: Tensor, step: Tensor, shifts: list[Tensor], scale: float) -> Tensor:
        """Return the prediction [B, T, D] of `denoisers.guided`; all rows of `step` [B] are equal."""
        predicted = [self(rows, step[:1], chunk) for rows, chunk in zip(x.split(CHUNK), shifts, strict=True)]
        if scale == 1:
            return torch.cat(predicted)
        return torch.cat([torch.lerp(null, shown, scale) for shown, null in (both.chunk(2) for both in predicted)])

    def __call__(self, x: Tensor, step: Tensor, shifts: Tensor) -> Tensor:
        """Return [B or 2B, T, D] in float32 for x [B, T, D], as many rows as `shifts`."""
        sums = self.layout.scratch.take("shifts", tuple(shifts.shape), shifts.dtype, shifts.device)
        parts = iter(torch.add(shifts, self._table.index_select(0, step), out=sums).split(self._widths, 1))
        hidden = self.layout.enter(x)
        repeats = len(shifts) // len(x)
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
    """Residual block; its input is `parts` tensors concatenated along the channels."""

    def __init__(self, layout: Layout, block: ResidualBlock, length: int, parts: int) -> None:
        self.layout = layout
        source: Any = block
        first, first_norm, _ = source.first
        second, second_norm, _ = source.second
        self.first = layout.conv("first", first, length, parts), layout.norm_mish(first_norm, length)
        self.second = layout.conv("second", second, length), layout.norm_mish(second_norm, length)
        self.skip = layout.linear("skip", block.skip, length, parts) if isinstance(block.skip, TemporalConv) else None

    def __call__(self, x: Tensor, shift: Tensor, repeats: int) -> Tensor:
        layout, scratch = self.layout, self.layout.scratch
        conv, norm_mish = self.first
        hidden = layout.repeat(norm_mish(conv(x)), repeats).add_(shift)
        conv, norm_mish = self.second
        out = norm_mish(conv(scratch.copy("between", hidden, layout.dtype)))
        skip = layout.repeat(x if self.skip is None else self.skip(x), repeats)
        out.add_(scratch.copy("skip float", skip, torch.float32))
        return out.to(layout.dtype, copy=True)


_FORMS: WeakKeyDictionary[nn.Module, tuple[object, InferenceUNet]] = WeakKeyDictionary()


def inference_form(net: TemporalUNet, length: int, dtype: torch.dtype) -> InferenceUNet:
    """Return the inference form of a network with its current weights; rebuilt after a weight has changed."""
    state = length, dtype, tuple((param.data_ptr(), param._version) for param in net.parameters())
    cached = _FORMS.get(net)
    if cached is None or cached[0] != state:
        with torch.no_grad(), torch.inference_mode(False):
            cached = _FORMS[net] = state, InferenceUNet(net, length, dtype)
    return cached[1]
