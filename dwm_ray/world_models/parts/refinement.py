"""DyDiff's refinement (arXiv 2405.19189, algorithm 1): new states for the actions, then new actions for the states.

After the last of M refinements the actions are those that the states were drawn under; the public code takes newer ones
(`faithful`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dwm_ray.diffusion.edm import SIGMA_MAX, Churn, Heun, Multistep, karras_levels
from dwm_ray.types import Policy
from dwm_ray.world_models.parts.trajectory import TrajectoryDiffusion

if TYPE_CHECKING:
    from dwm_ray.world_models.dydiff import DyDiffConfig


def refined(
    trajectory: TrajectoryDiffusion,
    config: DyDiffConfig,
    states: Tensor,  # [B, L, O] raw, of a one-step rollout
    actions: Tensor,  # [B, L, A]
    policy: Policy,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The rollout after `num_refinements` refinements, in the same shapes."""
    solver = _solver(config)
    from_states = config.start_sigma < SIGMA_MAX
    for refinement in range(config.num_refinements):
        if refinement > 0:
            actions = _actions(policy, states, actions)
        drawn = trajectory.sample(states, actions, solver, from_states, generator, config.sampling_precision)
        states = torch.lerp(states, drawn, config.state_mix)
    if config.faithful and config.num_refinements > 0:
        actions = _actions(policy, states, actions)
    return states, actions


def _solver(config: DyDiffConfig) -> Heun | Multistep:
    levels = karras_levels(config.solver_steps, config.start_sigma)
    return Heun(levels, Churn(), config.faithful) if config.churn else Multistep(levels)


def _actions(policy: Policy, states: Tensor, actions: Tensor) -> Tensor:
    """The policy's actions [B, L, A] in the states [B, L, O]; the first one stays."""
    later = [policy(states[:, step], step) for step in range(1, states.shape[1])]
    return torch.cat([actions[:, :1], torch.stack(later, 1)], 1)
