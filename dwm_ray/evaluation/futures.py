"""Recorded and generated futures of start pairs as sets of points that can be compared as distributions.

Points are in standard deviations of the data, so that distances have a unit and no dimension dominates. Entry h of
states is s_{t+h}, h = 0..H; entry h of actions and rewards belongs to that state, h = 0..H - 1. There are no points
after the end of an episode: `reached` and `acted` mark the valid entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dwm_ray.evaluation.distance import kl_divergence, mmd
from dwm_ray.evaluation.model_error import units
from dwm_ray.types import Json, Segments, Windows

Quantity = Literal["states", "state-actions", "rewards"]
QUANTITIES: tuple[Quantity, ...] = ("states", "state-actions", "rewards")

MIN_POINTS = 20
"""Minimum number of points per step for a distance."""


@dataclass(frozen=True)
class Scale:
    """Standard deviations of the data as units; constant dimensions have none and count as 0."""

    obs: Tensor  # [O]; inf where constant
    act: Tensor  # [A]
    rew: float

    @staticmethod
    def of(obs: np.ndarray, act: np.ndarray, rew: np.ndarray, device: torch.device) -> Scale:
        """Return the scale of recorded rows [N, O], [N, A], [N]."""
        obs_std, act_std = (torch.as_tensor(units(x.std(0)), dtype=torch.float32, device=device) for x in (obs, act))
        return Scale(obs_std, act_std, float(rew.std()) or float("inf"))


@dataclass(frozen=True)
class Futures:
    """N futures of H steps; see the module."""

    obs: Tensor  # [N, H + 1, O]
    act: Tensor  # [N, M, A]; M is 1 if later actions are unknown
    rew: Tensor  # [N, H]
    reached: Tensor  # [N, H + 1] bool: there is a state h
    acted: Tensor  # [N, H] bool: there is an action in state h, and its reward

    @property
    def horizon(self) -> int:
        """Number of steps H."""
        return self.rew.shape[1]

    def rows(self, rows: Tensor) -> Futures:
        """Return the futures at `rows`, indices [n] or a mask [N]."""
        arrays = (self.obs, self.act, self.rew, self.reached, self.acted)
        return Futures(*(array[rows] for array in arrays))

    def points(self, quantity: Quantity, step: int) -> Tensor | None:
        """Return points [n, D] of step h = 1..H: states s_{t+h}, state-actions (s, a)_{t+h-1}, rewards r_{t+h-1}.

        Returns None if the actions are unknown.
        """
        if quantity == "states":
            return self.obs[self.reached[:, step], step]
        mask = self.acted[:, step - 1]
        if quantity == "rewards":
            return self.rew[mask, step - 1, None]
        if step > self.act.shape[1]:
            return None
        return torch.cat([self.obs[mask, step - 1], self.act[mask, step - 1]], 1)


def distances(
    first: Futures,
    second: Futures,
    quantity: Quantity,
    generator: torch.Generator,
    num_permutations: int = 100,
) -> list[Json]:
    """Return step, mmd and kl for each step 1..H with enough points in both sets; the generator is on the CPU.

    kl is KL(first || second) in nats.
    """
    result = []
    for step in range(1, min(first.horizon, second.horizon) + 1):
        x, y = first.points(quantity, step), second.points(quantity, step)
        if x is None or y is None or min(len(x), len(y)) < MIN_POINTS:
            continue
        found = mmd(x, y, generator, num_permutations)
        result.append({"step": step, "mmd": found, "kl": kl_divergence(x, y)})
    return result


def squared_distance(first: Futures, second: Futures) -> list[float]:
    """Return the mean squared distance per dimension of states 1..H between futures of the same starts, row by row."""
    both = (first.reached & second.reached)[:, 1:]
    squares = (first.obs - second.obs)[:, 1:].square().mean(-1)
    return (torch.where(both, squares, 0.0).sum(0) / both.sum(0)).tolist()


def recorded_futures(windows: Windows, scale: Scale) -> Futures:
    """Return the recorded futures of windows of H + 1 states."""
    act, rew = windows.act[:, :-1] / scale.act, windows.rew[:, :-1] / scale.rew
    return Futures(windows.obs / scale.obs, act, rew, windows.obs_mask, windows.step_mask[:, :-1])


def segment_futures(segments: Segments, scale: Scale) -> Futures:
    """Return the futures of segments; the state after a discount of 0 is the last one and has no action."""
    acted = segments.alive
    reached = torch.cat([acted[:, :1], acted], 1)
    return Futures(segments.obs / scale.obs, segments.act / scale.act, segments.rew / scale.rew, reached, acted)
