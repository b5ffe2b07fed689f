"""Classifier-free guidance (arXiv 2207.12598) on the return-to-go only: w * f(x, rtg) + (1 - w) * f(x, no rtg).

Both passes run as one batch of 2B, which keeps a GPU busy at half the launches. The combination is linear, so it is
the same for a network that predicts noise and for one that predicts the clean sample.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dwm_ray.diffusion.conditioning import Condition
from dwm_ray.diffusion.denoisers import Denoiser


def guided(denoiser: Denoiser, x: Tensor, step: Tensor, condition: Condition, scale: float) -> Tensor:
    """The guided prediction [B, T, D]; `scale` 1 is the plain conditional one and costs a single pass."""
    if scale == 1:
        return denoiser(x, step, condition)
    both = denoiser(torch.cat([x, x]), torch.cat([step, step]), condition.with_null_copy())
    conditional, null = both.chunk(2)
    return torch.lerp(null, conditional, scale)
