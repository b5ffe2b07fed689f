"""Select every imagined segment, as in DWM (arXiv 2402.03570)."""

import torch
from torch import Tensor

from dwm_ray.filters.base import Filter, FilterConfig
from dwm_ray.types import Segments


class KeepAllConfig(FilterConfig):
    """No options."""


class KeepAll(Filter):
    """Select all rows."""

    Config = KeepAllConfig

    def select(self, segments: Segments, generator: torch.Generator) -> Tensor:
        return torch.arange(len(segments), device=segments.rew.device)
