"""Means of masked errors, and the parameters of a Gaussian."""

import torch.nn.functional as F
from torch import Tensor

VARIANCE_FLOOR = 1e-4
"""Smallest variance of standardised targets: below the resolution of float32 data and a finite network."""

SMALLEST_ERROR = 1e-5
"""Added to an entry's error before its logarithm is taken."""


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the values where `mask` (same shape) is True; 0 if it is True nowhere."""
    return (values * mask).sum() / mask.sum().clamp_min(1)


def log_mean(error: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over entries of log(mean over rows); rows where `mask` is False do not count.

    Its gradient is that of the squared error divided by each entry's own mean error.
    """
    rows = mask.sum(0)
    entries = (error * mask).sum(0) / rows.clamp_min(1)
    return masked_mean((entries + SMALLEST_ERROR).log(), rows > 0)


def mean_and_variance(out: Tensor) -> tuple[Tensor, Tensor]:
    """Return a network's output [..., 2 * D] as mean and variance [..., D]."""
    mean, raw_variance = out.chunk(2, -1)
    return mean, F.softplus(raw_variance) + VARIANCE_FLOOR
