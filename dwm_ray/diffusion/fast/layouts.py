"""Two forms of activations and products in the inference form of a U-Net, for narrow and for wide networks.

`GroupMajor` [B, G * T * C / G]: a convolution is one dense product, and a group of GroupNorm is contiguous. Reordering
a product's outputs and subtracting each group's mean cost nothing, because both are part of the matrix.
`TimeMajor` [T, B, C]: Karatsuba's products of `toeplitz`, with a quarter to a half fewer multiplications.

Mish of y is z - 2 z / (1 + sigmoid(z)^2) with z = -y: three passes over memory instead of the usual nine. The weights
of the norm before it contain the sign.
"""

import math
import threading
from abc import abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dwm_ray.diffusion.fast.toeplitz import factors, sums
from dwm_ray.diffusion.temporal import TemporalConv, TemporalGroupNorm


class Scratch(threading.local):
    """Named buffers, reused and overwritten by every call; each thread has its own."""

    def __init__(self) -> None:
        self._flat: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return uninitialised memory, valid until the next `take` of the same name and type."""
        key, size = (name, dtype, device), math.prod(shape)
        flat = self._flat.get(key)
        if flat is None or len(flat) < size:
            with torch.inference_mode(False):  # usable with and without inference mode
                flat = self._flat[key] = torch.empty(size, dtype=dtype, device=device)
        return flat[:size].view(shape)

    def copy(self, name: str, source: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the tensor if it has the type, else a copy in the buffer of that name."""
        if source.dtype == dtype:
            return source
        return self.take(name, tuple(source.shape), dtype, source.device).copy_(source)


Layer = Callable[[Tensor], Tensor]
NUM_GROUPS = 8


class Layout:
    """Operations of `InferenceUNet` on one form of activations; between layers they are in `dtype`.

    A layer's input is `parts` concatenated activations, or the window itself if `parts` is 0. Its output lies in
    scratch memory under the layer's `name` and is valid until a layer of the same name is called.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self.scratch = dtype, Scratch()

    @abstractmethod
    def enter(self, x: Tensor) -> Tensor:
        """Convert a window [B, T, D] to activations."""

    @abstractmethod
    def conv(self, name: str, conv: TemporalConv, length: int, parts: int = 1) -> Layer:
        """Return a convolution over T = `length` that is followed by a norm; its result is float32."""

    @abstractmethod
    def linear(self, name: str, conv: TemporalConv, length: int, parts: int = 1) -> Layer:
        """Return any other convolution."""

    @abstractmethod
    def norm_mish(self, norm: TemporalGroupNorm, length: int) -> Layer:
        """Return GroupNorm and Mish, computed in place on the output of `conv`."""

    @abstractmethod
    def spread(self, channels: Tensor, length: int) -> Tensor:
        """Expand values per channel [C, ...] to the rows [width, ...] of a layer's output."""

    @abstractmethod
    def repeat(self, hidden: Tensor, repeats: int) -> Tensor:
        """Repeat the batch."""

    @abstractmethod
    def leave(self, conv: TemporalConv, length: int) -> Layer:
        """Return the last layer, to float32 [B, T, D] in newly allocated memory."""


def minus_mish(z: Tensor, gate: Tensor) -> Tensor:
    """Compute Mish of -z in place; `gate` is memory of the same size."""
    torch.sigmoid(z, out=gate)
    torch.addcmul(torch.ones((), device=z.device), gate, gate, out=gate)
    return torch.addcdiv(z, z, gate, value=-2, out=z)


def grouped(length: int, size: int, parts: int = 1) -> Tensor:
    """Return the positions t * C + c of `parts` tensors concatenated along C, in the order group, t, channel."""
    each = size // parts
    index = torch.arange(length * size).view(length, parts, NUM_GROUPS, each // NUM_GROUPS)
    return index.permute(1, 2, 0, 3).flatten()


class GroupMajor(Layout):
    """Activations [B, G * T * C / G]; see the module."""

    def enter(self, x: Tensor) -> Tensor:
        return x.flatten(1).to(self.dtype)

    def conv(self, name: str, conv: TemporalConv, length: int, parts: int = 1) -> Layer:
        groups = self._rows(conv, length, parts).unflatten(0, (NUM_GROUPS, -1))
        product = self._product(name, (groups - groups.mean(1, keepdim=True)).flatten(0, 1))
        return lambda x: self.scratch.copy(f"{name} float", product(x), torch.float32)

    def linear(self, name: str, conv: TemporalConv, length: int, parts: int = 1) -> Layer:
        return self._product(name, self._rows(conv, length, parts))

    def norm_mish(self, norm: TemporalGroupNorm, length: int) -> Layer:
        weight, bias = -self.spread(norm.weight, length), -self.spread(norm.bias, length)
        count, eps = len(weight) // NUM_GROUPS, norm.eps
        scales = torch.eye(NUM_GROUPS, device=weight.device).repeat_interleave(count, 1) * weight

        def layer(x: Tensor) -> Tensor:
            size = torch.linalg.vector_norm(x.unflatten(1, (NUM_GROUPS, count)), dim=-1)  # the mean is zero
            inverse = size.square_().div_(count).add_(eps).rsqrt_()
            gate = self.scratch.take("gate", tuple(x.shape), x.dtype, x.device)
            return minus_mish(torch.addcmul(bias, x, torch.mm(inverse, scales, out=gate), out=x), gate)

        return layer

    def spread(self, channels: Tensor, length: int) -> Tensor:
        return channels.repeat(length, *[1] * (channels.dim() - 1))[grouped(length, len(channels))]

    def repeat(self, hidden: Tensor, repeats: int) -> Tensor:
        return hidden if repeats == 1 else hidden.repeat(repeats, 1)

    def leave(self, conv: TemporalConv, length: int) -> Layer:
        matrix, bias = conv.matrix(length)
        columns = grouped(length, conv.weight.shape[1])
        product = self._product("leave", torch.cat([matrix[:, columns], bias[:, None]], 1))
        return lambda x: _fresh(product(self.scratch.copy("last", x, self.dtype)).unflatten(1, (length, -1)))

    def _rows(self, conv: TemporalConv, length: int, parts: int) -> Tensor:
        """Return matrix and bias (last column) [outputs, inputs + 1] for flattened windows, ordered by group."""
        matrix, bias = conv.matrix(length)
        _, size_in, size_out = conv.weight.shape
        if parts:
            matrix = matrix[:, grouped(length, size_in, parts)]
        return torch.cat([matrix, bias[:, None]], 1)[grouped(len(bias) // size_out, size_out)]

    def _product(self, name: str, rows: Tensor) -> Layer:
        matrix, bias = rows[:, :-1].T.to(self.dtype).contiguous(), rows[:, -1].to(self.dtype)

        def layer(x: Tensor) -> Tensor:
            out = self.scratch.take(name, (len(x), len(bias)), self.dtype, x.device)
            return torch.addmm(bias, x, matrix, out=out)

        return layer


class TimeMajor(Layout):
    """Activations [T, B, C]; see the module. Parts are concatenated channels, so their number has no effect."""

    def enter(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1).to(self.dtype, memory_format=torch.contiguous_format)

    def conv(self, name: str, conv: TemporalConv, length: int, parts: int = 1) -> Layer:
        blocks = {tap - conv.padding: weight for tap, weight in enumerate(conv.weight)}
        weight = factors(blocks, length).to(self.dtype)
        into, out = (matrix.to(weight.device) for matrix in sums(length))
        into, bias = into.to(self.dtype), conv.bias.clone()

        def layer(x: Tensor) -> Tensor:
            rows, size_in, device = x.shape[1], x.shape[2], x.device
            added = self.scratch.take("added", (len(into), rows, size_in), self.dtype, device)
            _add_up(into, x, added)
            products = self.scratch.take("products", (len(into), rows, len(bias)), self.dtype, device)
            full = self.scratch.copy("products", torch.bmm(added, weight, out=products), torch.float32)
            result = self.scratch.take(name, (length, rows, len(bias)), torch.float32, device)
            torch.mm(out, full.flatten(1), out=result.view(length, -1))
            return result.add_(bias)

        return layer

    def linear(self, name: str, conv: TemporalConv, length: int, parts: int = 1) -> Layer:
        if conv.kernel == 1:
            weight, bias = conv.weight[0].T.to(self.dtype), conv.bias.to(self.dtype)
            return lambda x: F.linear(x, weight, bias)
        matrix, bias = (tensor.to(self.dtype) for tensor in conv.matrix(length))
        size = len(conv.bias)
        return lambda x: self.enter(F.linear(x.transpose(0, 1).flatten(1), matrix, bias).unflatten(1, (-1, size)))

    def norm_mish(self, norm: TemporalGroupNorm, length: int) -> Layer:
        weight, bias, eps = -norm.weight, -norm.bias, norm.eps

        def layer(x: Tensor) -> Tensor:
            groups = x.unflatten(-1, (NUM_GROUPS, -1))  # [T, B, G, C / G]
            mean = groups.mean(-1).mean(0)
            square = torch.linalg.vector_norm(groups, dim=-1).square_().mean(0).div_(groups.shape[-1])
            inverse = (square - mean.square()).clamp_min_(0).add_(eps).rsqrt_()
            groups.sub_(mean[..., None]).mul_(inverse[..., None])
            gate = self.scratch.take("gate", tuple(x.shape), x.dtype, x.device)
            return minus_mish(torch.addcmul(bias, x, weight, out=x), gate)

        return layer

    def spread(self, channels: Tensor, length: int) -> Tensor:
        return channels

    def repeat(self, hidden: Tensor, repeats: int) -> Tensor:
        return hidden if repeats == 1 else hidden.repeat(1, repeats, 1)

    def leave(self, conv: TemporalConv, length: int) -> Layer:
        last = self.linear("leave", conv, length)
        return lambda x: _fresh(last(self.scratch.copy("last", x, self.dtype)).transpose(0, 1))


def _fresh(x: Tensor) -> Tensor:
    """Return a float32 copy."""
    return x.to(torch.float32, copy=True)


def _add_up(into: Tensor, x: Tensor, added: Tensor) -> None:
    """Compute `into @ x` along time; two positions are added directly, five times faster than by a product."""
    if len(x) > 2:
        torch.mm(into, x.flatten(1), out=added.flatten(1))
    elif len(x) == 2:
        torch.add(x[0], x[1], out=added[0])
        added[1].copy_(x[1])
        added[2].copy_(x[0])
    else:
        added.copy_(x)
