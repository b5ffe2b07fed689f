"""Noise of an agent or a population; the noise of a member does not depend on the other members."""

import torch
from torch import Tensor

from dwm_ray.diffusion.process import standard_normal

Generators = torch.Generator | tuple[torch.Generator, ...]
"""Generator of an agent, or one per member of a population, all on the agent's device."""
Noise = Generators | Tensor
"""Source of noise, or noise that was sampled before the update: compiled updates cannot use generators."""


def normal_like(x: Tensor, noise: Noise) -> Tensor:
    """Sample standard normal numbers like `x`, or return those in `noise`; with P generators `x` is [P, ...]."""
    if isinstance(noise, Tensor):
        return noise
    if isinstance(noise, torch.Generator):
        return standard_normal(x.shape, noise)
    sample = torch.empty_like(x)
    for row, generator in zip(sample, noise, strict=True):
        row.normal_(generator=generator)
    return sample
