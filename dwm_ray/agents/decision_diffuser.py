"""Decision Diffuser (Ajay et al. 2023, arXiv 2211.15657): plan a future with a diffusion model, then act towards it.

p(s_{t+1}, ... | s_t, return-to-go) is the run's world model with its action hidden (equation 8); the agent attaches it,
frozen, and learns only the inverse dynamics a_t = f(s_t, s_{t+1}) from real transitions (equation 7). To act, it draws
a plan for the return-to-go that it wants and takes the action that leads to the plan's first state; the next step plans
anew. Guidance, low temperature and solver steps are the world model's options, the return-to-go is the run's.

Differences: noise is the same at every step of an evaluation (the paper draws anew); plans start from s_t alone,
without the recorded states before it; inputs of the inverse dynamics are standardised and its output is a tanh, so that
actions stay within bounds; steps that ended the task teach it nothing, since the state after them may be missing from
the recording.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from dwm_ray.agents.base import Agent, AgentConfig
from dwm_ray.agents.parts.networks import Scaling, StackedMLP
from dwm_ray.agents.parts.optimizer import adam_tensors, descend, fused_adam, load_adam_tensors
from dwm_ray.devices import Precision
from dwm_ray.options import PositiveInt, RunOptions, TrainingConfig
from dwm_ray.types import DataStats, Metrics, Policy, Segments, Spaces

PLAN_SEED = 0
"""Seeds the noise of every greedy plan: `act` is a function of the observations alone."""


class DecisionDiffuserConfig(AgentConfig):
    """Options of Decision Diffuser; those of its plans are the world model's."""

    hidden_size: PositiveInt = 256
    """Units of each hidden layer of the inverse dynamics."""
    num_hidden: PositiveInt = 2
    """Hidden layers of the inverse dynamics."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    """Of the inverse dynamics."""

    @classmethod
    def run_options(cls, preset: Literal["paper", "small"]) -> dict[str, Any]:
        return {"world_model.condition_on_action": False}

    def check(self, run: RunOptions) -> None:
        """Only a world model that is not told the action that is looked for can plan."""
        super().check(run)
        given = "none" if run.world_model is None else run.world_model.plugin_name()
        steps = run.world_model is not None and run.world_model.plugin.follows_policy
        if steps or getattr(run.world_model, "condition_on_action", True):
            raise ValueError(
                f"world_model {given}: agent decision_diffuser plans with a model that knows no action; it needs "
                "world_model dwm with world_model.condition_on_action False"
            )


class StateModel(Protocol):
    """What a plan needs of a world model (`world_models.base.WorldModel`)."""

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
        """See `WorldModel.imagine`."""


class InverseDynamics(nn.Module):
    """The action between two states."""

    def __init__(self, spaces: Spaces, hidden: list[int], precision: Precision) -> None:
        super().__init__()
        self.body = StackedMLP(1, [2 * spaces.obs_size, *hidden, spaces.act_size], precision)

    def forward(self, obs: Tensor, next_obs: Tensor) -> Tensor:
        """Standardised [B, O] twice -> unit actions [B, A]."""
        return torch.tanh(self.body(torch.cat([obs, next_obs], 1)).squeeze(0))


class DecisionDiffuser(Agent):
    """The agent; see the module."""

    Config = DecisionDiffuserConfig
    label = "Decision Diffuser"
    has_critic = False
    plans = True
    supports_cuda_graphs = True
    config: DecisionDiffuserConfig
    model: nn.Module | None

    def __init__(
        self, config: DecisionDiffuserConfig, spaces: Spaces, stats: DataStats, training: TrainingConfig
    ) -> None:
        super().__init__(config, spaces, stats, training)
        self.scaling = Scaling(spaces, stats)
        self.inverse = InverseDynamics(spaces, [config.hidden_size] * config.num_hidden, config.matmul_precision)
        self.optimizer = fused_adam(config.learning_rate, self.inverse)
        self.register_module("model", None)

    def attach(self, model: nn.Module, target_rtg: float) -> None:
        """Plan with a trained world model from now on, for a return-to-go in units of the task's scale."""
        self.model, self.target_rtg = model.requires_grad_(False).eval(), target_rtg

    def learn(self, segments: Segments, generator: torch.Generator, kind: int) -> Metrics:
        """One step of the inverse dynamics on the first transition of each row; later steps are not read."""
        obs, next_obs = self.scaling.obs(segments.obs[:, :2]).unbind(1)
        error = (self.inverse(obs, next_obs) - self.scaling.unit(segments.act[:, 0])).square().mean(1)
        goes_on = (segments.discount[:, 0] > 0).float()
        loss = (error * goes_on).sum() / goes_on.sum().clamp_min(1)
        descend(self.optimizer, loss)
        return {"inverse_loss": loss.detach()}

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        """See the interface. A row's noise follows from its place in the batch and the batch's size, and is the same at
        every step."""
        return self._planned(obs, torch.Generator(obs.device).manual_seed(PLAN_SEED))

    @torch.no_grad()
    def explore(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """The action of a plan drawn with the generator's noise."""
        return self._planned(obs, generator)

    def _planned(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        assert self.model is not None, "attach a world model before acting"
        hidden = self.scaling.center.expand(len(obs), -1)  # the model does not look at it
        plan = cast(StateModel, self.model).imagine(
            obs, hidden, policy=None, horizon=1, rtg=self.target_rtg, generator=generator
        )
        return self.scaling.raw(self.inverse(*self.scaling.obs(plan.obs).unbind(1)))

    def optimizer_state(self) -> dict[str, Tensor]:
        return adam_tensors("inverse", self.optimizer)

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        load_adam_tensors("inverse", self.optimizer, state)
