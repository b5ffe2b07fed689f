"""Convolutions over a short time axis, in the layout [B, T, C].

Windows of world models are short: T = 8, 4, 2 inside the U-Net. Up to `DENSE_LENGTH` positions a convolution is one
product of [B, T * C_in] with the dense banded matrix [T * C_in, T' * C_out]: at T = 4 and kernel 5 that matrix has
fewer entries than an unfolded product would multiply, and nothing is copied or transposed. Longer windows use PyTorch's
convolution on images of height 1 in channels-last memory, which is the same layout. Measured on one core (batch 512,
forward and backward, bfloat16): with 32 channels at T = 8, the dense product takes .72 ms and PyTorch .60; with 128
channels at T = 2, .82 and 2.99. Weights are [kernel, C_in, C_out].
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DENSE_LENGTH = 4


@cache
def _taps(
    length: int, kernel: int, stride: int, padding: int, transposed: bool, device: torch.device
) -> tuple[Tensor, int]:
    """Return the kernel entry of each pair of positions, row-major [T_in * T_out] (`kernel` is zero), and T_out."""
    if transposed:
        length_out = (length - 1) * stride - 2 * padding + kernel
        table = [j - stride * i + padding for i in range(length) for j in range(length_out)]
    else:
        length_out = (length + 2 * padding - kernel) // stride + 1
        table = [i - stride * j + padding for i in range(length) for j in range(length_out)]
    with torch.inference_mode(False):  # cached tensors are used in training later
        return torch.tensor([tap if 0 <= tap < kernel else kernel for tap in table], device=device), length_out


class TemporalConv(nn.Module):
    """Convolution over time, [B, T, C_in] -> [B, T', C_out]; `transposed` is nn.ConvTranspose1d."""

    def __init__(
        self, size_in: int, size_out: int, kernel: int, stride: int = 1, padding: int = 0, transposed: bool = False
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding, self.transposed = kernel, stride, padding, transposed
        bound = 1 / math.sqrt((size_out if transposed else size_in) * kernel)  # initialised as nn.Conv1d
        self.weight = nn.Parameter(torch.empty(kernel, size_in, size_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(size_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel == 1:
            return F.linear(x, self.weight[0].T, self.bias)
        return self._dense(x) if x.shape[1] <= DENSE_LENGTH else self._library(x)

    def _dense(self, x: Tensor) -> Tensor:
        matrix, bias = self._matrix(x.shape[1])
        return F.linear(x.flatten(1), matrix, bias).view(len(x), -1, len(self.bias))

    def _matrix(self, length: int) -> tuple[Tensor, Tensor]:
        """Return weights [T' * C_out, T * C_in] and bias [T' * C_out] of the same map on flattened windows."""
        taps, length_out = _taps(length, self.kernel, self.stride, self.padding, self.transposed, self.weight.device)
        _, size_in, size_out = self.weight.shape
        matrix = F.pad(self.weight, (0, 0, 0, 0, 0, 1)).index_select(0, taps)  # [T * T', C_in, C_out]
        matrix = matrix.view(length, length_out, size_in, size_out).permute(1, 3, 0, 2)
        return matrix.reshape(length_out * size_out, length * size_in), self.bias.repeat(length_out)

    def _library(self, x: Tensor) -> Tensor:
        image = x.transpose(1, 2).unsqueeze(2)  # [B, C, 1, T]
        stride, padding = (1, self.stride), (0, self.padding)
        if self.transposed:
            weight = self.weight.permute(1, 2, 0).unsqueeze(2)
            out = F.conv_transpose2d(image, weight, self.bias, stride, padding)
        else:
            weight = self.weight.permute(2, 1, 0).unsqueeze(2)
            out = F.conv2d(image, weight, self.bias, stride, padding)
        return out.squeeze(2).transpose(1, 2)


class TemporalGroupNorm(nn.GroupNorm):
    """GroupNorm over [B, T, C]: each group of channels is normalised over all positions."""

    def forward(self, x: Tensor) -> Tensor:
        # Always in float32: on a CPU the half-precision kernel is five times slower than the cast.
        image = x.float().transpose(1, 2).unsqueeze(2)  # [B, C, 1, T] in channels-last memory: no copy on a CPU
        return super().forward(image).squeeze(2).transpose(1, 2)
