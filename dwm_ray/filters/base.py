"""Interface of filters: a filter selects rows of one block of imagined segments."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from dwm_ray.options import Plugin, PluginConfig, PositiveFraction
from dwm_ray.types import Segments


class FilterConfig(PluginConfig):
    """Base of filter options."""

    @property
    def selected_fraction(self) -> float:
        """Approximate fraction of rows that the filter selects."""
        return 1.0


class RatioConfig(FilterConfig):
    """Options of filters that select a fixed fraction of each block."""

    keep_ratio: PositiveFraction = 0.6
    """eta: fraction of each block that is selected."""

    @property
    def selected_fraction(self) -> float:
        return self.keep_ratio


class Filter(Plugin, ABC):
    """Base class of filters. They run where a block is consumed, so one stream serves every filter and ratio."""

    Config: ClassVar[type[FilterConfig]]
    per_transition: ClassVar[bool] = False
    """Whether to select single steps instead of whole segments, for models whose steps are transitions."""

    def __init__(self, config: FilterConfig) -> None:
        self.config = config

    @abstractmethod
    def select(self, segments: Segments, generator: torch.Generator) -> Tensor:
        """Return the distinct indices of the selected rows, at least one."""


def num_selected(num_rows: int, keep_ratio: float) -> int:
    """Return the number of rows that a ratio selects, at least one."""
    return max(1, round(num_rows * keep_ratio))
