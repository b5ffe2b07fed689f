"""The loop of a population: one gradient step of all members, each from batches that its own generator draws."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from dwm_ray.agents.parts.population import Population
from dwm_ray.options import ExecutionConfig
from dwm_ray.replay.mixture import Mixture
from dwm_ray.runs.tensor_files import unprefixed
from dwm_ray.training.agent import Means, trainer_state
from dwm_ray.training.updates import EAGER, updates_of
from dwm_ray.types import Metrics, Segments


class PopulationTrainer:
    """`AgentTrainer` for P agents: member p learns what it would alone from `sources[p]` and `generators[p]`. Members
    may share a source: it has no state that a draw depends on."""

    def __init__(
        self,
        population: Population,
        sources: Sequence[Mixture],
        generators: tuple[torch.Generator, ...],
        execution: ExecutionConfig = EAGER,
    ) -> None:
        """ValueError for batches of different shapes, and where updates cannot be made as options ask for."""
        self.population, self.sources, self.generators = population, tuple(sources), generators
        self.update = 0
        first = self.sources[0]
        if len({(source.shape, source.batch_size) for source in sources}) > 1:
            raise ValueError("training.batch_size, synthesis.horizon: expected batches of one shape for all members")
        self._rows = torch.empty(len(self.sources), first.batch_size, first.shape.width, device=first.device)
        self._updates = updates_of(population, population.members[0], generators, execution)

    def run(self, num_updates: int) -> list[dict[str, float]]:
        """Make that many updates of every member; returns a row per member: each metric's mean over the updates that
        reported it - not checked, for one member's divergence does not concern the others -, the gauges of its source,
        and updates per second, summed over members."""
        means, started = Means(), time.perf_counter()
        for _ in range(num_updates):
            means.add(self.step())
        self.update += num_updates
        rows = means.read()
        shared = {"num_members": len(rows), "updates_per_s": len(rows) * num_updates / (time.perf_counter() - started)}
        return [{**row, **source.gauges(), **shared} for row, source in zip(rows, self.sources, strict=True)]

    def state_dicts(self) -> list[dict[str, Tensor]]:
        """Of every member, as `AgentTrainer.state_dict` would have it."""
        parts = zip(self.generators, self.population.members, self.population.optimizer_states(), strict=True)
        return [trainer_state(self.update, *part) for part in parts]

    def load_state_dicts(self, states: Sequence[dict[str, Tensor]]) -> None:
        """Inverse of `state_dicts`, also with states of trainers of single agents. ValueError where they are not all of
        one update."""
        updates = {int(state["update"]) for state in states}
        if len(updates) > 1:
            raise ValueError(f"members of a population stand at updates {sorted(updates)}; expected one update for all")
        [self.update] = updates
        for agent, generator, state in zip(self.population.members, self.generators, states, strict=True):
            generator.set_state(state["generator"].cpu())
            agent.load_state_dict(unprefixed("agent", state))
        self.population.load_optimizer_states([unprefixed("optimizer", state) for state in states])
        self._updates.forget()

    def step(self) -> Metrics:
        """One update of every member; metrics [P] are on the device, in memory that the next one may overwrite."""
        return self._updates(self._next_batch())

    def _next_batch(self) -> Segments:
        """[P, B] segments, in memory that the next batch overwrites."""
        for source, rows, generator in zip(self.sources, self._rows, self.generators, strict=True):
            source.draw_into(rows, generator)
        return self.sources[0].shape.split(self._rows)
