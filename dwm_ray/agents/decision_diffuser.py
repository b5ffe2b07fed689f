"""Decision Diffuser (Ajay et al. 2023, arXiv 2211.15657): plan a future with a diffusion model, then act towards it.

The plan p(s_{t+1}, ... | s_t, return-to-go) comes from the run's world model without the action as a condition
(equation 8). The agent attaches the trained model with frozen weights and learns only the inverse dynamics
a_t = f(s_t, s_{t+1}) from recorded transitions (equation 7). At each step it samples a plan for the target return-to-go
and takes the action that leads to the plan's first state. Guidance, temperature and solver steps are options of the
world model; the return-to-go is an option of the run.

Differences from the paper:

- The noise is the same at every step of an evaluation.
- Plans start from s_t alone, without the recorded states before it.
- The inputs of the inverse dynamics are standardised, and a tanh bounds its actions.
- Terminal transitions are excluded from training, since the state after them may be missing from the recording.
"""

from dataclasses import replace
from typing import Annotated, Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from dwm_ray.agents.base import Agent, AgentConfig
from dwm_ray.agents.parts.networks import TanhActor
from dwm_ray.agents.parts.optimizer import fused_adam, gradient_step
from dwm_ray.options import Profile, RunOptions, TrainingConfig
from dwm_ray.types import DataStats, Metrics, Segments, Spaces

PLAN_SEED = 0
"""Seed of every greedy plan's noise: `act` is a function of the observations alone."""


class DecisionDiffuserConfig(AgentConfig):
    """Options of Decision Diffuser; the options of plans belong to the world model."""

    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    """Learning rate of the inverse dynamics."""

    @classmethod
    def run_options(cls, profile: Profile) -> dict[str, Any]:
        """Return the options that plans need: no action condition, and a return-to-go for states without a label."""
        return {
            "world_model.condition_on_action": False,
            "world_model.first_model": "diffusion",
            "world_model.given_first": 0.0,
            "synthesis.target_rtg": 0.5,
        }

    def check(self, run: RunOptions) -> None:
        """Raise ValueError if the world model is conditioned on the action, which is unknown when planning."""
        super().check(run)
        _ = run.synthesis.planned_rtg  # raises for a target that is defined for recorded states only
        name = "none" if run.world_model is None else run.world_model.plugin_name()
        steps = run.world_model is not None and run.world_model.plugin.follows_policy
        if steps or getattr(run.world_model, "condition_on_action", True):
            raise ValueError(
                f"world_model {name}: agent decision_diffuser plans with a model that has no action condition; "
                "expected world_model dwm with world_model.condition_on_action False"
            )


class DecisionDiffuser(Agent):
    """Decision Diffuser agent."""

    Config = DecisionDiffuserConfig
    label = "Decision Diffuser"
    has_critic = False
    plans = True
    supports_cuda_graphs = True
    model: nn.Module | None

    def __init__(
        self, config: DecisionDiffuserConfig, spaces: Spaces, stats: DataStats, training: TrainingConfig
    ) -> None:
        super().__init__(config, spaces, stats, training)
        state_pairs = replace(spaces, obs_size=2 * spaces.obs_size)
        self.inverse = TanhActor(state_pairs, *self.network_args[1:])
        self.optimizers = {"inverse": fused_adam(config.learning_rate, self.inverse)}
        self.register_module("model", None)

    def attach(self, model: nn.Module, target_rtg: float) -> None:
        """See `Agent.attach`; the return-to-go is in units of the task's scale."""
        self.model, self.target_rtg = model.requires_grad_(False).eval(), target_rtg

    def learn(self, segments: Segments, generator: torch.Generator, kind: int) -> Metrics:
        """See `Agent.learn`; only the first transition of each row is read."""
        _, act = self.start_pairs(segments)
        error = (self._unit_action(segments.obs[:, :2]) - act).square().mean(1)
        continues = (segments.discount[:, 0] > 0).float()
        loss = (error * continues).sum() / continues.sum().clamp_min(1)
        gradient_step(self.optimizers["inverse"], loss)
        return {"inverse_loss": loss.detach()}

    def _unit_action(self, states: Tensor) -> Tensor:
        """Return the unit actions [B, A] between raw states [B, 2, O]."""
        return cast(Tensor, self.inverse(self.scaling.obs(states).flatten(1)))

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        """See `Agent.act`; a row's noise depends only on its index and the batch's size."""
        return self._planned(obs, torch.Generator(obs.device).manual_seed(PLAN_SEED))

    @torch.no_grad()
    def explore(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """See `Agent.explore`; plans are sampled with the generator's noise."""
        return self._planned(obs, generator)

    def _planned(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        assert self.model is not None, "attach a world model before acting"
        unused = self.scaling.center.expand(len(obs), -1)  # the model has no action condition
        plan = cast(Any, self.model).imagine(
            obs, unused, policy=None, horizon=1, rtg=self.target_rtg, generator=generator
        )
        return self.scaling.raw(self._unit_action(plan.obs))
