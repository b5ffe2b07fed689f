"""Normalisers between raw units and network inputs; fitted values are buffers of the state dict.

`CDFNormalizer` is DWM's (arXiv 2402.03570): the empirical distribution function of each dimension maps it to [-1, 1].
The function is stored as a fixed number of equally likely quantiles with linear interpolation. An unfitted module can
therefore load the state of a fitted one, and the inverse, which is computed for every imagined segment, is one gather.
Fitting uses numpy in double precision, on finite rows; `forward` and `inverse` use torch and accept any leading shape.
"""

from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from dwm_ray.data.chunks import moments


class CDFNormalizer(nn.Module):
    """Map from each of `size` dimensions to [-1, 1] by its empirical CDF.

    Values outside the data are mapped to -1 or 1. A value shared by many rows (a constant column, a clipped sensor) is
    mapped to the middle of its ranks, and the inverse restores it exactly.
    """

    knots: Tensor  # [D, Q] quantiles, ascending
    midrank: Tensor  # [D, Q] mean rank of the knots that equal this one

    def __init__(self, size: int, num_knots: int = 1024) -> None:
        super().__init__()
        ranks = torch.arange(num_knots, dtype=torch.float32).repeat(size, 1)
        self.register_buffer("knots", ranks / (num_knots - 1) * 2 - 1)
        self.register_buffer("midrank", ranks)

    def fit(self, data: np.ndarray) -> Self:
        """Set the quantiles from rows [N, D] and return the module."""
        num_knots = self.knots.shape[1]
        # Round to float32 so that equal values stay equal, which interpolation in double precision does not guarantee.
        levels = np.linspace(0, 1, num_knots)
        # One column at a time: a million wide rows in double precision need gigabytes.
        knots = np.stack([np.quantile(column.astype(np.float64), levels) for column in data.T])
        self.knots.copy_(torch.from_numpy(np.sort(knots.astype(np.float32), axis=1)))
        first = torch.searchsorted(self.knots, self.knots)
        last = torch.searchsorted(self.knots, self.knots, right=True) - 1
        self.midrank.copy_((first + last) / 2)
        return self

    def forward(self, raw: Tensor) -> Tensor:
        """Map raw values [..., D] to [-1, 1]."""
        columns = raw.reshape(-1, raw.shape[-1]).T.contiguous()
        num_knots = self.knots.shape[1]
        below = (torch.searchsorted(self.knots, columns, right=True) - 1).clamp_(0, num_knots - 2)
        low, high = self.knots.gather(1, below), self.knots.gather(1, below + 1)
        fraction = ((columns - low) / (high - low).clamp_min(torch.finfo(raw.dtype).tiny)).clamp_(0, 1)
        rank = torch.where(columns == low, self.midrank.gather(1, below), below + fraction)
        return (rank * (2 / (num_knots - 1)) - 1).T.reshape(raw.shape)

    def inverse(self, value: Tensor) -> Tensor:
        """Map [-1, 1] (clamped) to raw values [..., D] within the range of the data."""
        columns = value.reshape(-1, value.shape[-1]).T
        num_knots = self.knots.shape[1]
        rank = ((columns + 1) * ((num_knots - 1) / 2)).clamp(0, num_knots - 1)
        below = rank.long().clamp_(max=num_knots - 2)
        raw = torch.lerp(self.knots.gather(1, below), self.knots.gather(1, below + 1), rank - below)
        return raw.T.reshape(value.shape)


class MinMaxNormalizer(nn.Module):
    """Linear map from the range of each of `size` dimensions to [-1, 1] without clamping; constants become 0."""

    center: Tensor  # [D]
    half_range: Tensor  # [D]; 1 where the data are constant

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(size))
        self.register_buffer("half_range", torch.ones(size))

    def fit(self, data: np.ndarray) -> Self:
        """Set the range from rows [N, D] and return the module."""
        low, high = data.min(0).astype(np.float64), data.max(0).astype(np.float64)
        self.center.copy_(torch.from_numpy((low + high) / 2))
        self.half_range.copy_(torch.from_numpy(np.where(high > low, (high - low) / 2, 1.0)))
        return self

    def forward(self, raw: Tensor) -> Tensor:
        """Map raw values [..., D] to [-1, 1] within the range of the data."""
        return (raw - self.center) / self.half_range

    def inverse(self, value: Tensor) -> Tensor:
        """Map [-1, 1] to raw values [..., D]."""
        return value * self.half_range + self.center


class ZScore(nn.Module):
    """Standardisation of each of `size` dimensions; `eps` (TD3+BC's 1e-3) bounds the scale of constants."""

    mean: Tensor  # [D]
    scale: Tensor  # [D]; standard deviation + eps

    def __init__(self, size: int, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def fit(self, data: np.ndarray) -> Self:
        """Set mean and standard deviation from rows [N, D] and return the module."""
        mean, std = moments(data, np.float64)
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(std + self.eps))
        return self

    def forward(self, raw: Tensor) -> Tensor:
        """Map raw values [..., D] to standardised ones."""
        return (raw - self.mean) / self.scale

    def inverse(self, value: Tensor) -> Tensor:
        """Map standardised values to raw ones [..., D]."""
        return value * self.scale + self.mean
