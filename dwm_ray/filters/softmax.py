"""Sample segments by imagined return without replacement (DyDiff, arXiv 2405.19189, section 4.3).

Probabilities are proportional to exp(z-score of imagined return / temperature). The rows with the largest log p +
Gumbel noise are a sample without replacement, computed in one pass.

Difference from the public code: probabilities have no lower bound. That bound makes the public sample nearly uniform.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from dwm_ray.filters.base import Filter, RatioConfig, num_selected
from dwm_ray.types import Segments


class SoftmaxConfig(RatioConfig):
    """Options of the softmax filter."""

    softmax_temperature: Annotated[float, Field(gt=0)] = 0.05
    """Temperature of the sampling probabilities: small values prefer high returns, large values sample uniformly."""


class Softmax(Filter):
    """Select a random `keep_ratio` of a block, with a preference for high imagined returns."""

    Config = SoftmaxConfig
    config: SoftmaxConfig

    def select(self, segments: Segments, generator: torch.Generator) -> Tensor:
        score = segments.reward_sum()
        logits = (score - score.mean()) / (score.std(correction=0) + 1e-8) / self.config.softmax_temperature
        uniform = torch.rand(logits.shape, generator=generator, device=logits.device).clamp_min(1e-20)
        return (logits - uniform.log().neg().log()).topk(num_selected(len(segments), self.config.keep_ratio)).indices
