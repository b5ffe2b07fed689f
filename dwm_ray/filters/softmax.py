"""Segments are drawn without replacement, p ~ exp(z-score of imagined return / temperature) (DyDiff, section 4.3).

Drawn by the Gumbel trick: the largest of log p + Gumbel noise are a draw without replacement, in one pass and with no
floor under small probabilities (the public code's floor makes its draw nearly uniform).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from dwm_ray.filters.base import Filter, FilterConfig, num_kept, trajectory_score
from dwm_ray.options import PositiveFraction
from dwm_ray.types import Segments


class SoftmaxConfig(FilterConfig):
    """How many are kept, and how strictly by score."""

    keep_ratio: PositiveFraction = 0.6
    """eta: share of each block that is kept."""
    softmax_temperature: Annotated[float, Field(gt=0)] = 0.05
    """Small prefers high returns, large draws uniformly."""

    @property
    def kept_share(self) -> float:
        return self.keep_ratio


class Softmax(Filter):
    """A random `keep_ratio` of a block that prefers high imagined return."""

    Config = SoftmaxConfig

    def __init__(self, config: SoftmaxConfig) -> None:
        self.config: SoftmaxConfig = config

    def select(self, segments: Segments, generator: torch.Generator) -> Tensor:
        score = trajectory_score(segments)
        logits = (score - score.mean()) / (score.std(correction=0) + 1e-8) / self.config.softmax_temperature
        uniform = torch.rand(logits.shape, generator=generator, device=logits.device).clamp_min(1e-20)
        return (logits - uniform.log().neg().log()).topk(num_kept(len(segments), self.config.keep_ratio)).indices
