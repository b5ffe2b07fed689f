"""Select the segments with the highest imagined return (DyDiff, arXiv 2405.19189, section 4.3)."""

import torch
from torch import Tensor

from dwm_ray.filters.base import Filter, RatioConfig, num_selected
from dwm_ray.types import Segments


class HardmaxConfig(RatioConfig):
    """Options of the hardmax filter."""


class Hardmax(Filter):
    """Select the top `keep_ratio` of a block by imagined return."""

    Config = HardmaxConfig
    config: HardmaxConfig

    def select(self, segments: Segments, generator: torch.Generator) -> Tensor:
        return segments.reward_sum().topk(num_selected(len(segments), self.config.keep_ratio)).indices
