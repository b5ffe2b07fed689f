"""Populations: P agents of one class that are trained by the same operations, each on its own batches.

With P > 1 every parameter is stacked to [P, ...], and so are target networks and the optimisers' moments. Members share
no weights and have separate losses, so each member learns as it would alone, up to rounding. A member remains an agent:
its parameters are views of the stack, and it acts, is evaluated and is saved like any other.

A population of one delegates to its agent, whose updates are exactly those without a population. It therefore works
for every agent, including agents whose formulas do not accept [P, B, ...].
"""

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from dwm_ray.agents.base import Agent
from dwm_ray.agents.parts.noise import Noise
from dwm_ray.types import Metrics, Segments

MemberGenerators = tuple[torch.Generator, ...]
"""One generator per member, all on the agents' device."""


class Population:
    """Agents of one class with equal options, except for their class's `member_options`.

    Args:
        members: The agents. With P > 1 the state of their own optimisers is dropped; see `load_optimizer_states`.

    Raises:
        ValueError: If P > 1 and the agents cannot be stacked or differ in another option.
    """

    def __init__(self, members: Sequence[Agent]) -> None:
        self.members = tuple(members)
        self._is_single = len(self.members) == 1
        self._agent = self.members[0] if self._is_single else _stack(self.members)

    def update(self, segments: Segments, generators: MemberGenerators) -> Metrics:
        """Perform one update of every member on batches [P, B, ...]; metrics [P] stay on the device."""
        return self.learn(segments, generators, self.next_update_kind())

    def next_update_kind(self) -> int:
        return self._agent.next_update_kind()

    def sample_noise(self, segments: Segments, generators: MemberGenerators) -> Noise:
        if self._is_single:
            return self._agent.sample_noise(_only_member(segments), generators[0])
        return self._agent.sample_noise(segments, generators)

    def learn(self, segments: Segments, noise: Noise, kind: int) -> Metrics:
        """See `Agent.learn`; `noise` is the members' generators or the result of `sample_noise`."""
        learn = cast(Any, self._agent).learn
        if not self._is_single:
            return cast(Metrics, learn(segments, noise, kind))
        metrics = learn(_only_member(segments), noise[0] if isinstance(noise, tuple) else noise, kind)
        return {name: value.unsqueeze(0) for name, value in metrics.items()}

    def optimizer_states(self) -> list[dict[str, Tensor]]:
        """Return `Agent.optimizer_state` per member. Counters [] are the same for all members."""
        state = self._agent.optimizer_state()
        if self._is_single:
            return [state]
        return [
            {key: value[member] if value.dim() else value for key, value in state.items()}
            for member in range(len(self.members))
        ]

    def load_optimizer_states(self, states: Sequence[dict[str, Tensor]]) -> None:
        """Load `optimizer_states` of members at the same update; weights are loaded by the members."""
        first = states[0]
        if self._is_single:
            return self._agent.load_optimizer_state(first)
        stacked = {key: torch.stack([state[key] for state in states]) for key, value in first.items() if value.dim()}
        return self._agent.load_optimizer_state({**first, **stacked})


def _only_member(segments: Segments) -> Segments:
    """Return the batch [B, ...] of a population of one from [1, B, ...]."""
    return segments.map(lambda tensor: tensor[0])


def _stack(members: Sequence[Agent]) -> Agent:
    """Return an agent with parameters [P, ...]; the members' parameters become views of them."""
    options = _check_members(members)
    stack = copy.deepcopy(members[0])
    for name, axes in options.items():
        setattr(stack.member_values, name, _member_values(members, name, axes))
    for stacked, *single in zip(stack.parameters(), *(m.parameters() for m in members), strict=True):
        stacked.data = torch.stack([param.data for param in single])
        for param, view in zip(single, stacked.data, strict=True):
            param.data = view
    return stack


def _member_values(members: Sequence[Agent], name: str, axes: int) -> float | Tensor:
    """Return one option of all members, in the form of `Agent.member_values`."""
    values = [getattr(member.member_values, name) for member in members]
    if len(set(values)) == 1:
        return values[0]
    device = next(members[0].parameters()).device
    return torch.tensor(values, device=device).view(-1, *[1] * axes)


def _check_members(members: Sequence[Agent]) -> dict[str, int]:
    """Return the `member_options` of agents that can be stacked; else raise ValueError."""
    name, options = members[0].config.plugin_name(), members[0].member_options
    if options is None:
        raise ValueError(f"agent {name}: cannot be stacked; expected a population of one")
    if len({type(member) for member in members}) > 1:
        raise ValueError(f"a population of agent {name}: members of several classes; expected one class")
    reference, *configs = (member.config.model_dump() for member in members)
    for option in (option for option in reference if option not in options):
        if any(config[option] != reference[option] for config in configs):
            raise ValueError(f"agent.{option}: differs between members of a population; expected one value")
    return options
