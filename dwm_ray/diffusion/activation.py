"""Mish (arXiv 1908.08681), x * tanh(softplus(x)), at the cost of one sigmoid and a few multiplications on a CPU.

PyTorch's CPU kernel costs as much as the convolution before it. With s = sigmoid(x), the gate tanh(softplus(x)) is g =
2 / (1 + (s - 1)^2) - 1, and the derivative of x * g is g + x * s * (1 - g^2), so one sigmoid gives both. The forward
pass computes the derivative, and the backward pass is one product. On a GPU, PyTorch's kernel is used, a single launch.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ONE = torch.ones(())


class _CPUMish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        x = inputs.float()
        sigmoid = x.sigmoid()
        gate = sigmoid - 1
        gate = torch.addcmul(ONE, gate, gate, out=gate).reciprocal_().mul_(2).sub_(1)
        if ctx.needs_input_grad[0]:
            slope = torch.addcmul(ONE, gate, gate, value=-1)
            ctx.save_for_backward(torch.addcmul(gate, sigmoid.mul_(x), slope, out=slope).to(inputs.dtype))
        return gate.mul_(x).to(inputs.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (derivative,) = ctx.saved_tensors
        return grads[0] * derivative


def mish(x: Tensor) -> Tensor:
    """Compute Mish; on a CPU, half precision is computed in float32 and rounded once."""
    if x.is_cuda:
        return F.mish(x)
    return _CPUMish.apply(x)


class Mish(nn.Module):
    """Mish as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return mish(x)
