"""PQL, pessimistic Q-learning, as in DWM-PQL (arXiv 2402.03570): IQL without optimism within the data, and with
pessimism where the world model is unsure.

V is the mean of the target Q instead of its expectile, and imagined rewards are lowered by kappa times the
disagreement between several segments of one start pair:
    r_h = mean_i r_h^i - kappa * max_ij (|r_h^i - r_h^j|^2 + |s_{h+1}^i - s_{h+1}^j|^2).
The world model makes mean and disagreement (`world_model.segments_per_pair`); the rest is IQL's. The squared error is
the expectile loss at 1/2, halved, and Adam's steps do not depend on the scale of a loss.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from dwm_ray.agents.iql import IQL, IQLConfig


class PQLConfig(IQLConfig):
    """Options of PQL: IQL's with other defaults."""

    expectile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """.5 is PQL's squared error; above it V leans towards the better actions of the data, as in IQL."""
    penalty_weight: Annotated[float, Field(ge=0)] = 0.1
    """kappa: weight of the model's disagreement, subtracted from each imagined reward; the paper tries .01, .1, 1."""

    @classmethod
    def run_options(cls, preset: Literal["paper", "small"]) -> dict[str, Any]:
        """Segments enough to disagree."""
        return {"world_model.segments_per_pair": 4}


class PQL(IQL):
    """The agent; see the module."""

    Config = PQLConfig
    label = "PQL"
