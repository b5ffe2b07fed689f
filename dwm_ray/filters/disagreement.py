"""The imagined transitions on which the model disagrees with itself most are dropped (DAWM, arXiv 2509.19538).

What disagrees is the model's affair (`Segments.penalty`). A model without an opinion has the same penalty everywhere
and loses nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dwm_ray.filters.base import Filter, FilterConfig
from dwm_ray.options import PositiveFraction
from dwm_ray.types import Segments


class DisagreementConfig(FilterConfig):
    """How many are dropped."""

    quantile: PositiveFraction = 0.95
    """Rows of a block whose penalty is above this quantile of the block's are dropped; 1 drops none."""

    @property
    def kept_share(self) -> float:
        return self.quantile


class Disagreement(Filter):
    """The rows up to a quantile of the penalty. A row of several steps counts by its worst one before the end."""

    Config = DisagreementConfig
    per_transition = True

    def __init__(self, config: DisagreementConfig) -> None:
        self.config: DisagreementConfig = config

    def select(self, segments: Segments, generator: torch.Generator) -> Tensor:
        goes_on = torch.cumprod((segments.discount[:, :-1] > 0).float(), 1)
        alive = torch.cat([torch.ones_like(segments.penalty[:, :1]), goes_on], 1)
        worst = (segments.penalty * alive).amax(1).nan_to_num(nan=torch.inf)
        cut = worst.kthvalue(1 + math.floor(self.config.quantile * (len(worst) - 1))).values
        return (worst <= cut).nonzero().squeeze(1)
