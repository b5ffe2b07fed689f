"""Noise of one agent, or of a population, whose members have a generator each: what a member draws does not depend on
who learns beside it."""

from __future__ import annotations

import torch
from torch import Tensor

Generators = torch.Generator | tuple[torch.Generator, ...]
"""An agent's, or one per member of a population, all on the agent's device."""
Noise = Generators | Tensor
"""What noise is drawn from, or what was drawn ahead: a compiled update cannot draw."""


def normal_like(x: Tensor, generator: Noise) -> Tensor:
    """Standard normal numbers of the shape of `x`; with P generators `x` is [P, ...]."""
    if isinstance(generator, Tensor):
        return generator
    if isinstance(generator, torch.Generator):
        return torch.randn(x.shape, generator=generator, device=x.device)
    noise = torch.empty_like(x)
    for part, own in zip(noise, generator, strict=True):
        part.normal_(generator=own)
    return noise
