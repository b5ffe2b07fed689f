"""DAWM: Diffusion Action World Model (arXiv 2509.19538).

DWM generates a segment of states and rewards from (s_t, a_t, return-to-go). An inverse dynamics model then infers the
action between each state and the next, so that segments become transitions for agents that learn by one-step TD: the
first action is the recorded one, the others are inferred. Generator and inverse dynamics train on the same windows and
share no weights. The penalty of a step is the largest squared distance between two inverse models' actions for it, in
units where the task's bounds are -1 and 1: it is large if no action explains the step. The filter
`disagreement` uses it.

Hyper-parameters are not public. Ours are those of DWM, except for a temperature of 1: augmented data should be as
diverse as recorded data. Segments are generated ahead of time, so a denser process (diffusion_steps 20,
solver_steps 10) is affordable. Difference: the inverse models share the generator's learning rate.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from dwm_ray.devices import autocast
from dwm_ray.options import PositiveInt, Profile
from dwm_ray.types import Episodes, Metrics, Segments, Spaces, Windows
from dwm_ray.world_models.base import SegmentRequest, WorldModel, seeded
from dwm_ray.world_models.dwm import DWM, DWMConfig
from dwm_ray.world_models.parts.ensemble import largest_distance
from dwm_ray.world_models.parts.inverse_dynamics import InverseDynamics
from dwm_ray.world_models.parts.options import WindowModelConfig


class DAWMConfig(WindowModelConfig):
    """DWM's options, and those of the inverse dynamics."""

    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Scale of all noise in sampling; below 1, segments are less diverse than the data."""
    inverse_members: PositiveInt = 5
    """Number of inverse dynamics networks. Their mean is the action and their disagreement the penalty; one network has
    no penalty."""
    inverse_width: PositiveInt = 512
    """Units in each of an inverse network's two hidden layers."""
    inverse_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout probability of an inverse network's hidden units in training."""

    @property
    def has_penalty(self) -> bool:
        return self.inverse_members > 1

    @classmethod
    def laptop(cls) -> dict[str, Any]:
        """Return DWM's options with fewer and narrower inverse networks."""
        return {**WindowModelConfig.laptop(), "inverse_members": 3, "inverse_width": 256}

    @classmethod
    def run_options(cls, profile: Profile) -> dict[str, Any]:
        """Return a real ratio of one half and the filter that drops steps with large disagreement.

        With the profile `laptop`, recorded rows are futures of 10 steps, as for DWM: one-step targets alone propagate
        values too slowly for few updates (docs/results.md).
        """
        return {**DWMConfig.run_options(profile), "replay.real_ratio": 0.5, "filter": "disagreement"}


class DAWM(WorldModel):
    """DWM with inferred actions; see the module."""

    Config = DAWMConfig
    label = "DAWM"
    follows_policy = False
    supports_cuda_graphs = True
    makes_transitions = True
    config: DAWMConfig

    def __init__(self, config: DAWMConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        self.dwm = DWM(DWMConfig.of(config), spaces)
        with seeded(config.seed):
            self.inverse = InverseDynamics(spaces, config.inverse_members, config.inverse_width, config.inverse_dropout)

    @property
    def state_normalizer(self) -> Callable[[Tensor], Tensor] | None:
        return self.dwm.state_normalizer

    def fit_normalizers(self, episodes: Episodes) -> None:
        self.dwm.fit_normalizers(episodes)
        self.inverse.fit_normalizers(episodes)

    def finish(self, holdout: Windows) -> None:
        self.dwm.finish(holdout)

    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """Return the sum of both losses; the inverse dynamics learn from each window's first transition."""
        diffusion, metrics = self.dwm.loss(windows, generator)
        with autocast(self.config.training_precision, windows.obs.device):
            inverse = self.inverse.loss(
                windows.obs[:, 0],
                windows.act[:, 0],
                windows.obs[:, 1],
                windows.transition_mask[:, 0],
                generator if self.training else None,
            )
        loss = diffusion + inverse
        return loss, {**metrics, "loss": loss.detach(), "inverse_loss": inverse.detach()}

    def generate(self, request: SegmentRequest) -> Segments:
        sampling = self.config.model_dump(include=set(self.config.SAMPLING))
        return self.with_actions(self.dwm.with_options(sampling).generate(request))

    @torch.no_grad()
    def with_actions(self, segments: Segments) -> Segments:
        """Return the segments with inferred actions after the first one, and the penalty of each step."""
        batch, horizon = segments.rew.shape
        with autocast(self.config.sampling_precision, segments.obs.device):
            members = self.inverse(segments.obs[:, :-1].flatten(0, 1), segments.obs[:, 1:].flatten(0, 1))
        inferred = self.inverse.actions(members).unflatten(0, (batch, horizon))
        return replace(
            segments,
            act=torch.cat([segments.act[:, :1], inferred[:, 1:]], 1),
            penalty=largest_distance(members).view(batch, horizon),
        )
