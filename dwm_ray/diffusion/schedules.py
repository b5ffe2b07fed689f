"""How much signal is left after each diffusion step: alpha_bar_0 = 1 down to alpha_bar_K.

`cosine` is Nichol & Dhariwal's (arXiv 2102.09672, equation 17), betas clipped at .999, which DWM uses. `vp` is the
variance-preserving one of Diffusion-QL (arXiv 2208.06193), which leaves more signal in the last of few steps.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["cosine", "vp"]


def cosine_betas(num_steps: int, offset: float = 0.008) -> Tensor:
    """[K] noise variances, double precision."""
    position = torch.linspace(0, 1, num_steps + 1, dtype=torch.float64)
    signal = torch.cos((position + offset) / (1 + offset) * math.pi / 2) ** 2
    return (1 - signal[1:] / signal[:-1]).clamp(max=0.999)


def vp_betas(num_steps: int, beta_min: float = 0.1, beta_max: float = 10.0) -> Tensor:
    """[K] noise variances, double precision."""
    step = torch.arange(1, num_steps + 1, dtype=torch.float64)
    drift = beta_min / num_steps + 0.5 * (beta_max - beta_min) * (2 * step - 1) / num_steps**2
    return 1 - torch.exp(-drift)


def alpha_bars(schedule: Schedule, num_steps: int) -> Tensor:
    """[K + 1] remaining signal variance, entry k after k steps, entry 0 = 1; float32."""
    betas = cosine_betas(num_steps) if schedule == "cosine" else vp_betas(num_steps)
    return torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, 0)]).float()
