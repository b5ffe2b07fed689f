"""The agent's training loop: a batch, an update, a metric; no more happens between two log lines.

Metrics are summed on the device, and the host reads them once per `run`.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from dwm_ray.agents.base import Agent
from dwm_ray.options import ExecutionConfig
from dwm_ray.replay.source import BatchSource
from dwm_ray.runs.folder import RunFailed
from dwm_ray.runs.tensor_files import prefixed, unprefixed
from dwm_ray.training.graphed import in_place
from dwm_ray.training.updates import EAGER, updates_of
from dwm_ray.types import Metrics


class NonFiniteLoss(RunFailed):
    """Learning diverged: a metric is infinite or not a number."""


class AgentTrainer:
    """An agent, its batches and its randomness. `generator` draws batches and noise, on the agent's device; equal
    state and equal contents of the source give the same updates, bit for bit."""

    def __init__(
        self, agent: Agent, source: BatchSource, generator: torch.Generator, execution: ExecutionConfig = EAGER
    ) -> None:
        """ValueError where updates cannot be made as options ask for."""
        self.agent = agent
        self.source = source
        self.generator = generator
        self.update = 0
        self._updates = updates_of(agent, agent, generator, execution)
        self._next_batch = (
            in_place(source, generator) if self._updates.in_place else partial(source.next_batch, generator)
        )

    def run(self, num_updates: int) -> dict[str, float]:
        """Make that many updates; returns each metric's mean over the updates that reported it, and the source's
        gauges. NonFiniteLoss where a metric is not finite."""
        means = Means()
        self.source.begin(self.update)
        for _ in range(num_updates):
            means.add(self.step())
        self.update += num_updates
        (metrics,) = means.read()
        return finite(metrics, self.update) | self.source.gauges()

    def step(self) -> Metrics:
        """One update; metrics are on the device, in memory that the next update may overwrite."""
        return self._updates(self._next_batch())

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a resume needs beside the source's contents, as one flat dict."""
        return trainer_state(self.update, self.generator, self.agent, self.agent.optimizer_state())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Inverse of `state_dict`; the tensors may be on any device."""
        self.update = int(state["update"])
        self.generator.set_state(state["generator"].cpu())
        self.agent.load_state_dict(unprefixed("agent", state))
        self.agent.load_optimizer_state(unprefixed("optimizer", state))
        self._updates.forget()


def trainer_state(
    update: int, generator: torch.Generator, agent: Agent, optimizer: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The state of a trainer whose agent's `optimizer_state` is given."""
    return {
        "update": torch.tensor(update),
        "generator": generator.get_state(),
        **prefixed("agent", agent.state_dict()),
        **prefixed("optimizer", optimizer),
    }


def finite(metrics: dict[str, float], update: int) -> dict[str, float]:
    """The metrics; NonFiniteLoss where one of them, read at `update`, is infinite or not a number."""
    broken = [name for name, value in metrics.items() if not math.isfinite(value)]
    if broken:
        raise NonFiniteLoss(
            f"learning diverged before update {update}: {', '.join(broken)} not finite; look at q_mean in the "
            "rows before it, then try agent.target_clip data, a longer synthesis.horizon or a lower learning rate"
        )
    return metrics


class Means:
    """Running sums on the device; actor metrics come more seldom than critic metrics, so each has its own count."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Take in an update's metrics; nothing of them is kept but the sums, in one launch on a GPU."""
        known = [name for name in metrics if name in self._sums]
        if known:
            torch._foreach_add_([self._sums[name] for name in known], [metrics[name] for name in known])
        for name, value in metrics.items():
            if name not in self._sums:
                self._sums[name] = value.clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> list[dict[str, float]]:
        """The one host read: the means of each member of a population, or of the one agent."""
        if not self._sums:
            return [{}]
        rows = torch.stack([value.double().reshape(-1) for value in self._sums.values()], 1).tolist()
        return [{name: total / self._counts[name] for name, total in zip(self._sums, row, strict=True)} for row in rows]
