"""P agents of one class that learn in step, each from its own batches: one set of operations an update instead of P.

Every parameter is stacked to [P, ...], and so are the optimisers' moments and the targets, for they are made like it.
Members share no weights and losses are kept apart, so each learns what it would learn alone with the same initial
weights, batches and noise, up to rounding. A member remains an agent in its own right: its parameters are views of the
stack, and it acts, is scored and is saved like any other.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from dwm_ray.agents.base import Agent
from dwm_ray.agents.parts.noise import Noise
from dwm_ray.registry import plugins
from dwm_ray.types import Metrics, Segments


class Stackable(Protocol):
    """An agent with `member_options`."""

    def learn(self, segments: Segments, generator: Noise, phase: int) -> Metrics:
        """See `Agent.learn`; of a population segments are [P, B, ...], and metrics [P]."""


class Population:
    """Agents that learn as one from now on; what their own optimisers knew is left behind (`load_optimizer_states`).
    Their options are equal except for their class's `member_options`."""

    def __init__(self, members: Sequence[Agent]) -> None:
        """ValueError for agents that cannot be stacked, or with options that differ elsewhere."""
        _check(members)
        self.members = tuple(members)
        self._stack = copy.deepcopy(members[0])
        for name, axes in (self._stack.member_options or {}).items():
            setattr(self._stack.own, name, self._values(name, axes))
        for stacked, *own in zip(self._stack.parameters(), *(m.parameters() for m in members), strict=True):
            stacked.data = torch.stack([param.data for param in own])
            for param, view in zip(own, stacked.data, strict=True):
                param.data = view

    def _values(self, name: str, axes: int) -> float | Tensor:
        """An option of all members, as `Agent.own` holds it."""
        values = [getattr(member.own, name) for member in self.members]
        if len(set(values)) == 1:
            return values[0]
        device = next(self._stack.parameters()).device
        return torch.tensor(values, device=device).view(-1, *[1] * axes)

    def update(self, segments: Segments, generators: tuple[torch.Generator, ...]) -> Metrics:
        """One gradient step of every member from batches [P, B, ...], with a generator each; metrics are [P], still on
        the device."""
        return self.learn(segments, generators, self.next_update_kind())

    def next_update_kind(self) -> int:
        """See `Agent.next_update_kind`."""
        return self._stack.next_update_kind()

    def draw_ahead(self, segments: Segments, generators: tuple[torch.Generator, ...]) -> Noise:
        """See `Agent.draw_ahead`."""
        return self._stack.draw_ahead(segments, generators)

    def learn(self, segments: Segments, generators: Noise, phase: int) -> Metrics:
        """See `Agent.learn`."""
        return cast(Stackable, self._stack).learn(segments, generators, phase)

    def optimizer_states(self) -> list[dict[str, Tensor]]:
        """`Agent.optimizer_state` of every member: its part of what is stacked; counters [] are the same for all."""
        state = self._stack.optimizer_state()
        return [
            {key: value[member] if value.dim() else value for key, value in state.items()}
            for member in range(len(self.members))
        ]

    def load_optimizer_states(self, states: Sequence[dict[str, Tensor]]) -> None:
        """Inverse of `optimizer_states`, for members that have made equally many updates. Weights are loaded into the
        members themselves."""
        first = states[0]
        stacked = {key: torch.stack([state[key] for state in states]) for key, value in first.items() if value.dim()}
        self._stack.load_optimizer_state({**first, **stacked})


def _check(members: Sequence[Agent]) -> None:
    """ValueError unless they are agents of one class that can be stacked, with equal options where these must be."""
    name, own = members[0].config.plugin_name(), members[0].member_options
    if own is None:
        raise ValueError(f"agent {name}: cannot learn as a population; expected one of {', '.join(stackable_agents())}")
    if len({type(member) for member in members}) > 1:
        raise ValueError(f"a population of agent {name}: expected members of one kind")
    first, *others = (member.config.model_dump() for member in members)
    for option in (option for option in first if option not in own):
        if any(other[option] != first[option] for other in others):
            raise ValueError(f"agent.{option}: expected one value for all members of a population of agent {name}")


def stackable_agents() -> list[str]:
    """Names of the agents that can learn as a population."""
    every: dict[str, Any] = plugins("agents")
    return [name for name, cls in every.items() if cls.member_options is not None]
