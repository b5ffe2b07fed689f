"""DAWM: Diffusion Action World Model (arXiv 2509.19538).

DWM's generator draws a segment of states and rewards from (s_t, a_t, return-to-go); an inverse dynamics model then says
which action led from each state to the next. Segments so become transitions for agents that learn by one-step TD: the
first action is the recorded one, the others are inferred. Generator and inverse dynamics are trained side by side on
the same windows and share no weight. The penalty of a step is the largest squared distance between two inverse models'
actions for it, in units where the task's bounds are -1 and 1: the step that no action explains is the one that the
generator got wrong. The filter `disagreement` drops by it.

Hyper-parameters are not public, ours are: DWM's of the same preset, at temperature 1 because what augments data should
spread as they do. Generation is off the learner's path, so a denser process (diffusion_steps 20, solver_steps 10) is
affordable. Differences: the inverse models share the generator's learning rate.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from dwm_ray.data.normalizers import CDFNormalizer
from dwm_ray.devices import reduced
from dwm_ray.options import PositiveInt
from dwm_ray.types import Episodes, Metrics, Policy, Segments, Spaces, Windows
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.dwm import DWM, dwm_options
from dwm_ray.world_models.parts.ensemble import largest_distance
from dwm_ray.world_models.parts.inverse_dynamics import InverseDynamics
from dwm_ray.world_models.parts.window_options import WindowModelConfig


class DAWMConfig(WindowModelConfig):
    """DWM's options, and those of the inverse dynamics."""

    SAMPLING: ClassVar[frozenset[str]] = WindowModelConfig.SAMPLING

    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Scale of all noise in sampling; below 1, segments cover less than the data do."""
    inverse_members: PositiveInt = 5
    """Inverse dynamics networks; their mean is the action, their disagreement the penalty (none with one)."""
    inverse_width: PositiveInt = 512
    """Units in each of an inverse network's two hidden layers."""
    inverse_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Fraction of an inverse network's hidden units that is hidden in training."""

    @property
    def disagrees(self) -> bool:
        return self.inverse_members > 1

    @classmethod
    def small(cls) -> dict[str, Any]:
        """Inverse networks a quarter the size."""
        return {**WindowModelConfig.small(), "inverse_members": 3, "inverse_width": 256}

    @classmethod
    def run_options(cls, preset: Literal["paper", "small"]) -> dict[str, Any]:
        """Half of each batch is recorded, and the steps that the inverse models agree on least are dropped."""
        return {"replay.real_ratio": 0.5, "filter": "disagreement"}


class DAWM(WorldModel):
    """See the module."""

    Config = DAWMConfig
    follows_policy = False
    capturable = True
    makes_transitions = True
    config: DAWMConfig

    def __init__(self, config: DAWMConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        self.dwm = DWM(dwm_options(config), spaces)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.inverse = InverseDynamics(spaces, config.inverse_members, config.inverse_width, config.inverse_dropout)

    @property
    def sequence_length(self) -> int:
        return self.dwm.sequence_length

    @property
    def state_normalizer(self) -> CDFNormalizer:
        return self.dwm.state_normalizer

    @property
    def max_horizon(self) -> int:
        return self.dwm.max_horizon

    def fit_normalizers(self, episodes: Episodes) -> None:
        self.dwm.fit_normalizers(episodes)
        self.inverse.fit_normalizers(episodes)

    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """The sum of both losses; the inverse dynamics learn from each window's first transition."""
        drawn, metrics = self.dwm.loss(windows, generator)
        with reduced(self.config.training_precision, windows.obs.device):
            inverse = self.inverse.loss(
                windows.obs[:, 0],
                windows.act[:, 0],
                windows.obs[:, 1],
                windows.step_mask[:, 0] & windows.obs_mask[:, 1],
                generator if self.training else None,
            )
        loss = drawn + inverse
        return loss, {**metrics, "loss": loss.detach(), "inverse_loss": inverse.detach()}

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
        """See the interface: M = horizon actions, the first given, the others inferred. The policy is ignored."""
        sampling = self.config.model_dump(include=set(self.config.SAMPLING))
        drawn = self.dwm.with_options(sampling).imagine(
            obs, act, policy=None, horizon=horizon, rtg=rtg, generator=generator
        )
        return self.with_actions(drawn)

    @torch.no_grad()
    def with_actions(self, segments: Segments) -> Segments:
        """Segments with every action after the first inferred from the states, and the penalty of each step."""
        batch, horizon = segments.rew.shape
        with reduced(self.config.sampling_precision, segments.obs.device):
            members = self.inverse(segments.obs[:, :-1].flatten(0, 1), segments.obs[:, 1:].flatten(0, 1))
        inferred = self.inverse.actions(members).unflatten(0, (batch, horizon))
        return replace(
            segments,
            act=torch.cat([segments.act[:, :1], inferred[:, 1:]], 1),
            penalty=largest_distance(members).view(batch, horizon),
        )
