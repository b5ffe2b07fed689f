"""DyDiff: Dynamics Diffusion (arXiv 2405.19189), long rollouts that follow the learning policy.

Three parts, trained together by one loss (their parameters are apart, so each learns as if alone): a one-step ensemble
of changes of state (`one_step`), a diffusion over whole trajectories given the first state and all actions
(`trajectory`), and a network of rewards (`reward`). A rollout begins as policy and one-step model unroll it. Then M
times: states are drawn from the diffusion given the first state and the current actions, mixed with the current states,
and the policy gives new actions for them: they follow the policy while states fit together over the whole trajectory.

The diffusion is given a_H as well, the policy's action in the last state, as in training: where actions are recorded
ones, every later action tells something about the states before it, which a one-step model is not told.

Differences from the public code, which `faithful` restores (with those of `trajectory`): the actions kept are the ones
that the last states were drawn under; there, the policy is asked once more, and its newer actions sit beside states
that older ones led to. The first action is always the start pair's. No warm-up of the learning rate. The ensemble
learns from transitions drawn from the batch's windows and predicts the reward too, which enters its disagreement (the
penalty) only. `start_sigma` below 80 begins from the current states instead of pure noise, in few solver steps.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from dwm_ray.devices import Precision
from dwm_ray.diffusion.denoisers import DenoiserKind
from dwm_ray.diffusion.edm import SIGMA_MAX, SIGMA_MIN
from dwm_ray.options import Fraction, PositiveInt
from dwm_ray.types import Episodes, Metrics, Policy, Segments, Spaces, Windows
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.one_step import OneStep, OneStepConfig
from dwm_ray.world_models.parts.refinement import refined
from dwm_ray.world_models.parts.reward import RewardNetwork
from dwm_ray.world_models.parts.termination import ContinuationConfig, Ending
from dwm_ray.world_models.parts.trajectory import Network, TrajectoryDiffusion


class DyDiffConfig(ContinuationConfig):
    """Options of DyDiff; the defaults are the paper's."""

    SAMPLING: ClassVar[frozenset[str]] = frozenset(
        {"num_refinements", "solver_steps", "churn", "start_sigma", "state_mix", "sampling_precision"}
    )

    num_updates: PositiveInt = 500_000
    batch_size: PositiveInt = 8
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    sequence_length: Annotated[int, Field(ge=2)] = 100
    """L: states per window; segments have up to L - 1 steps."""
    denoiser: DenoiserKind = "unet"
    """'unet' is the paper's temporal U-Net, 'mlp' a residual MLP over the flattened window."""
    dim: Annotated[int, Field(ge=8, multiple_of=8)] = 128
    """Size of the noise level's embedding and unit of the network's width."""
    multipliers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 4, 8)
    """Widths in units of dim: U-Net channels per resolution, or hidden units per residual block of the MLP."""
    ensemble_size: PositiveInt = 7
    """One-step networks that are trained."""
    num_elites: PositiveInt = 5
    """One-step networks that are used: those with the least hold-out error."""
    ensemble_width: PositiveInt = 200
    """Units per hidden layer of a one-step network."""
    ensemble_layers: PositiveInt = 4
    """Hidden layers of a one-step network."""
    reward_width: PositiveInt = 256
    """Units in each of the reward network's two hidden layers."""
    transition_batch: PositiveInt = 256
    """Transitions that one-step and reward networks learn from in an update."""
    training_precision: Precision = "fp32"
    """Arithmetic of the U-Net's matrix products in training; weights and sums stay in float32."""
    faithful: bool = False
    """Repeat the public code's faults (noisy and shrunk given entries, unmasked loss, actions newer than states)."""
    num_refinements: Annotated[int, Field(ge=0)] = 2
    """M: times that states are drawn anew and the policy gives new actions; 0 leaves the one-step rollout."""
    solver_steps: PositiveInt = 34
    """Steps of the solver in a refinement."""
    churn: bool = True
    """Heun's solver with fresh noise in every step, 2 N - 1 network calls (paper); otherwise DPM-Solver++, N calls."""
    start_sigma: Annotated[float, Field(gt=SIGMA_MIN, le=SIGMA_MAX)] = SIGMA_MAX
    """Noise level that a refinement starts from: 80 is pure noise, less keeps that much of the current states."""
    state_mix: Fraction = 0.5
    """Weight of the drawn states in their mix with the current ones."""
    sampling_precision: Precision = "fp32"
    """Arithmetic of matrix products in imagining."""

    @property
    def disagrees(self) -> bool:
        return self.num_elites > 1

    @classmethod
    def small(cls) -> dict[str, Any]:
        """Chosen on 50 000 halfcheetah transitions: held-out squared error of states under recorded actions (variances
        of the data, mean over 15 steps), after 130 s of training on a core: one-step rollout .117, the paper's solver
        (134 network calls) .098, these 6 calls .090; all but the first know the actions ahead. This MLP's loss fell
        faster than that of a U-Net of dim 32."""
        return {
            "sequence_length": 16,
            "denoiser": "mlp",
            "dim": 128,
            "multipliers": (4, 4, 4),
            "num_updates": 4500,
            "batch_size": 256,
            "learning_rate": 1e-3,
            "final_learning_rate": 0.05,
            "ensemble_size": 3,
            "num_elites": 2,
            "ensemble_layers": 3,
            "training_precision": "auto",
            "solver_steps": 3,
            "churn": False,
            "start_sigma": 1.0,
            "sampling_precision": "auto",
        }

    @classmethod
    def run_options(cls, preset: Literal["paper", "small"]) -> dict[str, Any]:
        """Long segments, real ratio alpha = .6 and a filter that keeps eta = .6 (its default) by imagined return."""
        return {
            "filter": "softmax",
            "replay.real_ratio": 0.6,
            "synthesis.horizon": cls.preset(preset).sequence_length - 1,
        }

    @property
    def network(self) -> Network:
        """The diffusion's network."""
        return Network(self.denoiser, self.dim, self.multipliers)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _one_step_options(self)  # refuses more elites than networks
        length = self.sequence_length
        if (fitting := self.network.length_for(length, length)) != length:
            raise ValueError(
                f"sequence_length {length} does not suit a U-Net of multipliers {self.multipliers}, which halves it "
                f"once per entry after the first: the next that does is {fitting}"
            )
        return self


class DyDiff(WorldModel):
    """See the module."""

    Config = DyDiffConfig
    follows_policy = True
    makes_transitions = True
    reads_ahead = True
    uses_rtg = False
    config: DyDiffConfig

    def __init__(self, config: DyDiffConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        self.one_step = OneStep(_one_step_options(config), spaces)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.trajectory = TrajectoryDiffusion(spaces, config.sequence_length, config.network, config.faithful)
            self.reward = RewardNetwork(spaces, config.reward_width)
            self.ending = Ending(spaces, config)

    @property
    def sequence_length(self) -> int:
        return self.config.sequence_length

    @property
    def max_horizon(self) -> int:
        return self.config.sequence_length - 1

    def fit_normalizers(self, episodes: Episodes) -> None:
        self.one_step.fit_normalizers(episodes)
        self.trajectory.fit_normalizers(episodes)
        self.reward.fit_normalizers(episodes)
        self.ending.fit_normalizers(episodes)

    @property
    def windows_per_update(self) -> int:
        return max(self.config.batch_size, self.config.transition_batch)

    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """The diffusion learns from `batch_size` whole windows, the other networks from the first transitions of
        `transition_batch`: windows begin at every transition alike, what lies later in them does not."""
        # Workers get a share of an update's windows; held-out windows are all looked at.
        share = len(windows) / self.windows_per_update if self.training else len(windows)
        sizes = (self.config.batch_size, self.config.transition_batch)
        whole, pairs = (windows[: max(1, int(share * size))] for size in sizes)
        diffusion = self.trajectory.loss(whole, generator, self.config.training_precision)
        one_step, metrics = self.one_step.loss(pairs, generator)
        rew, ending = self.reward.loss(pairs), self.ending.loss(pairs)
        loss = diffusion + one_step + rew + ending
        parts = {"diffusion_loss": diffusion.detach(), "rew_loss": rew.detach(), "loss": loss.detach()}
        return loss, {"one_step_mse": metrics["mse"], **parts, **self.ending.metrics(ending)}

    def observe(self, holdout: Windows) -> bool:
        """Keep the one-step networks' best weights; the diffusion, which takes longest, never ends training early."""
        self.one_step.observe(holdout)
        return False

    def finish(self, holdout: Windows) -> None:
        self.one_step.finish(holdout)

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
        """See the interface: M = horizon actions, the first given, the others the policy's. `rtg` is ignored.

        The policy is called step by step in refinements too, with steps 1..horizon: this serves policies that go by the
        step (recorded actions) and costs little beside the network, which runs at the shortest length that it takes.
        """
        self.check_horizon(horizon)
        if policy is None:
            raise ValueError("DyDiff needs a policy: its segments are rollouts of one")

        def follow(states: Tensor, step: int) -> Tensor:
            return policy(states, min(step, horizon))

        one_step = self.one_step.with_options({"sampling_precision": self.config.sampling_precision})
        length = self.config.network.length_for(horizon + 1, self.sequence_length)
        first = one_step.imagine(obs, act, policy=follow, horizon=length - 1, rtg=rtg, generator=generator)
        last = follow(first.obs[:, -1], length - 1)[:, None]
        states, actions = refined(
            self.trajectory, self.config, first.obs, torch.cat([first.act, last], 1), follow, generator
        )
        return self._segments(one_step, states[:, : horizon + 1], actions[:, :horizon])

    def _segments(self, one_step: OneStep, states: Tensor, actions: Tensor) -> Segments:
        """Raw states [B, H + 1, O] and actions [B, H, A] with their rewards and the ensemble's disagreement."""
        obs, act = states[:, :-1].flatten(0, 1), actions.flatten(0, 1)
        rew = self.reward(obs, act).view(actions.shape[:2])
        return Segments(
            obs=states,
            act=actions,
            rew=rew,
            discount=self.ending.discount(states),
            penalty=one_step.disagreement(obs, act).view_as(rew),
            source=rew.new_ones(len(rew)),
        )


def _one_step_options(config: DyDiffConfig) -> OneStepConfig:
    return OneStepConfig(
        seed=config.seed,
        ensemble_size=config.ensemble_size,
        num_elites=config.num_elites,
        continuation="off",  # the rollouts that it begins end where the refined states do
        width=config.ensemble_width,
        num_layers=config.ensemble_layers,
        rollout_limit=config.sequence_length,
    )
