"""The segments of highest imagined return are kept (DyDiff, arXiv 2405.19189, section 4.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from dwm_ray.filters.base import Filter, FilterConfig, num_kept, trajectory_score
from dwm_ray.options import PositiveFraction
from dwm_ray.types import Segments


class HardmaxConfig(FilterConfig):
    """How many are kept."""

    keep_ratio: PositiveFraction = 0.6
    """eta: share of each block that is kept."""

    @property
    def kept_share(self) -> float:
        return self.keep_ratio


class Hardmax(Filter):
    """The top `keep_ratio` of a block by imagined return."""

    Config = HardmaxConfig

    def __init__(self, config: HardmaxConfig) -> None:
        self.config: HardmaxConfig = config

    def select(self, segments: Segments, generator: torch.Generator) -> Tensor:
        return trajectory_score(segments).topk(num_kept(len(segments), self.config.keep_ratio)).indices
