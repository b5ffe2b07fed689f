"""DyDiff: Dynamics Diffusion (arXiv 2405.19189), long rollouts that follow the learning policy.

Three parts are trained jointly on one loss and share no parameters: a one-step ensemble (`one_step`), a diffusion over
whole trajectories given the first state and all actions (`trajectory`), and a reward network (`reward`). The initial
rollout is that of the policy in the one-step model. M refinements follow (algorithm 1): states are sampled from the
diffusion, given the first state and the current actions, and mixed with the current states; then the policy chooses new
actions for them. The actions thus follow the policy, and the states are consistent over the whole trajectory.

The diffusion is also conditioned on a_H, the policy's action in the last state, as in training. With recorded actions,
every later action carries information about the states before it, which a one-step model does not have.

Differences from the public code: the actions of a segment are those on which its states were conditioned, whereas the
public code takes newer ones (`faithful` restores this and the faults in `trajectory`). The first action is always that
of the start pair. The learning rate has no warm-up. The ensemble learns from the first transitions of the batch's
windows and predicts the reward too, which enters its disagreement (the penalty) only. `start_sigma` below 80 starts
from the current states instead of pure noise, in few solver steps.

`faithful` does not restore the embedding of the noise level: its features have 1/4 to 16 radians per unit of
log(sigma) / 4. Those of the public code have 1 to 1/10000, so most of them hardly vary over the range of levels.
"""

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from dwm_ray.diffusion.edm import EDM, SIGMA_MAX, SIGMA_MIN, Churn
from dwm_ray.options import Fraction, PositiveInt, Profile
from dwm_ray.types import Episodes, Metrics, Policy, Segments, Spaces, Windows
from dwm_ray.world_models.base import SegmentRequest, WorldModel, generated, seeded
from dwm_ray.world_models.one_step import OneStep, OneStepConfig
from dwm_ray.world_models.parts.heads import ContinuationConfig, RewardNetwork, TerminationHead
from dwm_ray.world_models.parts.options import DenoiserConfig
from dwm_ray.world_models.parts.trajectory import TrajectoryDiffusion, edm


class DyDiffConfig(DenoiserConfig, ContinuationConfig):
    """Options of DyDiff; the defaults are the paper's."""

    SAMPLING: ClassVar[frozenset[str]] = frozenset(
        {"num_refinements", "solver_steps", "churn", "start_sigma", "state_mix", "sampling_precision"}
    )

    num_updates: PositiveInt = 500_000
    batch_size: PositiveInt = 8
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    sequence_length: Annotated[int, Field(ge=2)] = 100
    """L: states per window; segments have up to L - 1 steps."""
    ensemble_size: PositiveInt = 7
    """One-step networks that are trained."""
    num_elites: PositiveInt = 5
    """One-step networks that are used: those with the lowest held-out error."""
    ensemble_width: PositiveInt = 200
    """Units per hidden layer of a one-step network."""
    ensemble_layers: PositiveInt = 4
    """Hidden layers of a one-step network."""
    reward_width: PositiveInt = 256
    """Units in each of the reward network's two hidden layers."""
    transition_batch: PositiveInt = 256
    """Transitions that one-step and reward networks learn from in an update."""
    faithful: bool = False
    """Reproduce the public code's faults (noisy and shrunk given entries, unmasked loss, actions newer than states)."""
    num_refinements: Annotated[int, Field(ge=0)] = 2
    """M: refinements of states and actions; 0 is the one-step rollout."""
    solver_steps: PositiveInt = 34
    """Steps of the solver in a refinement."""
    churn: bool = True
    """Heun's solver with fresh noise in every step, 2 N - 1 network calls (paper); otherwise DPM-Solver++, N calls."""
    start_sigma: Annotated[float, Field(gt=SIGMA_MIN, le=SIGMA_MAX)] = SIGMA_MAX
    """Noise level at which a refinement starts: 80 is pure noise, and lower levels preserve more of the current
    states."""
    state_mix: Fraction = 0.5
    """Weight of the sampled states in their mix with the current ones."""

    @property
    def has_penalty(self) -> bool:
        return self.num_elites > 1

    @classmethod
    def laptop(cls) -> dict[str, Any]:
        """Return options with 6 network calls from the current states, chosen on 50 000 halfcheetah transitions.

        Held-out squared error of states under recorded actions (variances of the data, mean over 15 steps) after 130 s
        of training on one core: one-step rollout .117, the paper's solver (134 network calls) .098, these 6 calls .090.
        The loss of this MLP fell faster than that of a U-Net of dim 32.
        """
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
    def run_options(cls, profile: Profile) -> dict[str, Any]:
        """Return long segments, a real ratio alpha = .6 and, for the profile `paper`, its filter (eta = .6) by return.

        With the profile `laptop`, all rollouts are selected: with a selection by imagined return, the policy of TD3+BC
        never leaves the start pose on halfcheetah (docs/results.md).
        """
        return {
            "filter": "keep_all" if profile == "laptop" else "softmax",
            "replay.real_ratio": 0.6,
            "synthesis.horizon": cls.for_profile(profile).sequence_length - 1,
        }

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _one_step_options(self)  # raises if there are more elites than networks
        return self


class DyDiff(WorldModel):
    """Trajectory diffusion that follows the policy; see the module."""

    Config = DyDiffConfig
    label = "DyDiff"
    follows_policy = True
    makes_transitions = True
    sees_future_actions = True
    uses_rtg = False
    config: DyDiffConfig

    def __init__(self, config: DyDiffConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        self.one_step = OneStep(_one_step_options(config), spaces)
        with seeded(config.seed):
            self.trajectory = TrajectoryDiffusion(spaces, config, config.faithful)
            self.reward = RewardNetwork(spaces, config.reward_width)
            self.termination = TerminationHead(spaces, config)

    @property
    def process(self) -> EDM:
        """EDM with the configured solver."""
        config = self.config
        return edm(config.solver_steps, Churn() if config.churn else None, config.start_sigma, config.faithful)

    @property
    def windows_per_update(self) -> int:
        return max(self.config.batch_size, self.config.transition_batch)

    def fit_normalizers(self, episodes: Episodes) -> None:
        for model in (self.one_step, self.trajectory, self.reward, self.termination):
            model.fit_normalizers(episodes)

    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """Return the sum of all losses.

        The diffusion learns from `batch_size` whole windows, the other networks from the first transitions of
        `transition_batch` windows, since windows begin at every transition equally often.
        """
        # A worker receives a fraction of an update's windows. Held-out windows are all used.
        ratio = len(windows) / self.windows_per_update if self.training else len(windows)
        sizes = (self.config.batch_size, self.config.transition_batch)
        trajectories, pairs = (windows[: max(1, int(ratio * size))] for size in sizes)
        diffusion = self.trajectory.loss(trajectories, self.process, generator, self.config.training_precision)
        one_step, metrics = self.one_step.loss(pairs, generator)
        rew, termination = self.reward.loss(pairs), self.termination.loss(pairs)
        loss = diffusion + one_step + rew + termination
        losses = {"diffusion_loss": diffusion.detach(), "rew_loss": rew.detach(), "loss": loss.detach()}
        return loss, {"one_step_mse": metrics["mse"], **losses, **self.termination.metrics(termination)}

    def observe(self, holdout: Windows) -> bool:
        """Retain the one-step networks' best weights; the diffusion takes longest, so training never ends early."""
        self.one_step.observe(holdout)
        return False

    def finish(self, holdout: Windows) -> None:
        self.one_step.finish(holdout)

    def generate(self, request: SegmentRequest) -> Segments:
        """Generate rollouts of the policy.

        The policy is called step by step in refinements too, with steps 1..horizon, so that recorded actions can
        replace it. The network runs at the shortest length that it accepts.
        """
        policy, horizon = request.policy, request.horizon
        if policy is None:
            raise ValueError("policy: missing; expected one, since segments of dydiff are rollouts of a policy")

        def follow(states: Tensor, step: int) -> Tensor:
            return policy(states, min(step, horizon))

        one_step = self.one_step.with_options({"sampling_precision": self.config.sampling_precision})
        length = self.config.length_for(horizon + 1)
        first = one_step.generate(replace(request, policy=follow, horizon=length - 1))
        last = follow(first.obs[:, -1], length - 1)[:, None]
        states, actions = self._refined(first.obs, torch.cat([first.act, last], 1), follow, request.generator)
        return self._segments(one_step, states[:, : horizon + 1], actions[:, :horizon])

    def _refined(
        self, states: Tensor, actions: Tensor, policy: Policy, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Refine the raw states [B, L, O] and actions [B, L, A] of a rollout M times."""
        config, process = self.config, self.process
        from_states = config.start_sigma < SIGMA_MAX
        for refinement in range(config.num_refinements):
            if refinement > 0:
                actions = _policy_actions(policy, states, actions)
            sampled = self.trajectory.sample(
                states, actions, process, from_states, generator, config.sampling_precision
            )
            states = torch.lerp(states, sampled, config.state_mix)
        if config.faithful and config.num_refinements > 0:
            actions = _policy_actions(policy, states, actions)
        return states, actions

    def _segments(self, one_step: OneStep, states: Tensor, actions: Tensor) -> Segments:
        """Add rewards and the ensemble's disagreement to raw states [B, H + 1, O] and actions [B, H, A]."""
        obs, act = states[:, :-1].flatten(0, 1), actions.flatten(0, 1)
        rew = self.reward(obs, act).view(actions.shape[:2])
        penalty = one_step.disagreement(obs, act).view_as(rew)
        return generated(states, actions, rew, self.termination.discount(states), penalty)


def _policy_actions(policy: Policy, states: Tensor, actions: Tensor) -> Tensor:
    """Return the policy's actions [B, L, A] in the states [B, L, O] after the first action."""
    later = [policy(states[:, step], step) for step in range(1, states.shape[1])]
    return torch.cat([actions[:, :1], torch.stack(later, 1)], 1)


def _one_step_options(config: DyDiffConfig) -> OneStepConfig:
    return OneStepConfig(
        seed=config.seed,
        ensemble_size=config.ensemble_size,
        num_elites=config.num_elites,
        continuation="off",  # terminations are predicted on the refined states
        width=config.ensemble_width,
        num_layers=config.ensemble_layers,
        rollout_limit=config.sequence_length,
    )
