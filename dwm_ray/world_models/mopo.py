"""MOPO: one-step rollouts of the policy that are refreshed at intervals, kept, and penalised (arXiv 2005.13239).

The model is the ensemble of `one_step`. It is not rolled out within an update. As for DyDiff, short rollouts of a
recent policy start from recorded states, and each of their steps becomes a transition in the learner's buffer
(`replay.on_policy`). Rewards are lowered by the ensemble's disagreement times `agent.penalty_weight`.

Differences: the paper's penalty is the largest predicted standard deviation, ours the disagreement of the members; its
batches have 5 % recorded transitions, those of the profile `laptop` a half; its agent is SAC, ours any with a critic.
"""

from typing import Any

from dwm_ray.options import Profile
from dwm_ray.world_models.one_step import EnsembleConfig, OneStep


class MOPOConfig(EnsembleConfig):
    """Options of the ensemble."""

    sample: bool = True
    """Sample next states and rewards from the predicted Gaussian; otherwise take its mean."""

    @classmethod
    def run_options(cls, profile: Profile) -> dict[str, Any]:
        """Return rollouts of 5 steps with a penalty, and the fraction of recorded transitions per batch."""
        real_ratio = 0.5 if profile == "laptop" else 0.05
        return {"synthesis.horizon": 5, "replay.real_ratio": real_ratio, "agent.penalty_weight": 1.0}


class MOPO(OneStep):
    """One-step ensemble whose rollouts are kept; see the module."""

    Config = MOPOConfig
    label = "MOPO"
    makes_transitions = True
    relative_flops = 0.0
