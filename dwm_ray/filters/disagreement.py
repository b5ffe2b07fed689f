"""Drop the imagined transitions with the largest model disagreement (DAWM, arXiv 2509.19538).

The world model defines the disagreement (`Segments.penalty`). If all rows have the same penalty, all are selected.
"""

import math

import torch
from torch import Tensor

from dwm_ray.filters.base import Filter, FilterConfig
from dwm_ray.options import PositiveFraction
from dwm_ray.types import Segments


class DisagreementConfig(FilterConfig):
    """Options of the disagreement filter."""

    quantile: PositiveFraction = 0.95
    """Rows with a penalty above this quantile of the block are dropped; with 1, no row is dropped."""

    @property
    def selected_fraction(self) -> float:
        return self.quantile


class Disagreement(Filter):
    """Select the rows up to a quantile of the penalty, which is the maximum over a row's steps."""

    Config = DisagreementConfig
    per_transition = True
    config: DisagreementConfig

    def select(self, segments: Segments, generator: torch.Generator) -> Tensor:
        """See `Filter.select`; steps after a termination do not count."""
        worst = (segments.penalty * segments.alive).amax(1).nan_to_num(nan=torch.inf)
        threshold = worst.kthvalue(1 + math.floor(self.config.quantile * (len(worst) - 1))).values
        return (worst <= threshold).nonzero().squeeze(1)
