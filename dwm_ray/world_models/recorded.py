"""Recorded futures: the H recorded steps after each start pair, cut where the episode ends. The baseline for models.

The targets are n-step returns of the data, which propagate values H times as fast as one-step targets. Nothing is
trained, generated or stored; batches are gathered from the recorded transitions (`replay.recorded`). The later actions
are those of the policies that made the recording, so the targets of a policy that differs from them are biased, the
more the longer the horizon. H = 1 is model-free learning, bit for bit.
"""

from typing import Any, Literal

from dwm_ray.options import PluginConfig, RunOptions
from dwm_ray.world_models.base import WorldModel


class RecordedConfig(PluginConfig):
    """Recorded futures have no options of their own: `synthesis.horizon` and `replay.real_ratio` apply."""

    @classmethod
    def run_options(cls, preset: Literal["paper", "small"]) -> dict[str, Any]:
        """Return a long horizon for small machines: it propagates values far in few updates of the agent."""
        return {"synthesis.horizon": 10} if preset == "small" else {}

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
