"""Classifier-free guidance (arXiv 2207.12598) on the return-to-go only: w * f(x, rtg) + (1 - w) * f(x, no rtg).

Both passes run as one batch of 2B rows. The combination is linear, so it serves every prediction target (noise, clean
sample, velocity) alike.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dwm_ray.devices import Precision, reduced
from dwm_ray.diffusion.denoisers import Denoiser
from dwm_ray.diffusion.process import Network


def guided(denoiser: Denoiser, x: Tensor, level: Tensor, condition: Any, scale: float) -> Tensor:
    """Return the guided prediction [B, T, D] under a `Condition`; `scale` 1 takes one pass and any condition."""
    if scale == 1:
        return denoiser(x, level, condition)
    both = denoiser(torch.cat([x, x]), torch.cat([level, level]), condition.with_null_copy())
    conditional, null = both.chunk(2)
    return torch.lerp(null, conditional, scale)


def conditioned(denoiser: Denoiser, condition: Any, precision: Precision, scale: float = 1.0) -> Network:
    """Return the denoiser under a condition as the network of a process, with products in `precision`."""

    def network(x: Tensor, level: Tensor) -> Tensor:
        with reduced(precision, x.device):
            return guided(denoiser, x, level, condition, scale).float()

    return network
