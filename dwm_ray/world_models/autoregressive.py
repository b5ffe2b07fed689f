"""Autoregressive diffusion: DWM's network as a one-step model, called H times (a baseline of arXiv 2402.03570).

The window is (s_t, r_t), (s_{t+1}, r_{t+1}): one diffusion sample is one transition, and the next one starts from its
state with the policy's action. What it shares with DWM - network, process, normalisers, conditions - is DWM's own code
at T = 2. So it pays H times the network calls, its segments depend on the policy, and errors feed on themselves.

The return-to-go of the start conditions every step, as it conditions the whole of DWM's window.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from dwm_ray.data.normalizers import CDFNormalizer
from dwm_ray.options import PositiveInt
from dwm_ray.types import Episodes, Metrics, Policy, Segments, Spaces, Windows
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.dwm import DWM, dwm_options
from dwm_ray.world_models.parts.window_options import WindowModelConfig


class AutoregressiveConfig(WindowModelConfig):
    """Options of autoregressive diffusion: DWM's at T = 2."""

    SAMPLING: ClassVar[frozenset[str]] = WindowModelConfig.SAMPLING | {"rollout_limit"}
    horizon_limit: ClassVar[tuple[str, int]] = ("rollout_limit", 0)

    sequence_length: Literal[2] = 2
    """T: a state and the next one."""
    multipliers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (4, 8)
    """Widths in units of dim: U-Net channels per resolution, or hidden units per residual block of the MLP. Two states
    can be halved once, so the U-Net has the two widest levels of DWM's."""
    rollout_limit: PositiveInt = 100
    """Longest segment; the model itself has no limit, but its error grows with every step."""

    @classmethod
    def small(cls) -> dict[str, Any]:
        """DWM's. Guidance would double the calls, and a single step depends on the return-to-go in nothing: on 50 000
        halfcheetah transitions the errors with scale 0, 1 and 1.2 differ by 4 % at most."""
        return {**WindowModelConfig.small(), "guidance_scale": 1.0}


class Autoregressive(WorldModel):
    """See the module."""

    Config = AutoregressiveConfig
    follows_policy = True
    work = 200.0
    config: AutoregressiveConfig

    def __init__(self, config: AutoregressiveConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        self.one_step = DWM(dwm_options(config), spaces)

    @property
    def sequence_length(self) -> int:
        return self.config.sequence_length

    @property
    def state_normalizer(self) -> CDFNormalizer:
        return self.one_step.state_normalizer

    @property
    def max_horizon(self) -> int:
        return self.config.rollout_limit

    def fit_normalizers(self, episodes: Episodes) -> None:
        self.one_step.fit_normalizers(episodes)

    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        return self.one_step.loss(windows, generator)

    @torch.no_grad()
    def imagine(
        self,
        obs: Tensor,
        act: Tensor,
        *,
        policy: Policy | None,
        horizon: int,
        rtg: float | Tensor,
        generator: torch.Generator,
    ) -> Segments:
        """See the interface: M = horizon actions, the first given, the others the policy's."""
        self.check_horizon(horizon)
        if policy is None and horizon > 1:
            raise ValueError("autoregressive diffusion needs a policy for the actions after the first")
        model = self.one_step.with_options(self.config.model_dump(include=set(WindowModelConfig.SAMPLING)))
        steps: list[Segments] = []
        for step in range(horizon):
            if step > 0:
                assert policy is not None
                obs = steps[-1].obs[:, 1]
                act = policy(obs, step)
            steps.append(model.imagine(obs, act, policy=None, horizon=1, rtg=rtg, generator=generator))
        return _joined(steps)


def _joined(steps: list[Segments]) -> Segments:
    """Segments of length 1, each beginning where the one before ended, as segments of length H. The task ends once."""
    return Segments(
        obs=torch.cat([steps[0].obs[:, :1], *(step.obs[:, 1:] for step in steps)], 1),
        act=torch.cat([step.act for step in steps], 1),
        rew=torch.cat([step.rew for step in steps], 1),
        discount=torch.cat([step.discount for step in steps], 1).cumprod(1),
        penalty=torch.cat([step.penalty for step in steps], 1),
        source=steps[0].source,
    )
