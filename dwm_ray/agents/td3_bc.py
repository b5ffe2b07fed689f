"""TD3+BC (Fujimoto & Gu 2021, arXiv 2106.06860) on segments; with imagined ones this is DWM-TD3BC.

Each update regresses both critics on G_0 (see `parts.targets`), bootstrapped with the smaller target Q at the smoothed
target action. Every `policy_delay`-th update, the actor minimises -alpha * Q1 / mean|Q1| + MSE to the data's action,
and all target networks are updated (`parts.td3`). Actor and BC terms use the start pairs only.

Differences from the paper, none of which matters for H = 1, action bounds of +-1 and `target_clip` 'none':

- Networks, noise and the MSE use actions scaled to [-1, 1]; public code uses raw actions. With other bounds, the BC
  term therefore has a different weight relative to Q, and noise is in units of half the action range.
- Targets may be clipped (`target_clip`).
"""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from dwm_ray.agents.parts.td3 import MEMBER_OPTIONS, TD3, TD3Config


class TD3BCConfig(TD3Config):
    """Options of TD3+BC."""

    alpha: Annotated[float, Field(ge=0)] = 2.5
    """Weight of Q relative to behaviour cloning of unit actions; 0 is pure behaviour cloning."""


class TD3BC(TD3):
    """TD3+BC agent."""

    Config = TD3BCConfig
    label = "TD3+BC"
    relative_flops = 4.0
    member_options: ClassVar[dict[str, int] | None] = {"alpha": 0, **MEMBER_OPTIONS}
    config: TD3BCConfig

    def _actor_loss(self, obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor]:
        policy_act = self.actor(obs)
        q = self.critic(obs, policy_act, num=1)
        bc_loss = F.mse_loss(policy_act, act, reduction="none").mean((-2, -1))
        return bc_loss - self.member_values.alpha * q.mean((-2, -1)) / q.detach().abs().mean((-2, -1)), bc_loss
