"""Mish (arXiv 1908.08681), x * tanh(softplus(x)), at the speed of its exponential on a CPU.

The library's CPU kernel costs as much as the convolution before it. With e = exp(x) and u = 1 + (1 + e)^2, the gate
tanh(softplus(x)) is 1 - 2 / u and its derivative 4 e (1 + e) / u^2, so one vectorised exponential gives both; the
derivative is computed at once and backward is one product. On a GPU the library's kernel is one launch and is used.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LINEAR_FROM = 20.0  # above, mish(x) = x in float32, and exp(x)^2 is still finite


class _CPUMish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        clamped = x.clamp(max=LINEAR_FROM)
        e = clamped.exp()
        e_plus_1 = e + 1
        inverse = e_plus_1.square().add_(1).reciprocal_()
        gate = (inverse * -2).add_(1)
        if ctx.needs_input_grad[0]:
            slope = e.mul_(e_plus_1).mul_(inverse).mul_(inverse)
            ctx.save_for_backward(torch.addcmul(gate, slope, clamped, value=4))
        return gate.mul_(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (derivative,) = ctx.saved_tensors
        return grads[0] * derivative


def mish(x: Tensor) -> Tensor:
    """Mish of any tensor; half precision is computed in float32 on a CPU and rounded once."""
    if x.is_cuda:
        return F.mish(x)
    return _CPUMish.apply(x.float()).to(x.dtype)


class Mish(nn.Module):
    """`mish` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return mish(x)
