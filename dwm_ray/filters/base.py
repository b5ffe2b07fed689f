"""What a filter is: a choice among the rows of one block of imagined segments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from dwm_ray.options import Plugin, PluginConfig
from dwm_ray.types import Segments


class FilterConfig(PluginConfig):
    """Options common to filters: none."""

    @property
    def kept_share(self) -> float:
        """Fraction of rows that are kept, about."""
        return 1.0


class Filter(Plugin, ABC):
    """Chooses rows. Filters run where a block is consumed, so one stream serves every filter and ratio."""

    Config: ClassVar[type[FilterConfig]]
    per_transition: ClassVar[bool] = False
    """True where, of models whose steps are transitions, each step is judged by itself and not the whole segment."""

    def __init__(self, config: FilterConfig) -> None:
        self.config = config

    @abstractmethod
    def select(self, segments: Segments, generator: torch.Generator) -> Tensor:
        """Indices [kept] of the rows to keep, at least one, without repetition."""


def trajectory_score(segments: Segments) -> Tensor:
    """[B] imagined discounted reward; frames after the end of the task do not count (DyDiff, section 4.3)."""
    weights = torch.cumprod(torch.cat([torch.ones_like(segments.rew[:, :1]), segments.discount[:, :-1]], 1), 1)
    return (weights * segments.rew).sum(1)


def num_kept(num_rows: int, keep_ratio: float) -> int:
    """Rows that a ratio keeps: rounded, at least one."""
    return max(1, round(num_rows * keep_ratio))
