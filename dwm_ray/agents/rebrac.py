"""ReBRAC (Tarasov et al. 2023, arXiv 2305.09836) on segments: TD3+BC with a second penalty, in the critic's target.

The agent is TD3 (`parts.td3`) with LayerNorm in the critics. Its actor minimises

    beta_1 * |pi(s) - a|^2 - min Q / mean|min Q|

at the start pairs (s, a). Its targets are lowered by

    beta_2 * (product of the segment's discounts) * |a' - a_next|^2

with a' the smoothed target action in the segment's last state and a_next the action recorded there. For H = 1 these are
the paper's targets. Imagined segments and the last transition of a truncated episode have no recorded next action;
their penalty is 0. The metric `next_act_known` is the fraction of rows with a next action.

Differences from the paper and its public code:

- Networks, noise and penalties use actions scaled to [-1, 1]; public code uses raw actions. With bounds other than +-1,
  both penalties therefore have a different weight relative to Q.
- The last transition of a truncated episode is used without penalty; public code leaves it out.
- States are standardised, and initial weights follow torch's Linear in every layer.
- Target networks are updated after the optimiser step; public code updates them with the weights before it.
- One pair of weights is the default for all tasks; the paper selects one per dataset by its score in the environment
  (on the medium-replay datasets, beta_1 .01 to .05 and beta_2 .001 to .5).
- Targets may be clipped from above (`target_clip`). They have no lower bound, because the penalty lowers them below the
  returns of the data.
"""

from dataclasses import replace
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from dwm_ray.agents.parts.noise import Noise
from dwm_ray.agents.parts.td3 import MEMBER_OPTIONS, TD3, TD3Config
from dwm_ray.options import PositiveInt, Profile, TrainingConfig
from dwm_ray.types import DataStats, Metrics, Segments, Spaces


class ReBRACConfig(TD3Config):
    """Options of ReBRAC."""

    num_hidden: PositiveInt = 3
    """Hidden layers of policy and critics."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    actor_penalty: Annotated[float, Field(ge=0)] = 0.01
    """beta_1: weight of the policy's squared distance from the data's action, relative to the normalised Q; 0
    disables behaviour cloning."""
    critic_penalty: Annotated[float, Field(ge=0)] = 0.01
    """beta_2: weight of the target action's squared distance from the recorded next action, in units of reward."""

    @classmethod
    def run_options(cls, profile: Profile) -> dict[str, Any]:
        """Return the paper's batch size."""
        return {} if profile == "laptop" else {"training.batch_size": 1024}


class ReBRAC(TD3):
    """ReBRAC agent."""

    Config = ReBRACConfig
    label = "ReBRAC"
    relative_flops = 9.0
    uses_next_act = True
    layer_norm = True
    member_options: ClassVar[dict[str, int] | None] = {"actor_penalty": 0, "critic_penalty": 1, **MEMBER_OPTIONS}
    config: ReBRACConfig

    def __init__(self, config: ReBRACConfig, spaces: Spaces, stats: DataStats, training: TrainingConfig) -> None:
        super().__init__(config, spaces, stats, training)
        self.rule = replace(self.rule, low=-torch.inf)

    def learn(self, segments: Segments, generator: Noise, kind: int) -> Metrics:
        known = torch.zeros_like(segments.source) if segments.next_act is None else _is_known(segments.next_act)
        return super().learn(segments, generator, kind) | {"next_act_known": known.float().mean(-1)}

    def _regularized(self, target: Tensor, segments: Segments, act: Tensor) -> Tensor:
        if segments.next_act is None:
            return target
        last = act.unflatten(-2, (target.shape[-1], -1))[..., -1, :]
        distance = (last - self.scaling.unit(segments.next_act)).square().sum(-1)
        penalty = (segments.discount.prod(-1) * distance).masked_fill(~_is_known(segments.next_act), 0.0)
        return target - self.member_values.critic_penalty * penalty

    def _actor_loss(self, obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor]:
        policy_act = self.actor(obs)
        q = self.critic(obs, policy_act).amin(-2)
        bc_loss = (policy_act - act).square().sum(-1).mean(-1)
        return self.member_values.actor_penalty * bc_loss - q.mean(-1) / q.detach().abs().mean(-1), bc_loss


def _is_known(next_act: Tensor) -> Tensor:
    """Return whether rows [..., B] have a next action [..., B, A]."""
    return ~next_act[..., 0].isnan()
