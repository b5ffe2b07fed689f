"""Discounted return of a policy in an ensemble of one-step models, one rollout per network of the ensemble.

Every network is rolled out alone for all steps, so that the spread between networks contains what errors accumulate to.
Imagined states and rewards are clipped to the range of the recorded ones, beyond which no network was trained.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dwm_ray.evaluation.logged_data import LoggedData
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.one_step import OneStep


@torch.no_grad()
def imagined_returns(
    model: WorldModel, policy: Callable[[Tensor], Tensor], data: LoggedData, horizon: int, generator: torch.Generator
) -> Tensor:
    """Return the discounted returns [networks, E] of `horizon` steps from the held-out starts, raw reward units.

    `policy` maps raw states [B, O] to actions [B, A]. A rollout ends where the task's rule or the network
    terminates it.
    """
    assert isinstance(model, OneStep)
    networks = [model.alone(number) for number in range(len(model.elite))]
    return torch.stack([_returns(network, policy, data, horizon, generator) for network in networks])


def _returns(
    network: WorldModel, policy: Callable[[Tensor], Tensor], data: LoggedData, horizon: int, generator: torch.Generator
) -> Tensor:
    obs, low, high = data.starts, data.stats.rew_min, data.stats.rew_max
    weight = obs.new_ones(len(obs))
    total = torch.zeros_like(weight)
    for _ in range(horizon):
        step = network.imagine(obs, policy(obs), policy=None, horizon=1, rtg=0.0, generator=generator)
        total += weight * step.rew[:, 0].clamp(low, high)
        goes_on = (step.discount[:, 0] > 0) & ~data.termination(step.obs[:, 1])
        weight = weight * data.discount * goes_on
        obs = step.obs[:, 1].clamp(data.obs_low, data.obs_high)
    return total
