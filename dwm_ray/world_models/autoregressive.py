"""Autoregressive diffusion: DWM's network as a one-step model, called H times (a baseline of arXiv 2402.03570).

The window is (s_t, r_t), (s_{t+1}, r_{t+1}): one diffusion sample is one transition, and the next one starts from its
state with the policy's action. Network, process, normalisers and conditions are those of DWM at T = 2. A segment takes
H times the network calls and depends on the policy, and its errors accumulate. Every step is conditioned on the
return-to-go of the start, as DWM's whole window is.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from dwm_ray.options import PositiveInt
from dwm_ray.types import Episodes, Metrics, Segments, Spaces, Windows
from dwm_ray.world_models.base import SegmentRequest, WorldModel, generated
from dwm_ray.world_models.dwm import DWM, DWMConfig
from dwm_ray.world_models.parts.options import WindowModelConfig


class AutoregressiveConfig(WindowModelConfig):
    """Options of autoregressive diffusion: DWM's at T = 2."""

    SAMPLING: ClassVar[frozenset[str]] = WindowModelConfig.SAMPLING | {"rollout_limit"}
    horizon_limit: ClassVar[tuple[str, int]] = ("rollout_limit", 0)

    sequence_length: Literal[2] = 2
    """T: a state and the next one."""
    multipliers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (4, 8)
    """Widths in units of dim: U-Net channels per resolution, or hidden units per residual block of the MLP. A window of
    two states can be halved once, so the U-Net has only the two widest levels of DWM's U-Net."""
    rollout_limit: PositiveInt = 100
    """Longest segment. The model itself has no limit, but its error grows with every step."""

    @classmethod
    def laptop(cls) -> dict[str, Any]:
        """Return DWM's options without recorded first steps in training: here every step is a first step."""
        return {**WindowModelConfig.laptop(), "sequence_length": 2, "first_model": "diffusion", "given_first": 0.0}


class Autoregressive(WorldModel):
    """One-step diffusion model, rolled out with the policy; see the module."""

    Config = AutoregressiveConfig
    follows_policy = True
    relative_flops = 130.0
    config: AutoregressiveConfig

    def __init__(self, config: AutoregressiveConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        self.one_step = DWM(DWMConfig.of(config), spaces)

    @property
    def max_horizon(self) -> int:
        return self.config.rollout_limit

    @property
    def state_normalizer(self) -> Callable[[Tensor], Tensor] | None:
        return self.one_step.state_normalizer

    def fit_normalizers(self, episodes: Episodes) -> None:
        self.one_step.fit_normalizers(episodes)

    def finish(self, holdout: Windows) -> None:
        self.one_step.finish(holdout)

    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        return self.one_step.loss(windows, generator)

    def generate(self, request: SegmentRequest) -> Segments:
        model = self.one_step.with_options(self.config.model_dump(include=set(WindowModelConfig.SAMPLING)))
        start = replace(request, policy=None, horizon=1, first=None)
        steps: list[Segments] = [] if request.first is None else [request.first]
        for step in range(len(steps), request.horizon):
            if step > 0:
                assert request.policy is not None
                obs = steps[-1].obs[:, 1]
                start = replace(start, obs=obs, act=request.policy(obs, step))
            steps.append(model.generate(start))
        return _joined(steps)


def _joined(steps: list[Segments]) -> Segments:
    """Join consecutive segments of length 1; after the first termination the discount stays 0."""
    return generated(
        obs=torch.cat([steps[0].obs[:, :1], *(step.obs[:, 1:] for step in steps)], 1),
        act=torch.cat([step.act for step in steps], 1),
        rew=torch.cat([step.rew for step in steps], 1),
        discount=torch.cat([step.discount for step in steps], 1).cumprod(1),
    )
