"""Train a population of P >= 1 agents.

    run ─► update (`updates`) ─► Population.learn ─► Agent.learn ─► optimizer.step
      ▲ batch [P, B, ...]: every member samples from its own source with its own generator

Metrics are summed on the device; the host reads them once per `run`.
"""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from dwm_ray.agents.base import Agent
from dwm_ray.agents.parts.population import Population
from dwm_ray.options import ExecutionConfig
from dwm_ray.replay.source import BatchSource
from dwm_ray.runs.tensor_files import prefixed, unprefixed
from dwm_ray.training.updates import updates_of
from dwm_ray.types import Segments


class Learner:
    """Agents, their batch sources and their generators.

    Identical states and source rows give bit-identical updates. Members may share a source unless it
    refreshes itself.
    """

    def __init__(
        self,
        agents: Sequence[Agent],
        sources: Sequence[BatchSource],
        generators: Sequence[torch.Generator],
        execution: ExecutionConfig | None = None,
    ) -> None:
        """Raise ValueError for batches of different shapes and for agents that do not support `execution`'s options."""
        if len({(source.shape, source.batch_size) for source in sources}) > 1:
            raise ValueError("training.batch_size, synthesis.horizon: expected batches of one shape for all members")
        self.population = Population(agents)
        self.sources, self.generators = tuple(sources), tuple(generators)
        self.update = 0
        first = self.sources[0]
        self._rows = torch.empty(len(agents), first.batch_size, first.shape.width, device=first.device)
        self._batch = first.shape.split(self._rows)
        self._updates = updates_of(self.population, self.generators, execution or ExecutionConfig())

    def run(self, num_updates: int) -> list[dict[str, float]]:
        """Perform `num_updates` updates of every member; return one row of metrics per member.

        A row holds each metric's mean over the updates that reported it, the source's gauges, and updates per second
        summed over members. Metrics may be infinite or NaN; see `member.Member`.
        """
        means, start = Means(), time.perf_counter()
        for source in self.sources:
            source.begin(self.update)
        for _ in range(num_updates):
            means.add(self._updates(self._next_batch()))
        self.update += num_updates
        rows = means.read(len(self.sources))
        shared = {"num_members": len(rows), "updates_per_s": len(rows) * num_updates / (time.perf_counter() - start)}
        return [{**row, **source.gauges(), **shared} for row, source in zip(rows, self.sources, strict=True)]

    def _next_batch(self) -> Segments:
        """Return segments [P, B, ...] in memory that the next batch overwrites."""
        for source, rows, generator in zip(self.sources, self._rows, self.generators, strict=True):
            source.sample_into(rows, generator)
        return self._batch

    def state_dicts(self) -> list[dict[str, Tensor]]:
        """Return the full state per member as named tensors, except the rows of the sources."""
        members = zip(self.population.members, self.generators, self.population.optimizer_states(), strict=True)
        return [
            {
                "update": torch.tensor(self.update),
                "generator": generator.get_state(),
                **prefixed("agent", agent.state_dict()),
                **prefixed("optimizer", optimizer),
            }
            for agent, generator, optimizer in members
        ]

    def load_state_dicts(self, states: Sequence[dict[str, Tensor]]) -> None:
        """Load `state_dicts`, of any population size and device; raise ValueError if their updates differ."""
        updates = {int(state["update"]) for state in states}
        if len(updates) > 1:
            raise ValueError(f"population: members are at updates {sorted(updates)}; expected one update for all")
        [self.update] = updates
        for agent, generator, state in zip(self.population.members, self.generators, states, strict=True):
            generator.set_state(state["generator"].cpu())
            agent.load_state_dict(unprefixed("agent", state))
        self.population.load_optimizer_states([unprefixed("optimizer", state) for state in states])
        self._updates.forget()


class Means:
    """Running sums of metrics on the device; each has its own count, since actors update less often."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Add an update's metrics [P]; the tensors may be overwritten afterwards. Launches one kernel on a GPU."""
        seen = [name for name in metrics if name in self._sums]
        if seen:
            torch._foreach_add_([self._sums[name] for name in seen], [metrics[name] for name in seen])
        for name, value in metrics.items():
            if name not in self._sums:
                self._sums[name] = value.clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self, num_members: int) -> list[dict[str, float]]:
        """Return the means per member; synchronises with the device."""
        if not self._sums:
            return [{} for _ in range(num_members)]
        rows = torch.stack([value.double().reshape(-1) for value in self._sums.values()], 1).tolist()
        return [{name: total / self._counts[name] for name, total in zip(self._sums, row, strict=True)} for row in rows]
