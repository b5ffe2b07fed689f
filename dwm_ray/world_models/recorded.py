"""Recorded futures: the H recorded steps after each start pair, cut at the end of the episode; the baseline for models.

The targets are n-step returns of the data, which propagate values H times as fast as one-step targets. Nothing is
trained, generated or stored; batches are gathered from the recorded transitions (`replay.recorded`). Later actions are
those of the recorded behaviour. Targets for a policy that differs from it are biased, and the bias grows with the
horizon. With H = 1, learning is bit-identical to model-free learning.
"""

from typing import Any

from dwm_ray.options import PluginConfig, Profile, RunOptions
from dwm_ray.world_models.base import WorldModel


class RecordedConfig(PluginConfig):
    """Recorded futures have no options of their own: `synthesis.horizon` and `replay.real_ratio` apply."""

    @classmethod
    def run_options(cls, profile: Profile) -> dict[str, Any]:
        """Return a long horizon for the profile `laptop`: it propagates values far in few updates of the agent."""
        return {"synthesis.horizon": 10} if profile == "laptop" else {}

    def check(self, run: RunOptions) -> None:
        name = run.filter.plugin_name()
        if name != "keep_all":
            raise ValueError(
                f"filter: {name} selects imagined segments, and recorded futures have none; expected keep_all"
            )


class Recorded(WorldModel):
    """Declaration of recorded futures; see the module."""

    Config = RecordedConfig
    trained = False
    follows_policy = False
    uses_rtg = False
