"""Fitted Q evaluation (FQE): the value of a policy from recorded transitions.

Le et al. 2019 (arXiv 1903.08738, algorithm 3) regress Q(s, a) on r + gamma * Q'(s', pi(s')) with a Q' that follows Q,
and evaluate it at the start states. Paine et al. 2020 (arXiv 2007.09055) select hyper-parameters with it, and Fu et al.
2021 (DOPE, arXiv 2103.16596) measure how well it ranks policies. Here:

- An ensemble of MLPs with LayerNorm, each with a target network of its own, is trained in one batched computation.
- Critics start from the value of the behaviour policy, regressed on the recorded returns-to-go. They then have to learn
  only the difference between two policies.
- Outputs are in standard deviations of the recorded returns-to-go, around their mean. States are standardised, actions
  scaled to [-1, 1]. Targets are clipped to the discounted returns that the data's rewards allow, which stops
  divergence.
- Terminations end a return; after a timeout, the value is bootstrapped from the next state.
"""

import copy
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from dwm_ray.agents.parts.networks import Scaling, StackedMLP
from dwm_ray.agents.parts.targets import target_range
from dwm_ray.evaluation.logged_data import LoggedData
from dwm_ray.world_models.base import seeded

NUM_CRITICS = 4
HIDDEN = [64, 64]
BATCH_SIZE = 256
LEARNING_RATE = 1e-3
FINAL_LEARNING_RATE = 0.1
"""Ratio of the final to the initial learning rate of every `fit`. The rate decays linearly, which averages out the
noise."""
TAU = 0.1
"""Polyak coefficient of the target networks. The distance from the solution decays within 1 / (TAU * (1 - gamma))
updates, which are 1000 with a discount of .99."""


class FittedQ:
    """Ensemble of critics of one policy, initialised to the value of the behaviour policy (`behaviour_critics`).

    Args:
        data: Recorded rows.
        num_updates: Updates of `behaviour_critics`, which all policies with equal `data` share.
        generator: Generator of the batches, on the device of the data.
    """

    def __init__(self, data: LoggedData, num_updates: int, generator: torch.Generator) -> None:
        self._data, self._generator = data, generator
        self._units, initial = Units(data), behaviour_critics(data, num_updates)
        self._critics = copy.deepcopy(initial).requires_grad_(True)
        self._targets = copy.deepcopy(initial)

    def fit(self, policy: Callable[[Tensor], Tensor], num_updates: int) -> None:
        """Train the critics towards the value of `policy` (raw states [B, O] -> actions [B, A])."""
        train, units = self._data.train, self._units
        next_pairs = units.pairs(train.obs[:, 1], policy(train.obs[:, 1]))
        low, high = target_range(self._data.stats, self._data.discount)

        def target(rows: Tensor) -> Tensor:
            values = units.returns(self._targets(next_pairs[rows]))
            return units.scaled((train.rew[rows, 0] + train.discount[rows, 0] * values).clamp(low, high))

        inputs = units.pairs(train.obs[:, 0], train.act[:, 0])
        regress(self._critics, inputs, target, num_updates, self._generator, self._targets)

    @torch.no_grad()
    def values(self, obs: Tensor, policy: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the discounted returns [critics, B] of the policy from raw states [B, O]."""
        return self._units.returns(self._critics(self._units.pairs(obs, policy(obs))))


class Units:
    """Conversion between raw units and those of the critics."""

    def __init__(self, data: LoggedData) -> None:
        self._scaling = Scaling(data.spaces, data.stats).to(data.rtg.device)
        self._mean, self._unit = float(data.rtg.mean()), float(data.rtg.std()) or 1.0

    @torch.no_grad()
    def pairs(self, obs: Tensor, act: Tensor) -> Tensor:
        """Return network inputs [B, O + A] of raw states and actions."""
        return torch.cat([self._scaling.obs(obs), self._scaling.unit(act)], 1)

    def scaled(self, returns: Tensor) -> Tensor:
        return (returns - self._mean) / self._unit

    def returns(self, outputs: Tensor) -> Tensor:
        """Return raw returns [critics, B] of the critics' outputs [critics, B, 1]."""
        return outputs.squeeze(-1) * self._unit + self._mean


@lru_cache(maxsize=2)
def behaviour_critics(data: LoggedData, num_updates: int) -> StackedMLP:
    """Return critics of the recorded returns-to-go, trained once per process: do not modify them."""
    units, size = Units(data), data.spaces.obs_size + data.spaces.act_size
    with seeded(0):
        critics = StackedMLP(NUM_CRITICS, [size, *HIDDEN, 1], "fp32", layer_norm=True).to(data.rtg.device)
    returns, inputs = units.scaled(data.rtg), units.pairs(data.train.obs[:, 0], data.train.act[:, 0])
    generator = torch.Generator(data.rtg.device).manual_seed(0)
    regress(critics, inputs, lambda rows: returns[rows], num_updates, generator)
    return critics.requires_grad_(False)


def regress(
    critics: StackedMLP,
    inputs: Tensor,
    target: Callable[[Tensor], Tensor],
    num_updates: int,
    generator: torch.Generator,
    targets: StackedMLP | None = None,
) -> None:
    """Regress outputs for inputs [N, D] on targets [B] or [critics, B] of rows [B]; also update target networks."""
    params = list(critics.parameters())
    current = [param.detach() for param in params]
    followers = [] if targets is None else [param.detach() for param in targets.parameters()]
    adam = torch.optim.Adam(params, LEARNING_RATE, fused=True)
    decay = torch.optim.lr_scheduler.LinearLR(adam, 1.0, FINAL_LEARNING_RATE, num_updates)
    for _ in range(num_updates):
        rows = torch.randint(len(inputs), (BATCH_SIZE,), generator=generator, device=inputs.device)
        with torch.no_grad():
            goal = target(rows)
        loss = (critics(inputs[rows]).squeeze(-1) - goal).square().mean(-1).sum()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        decay.step()
        if followers:
            torch._foreach_lerp_(followers, current, TAU)
