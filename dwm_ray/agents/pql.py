"""PQL, pessimistic Q-learning (DWM-PQL, arXiv 2402.03570): IQL with a mean instead of an expectile and with penalties.

V is the mean of the target Q, and imagined rewards are lowered by the disagreement between several segments of one
start pair (`world_model.segments_per_pair`):

    r_h = mean_i r_h^i - kappa * max_ij (|r_h^i - r_h^j|^2 + |s_{h+1}^i - s_{h+1}^j|^2).

The expectile loss at 1/2 is half the squared error; Adam's steps do not depend on that factor.
"""

from typing import Annotated, Any

from pydantic import Field

from dwm_ray.agents.iql import IQL, IQLConfig
from dwm_ray.options import Profile


class PQLConfig(IQLConfig):
    """Options of PQL: those of IQL with other defaults."""

    expectile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """.5 is PQL's squared error; above .5, V approaches the value of the best actions in the data, as in IQL."""
    penalty_weight: Annotated[float, Field(ge=0)] = 0.1
    """kappa: weight of the model's disagreement, subtracted from each imagined reward; the paper tries .01, .1, 1."""

    @classmethod
    def run_options(cls, profile: Profile) -> dict[str, Any]:
        """Return the number of segments per start pair, which disagreement needs."""
        return {"world_model.segments_per_pair": 4}


class PQL(IQL):
    """PQL agent."""

    Config = PQLConfig
    label = "PQL"
