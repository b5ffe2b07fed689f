"""One population, end to end: trials that learn in step, each with a folder as it would have alone.

Members go on from the states in their folders' `resume`, with Ray and without; what differs is where rings come from
(`Imagined`) and who hears of rows (`Told`). A member that diverges is recorded as failed and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dwm_ray.agents.base import Agent
from dwm_ray.agents.parts.build import new_agent
from dwm_ray.agents.parts.population import Population
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.devices import device_for
from dwm_ray.experiment.search_space import Trial
from dwm_ray.local.blocks import stored_rings
from dwm_ray.local.run import conclude_trial, evaluator, world_model
from dwm_ray.replay.mixture import Mixture
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.sharing import by_stream, stream_key
from dwm_ray.replay.sources import mixture, real_ring, selection, source_kind
from dwm_ray.runs.clock import Clock
from dwm_ray.runs.folder import RunFolder, set_status
from dwm_ray.training.agent import NonFiniteLoss, finite
from dwm_ray.training.learn import TrialLoop, milestones
from dwm_ray.training.population import PopulationTrainer
from dwm_ray.training.resume import load_state, resume_folder, save_state
from dwm_ray.training.writers import MetricsWriter


@dataclass(frozen=True)
class Held:
    """A ring of imagined rows, and its numbers for the rows of metrics of who learns from it."""

    ring: Ring
    gauges: Callable[[], dict[str, float]] = dict


Imagined = Callable[
    [Sequence[RunConfig], TaskData, RunFolder, torch.device], AbstractContextManager[Mapping[str, Held]]
]
"""Members with streams -> what they keep of them by `stream_key`, all rows of one shape, for as long as they learn."""
Told = Callable[[str, dict[str, Any]], None]
"""Hears of each row of metrics and evaluations with its trial's id."""


@contextmanager
def stored(
    configs: Sequence[RunConfig], task_data: TaskData, folder: RunFolder, device: torch.device
) -> Iterator[dict[str, Held]]:
    """Without Ray: whole streams, drawn here where their blocks are not stored yet."""
    rings: dict[str, Ring] = {}
    for own in by_stream(configs, task_data):
        model = world_model(own[0], task_data, folder, device)
        rings |= stored_rings(own, task_data, model, folder, device, longest(configs))
    yield {share: Held(ring) for share, ring in rings.items()}


def longest(configs: Sequence[RunConfig]) -> int:
    """The horizon that all members' rows are padded to; 1 where they learn step by step."""
    kept = [selection(config) for config in configs]
    return max(1 if admit.transitions else admit.horizon for admit in kept)


def nobody(trial: str, row: dict[str, Any]) -> None:
    """Without Ray nobody hears of rows; they are in the folder."""


def run_population(
    configs: Sequence[RunConfig],
    folder: RunFolder,
    task_data: TaskData,
    imagined: Imagined = stored,
    told: Told = nobody,
) -> None:
    """Train, imagine, learn and evaluate as `run` does, all configurations at once."""
    device = device_for(configs[0])
    agents = [new_agent(config, task_data, device) for config in configs]
    generators = tuple(torch.Generator(device).manual_seed(config.seed) for config in configs)
    with ExitStack() as stack:
        held: Mapping[str, Held] = {}
        if source_kind(configs[0]) == "stream":
            held = stack.enter_context(imagined(configs, task_data, folder, device))
        shares = [held[stream_key(config, task_data)] if held else None for config in configs]
        sources = _sources(configs, task_data, shares, device)
        trainer = PopulationTrainer(Population(agents), sources, generators, configs[0].execution)
        every = zip(configs, agents, shares, strict=True)
        members = [_Member(config, agent, task_data, folder, share) for config, agent, share in every]
        _run_members(members, trainer, milestones(configs[0]), told, stack)
    for member in members:
        member.forget()


def _run_members(
    members: Sequence[_Member], trainer: PopulationTrainer, marks: Sequence[int], told: Told, stack: ExitStack
) -> None:
    """Take the members from their last checkpoints to their ends; `stack` closes what each writes."""
    before = _resume(trainer, members)
    for member, seconds in zip(members, before, strict=True):
        stack.callback(member.push)
        writer = stack.enter_context(MetricsWriter(member.folder, trainer.update, partial(told, member.trial)))
        member.begin(writer, Clock(seconds, len(members)), trainer.update)
    _learn(trainer, members, [mark for mark in marks if mark > trainer.update])
    for member in members:
        member.finish(trainer.update)


def _resume(trainer: PopulationTrainer, members: Sequence[_Member]) -> list[float]:
    """Load the states that members have kept, if they have; returns the seconds of work that each has spent."""
    kept = [found for member in members if (found := load_state(member.folder))]
    if kept:
        trainer.load_state_dicts([state for state, _ in kept])
    return [seconds for _, seconds in kept] or [0.0] * len(members)


def _learn(trainer: PopulationTrainer, members: Sequence[_Member], marks: Sequence[int]) -> None:
    """Take the members from milestone to milestone, as long as one of them learns. Their states are kept together, once
    all have been scored, so that a group that is cut off stands at one update."""
    for mark in marks:
        for member, row in zip(members, trainer.run(mark - trainer.update), strict=True):
            member.reached(mark, row)
        if any(member.due for member in members):
            for member, state in zip(members, trainer.state_dicts(), strict=True):
                member.keep(state)
        if not any(member.learns for member in members):
            break


def _sources(
    configs: Sequence[RunConfig], task_data: TaskData, shares: Sequence[Held | None], device: torch.device
) -> list[Mixture]:
    """Where each member's batches come from; they share the ring of recorded transitions."""
    real = real_ring(configs[0], task_data, device)
    if shares[0] is not None:
        real = real.reshaped(shares[0].ring.shape)
    rings = [share.ring if share else None for share in shares]
    return [mixture(config, real, ring) for config, ring in zip(configs, rings, strict=True)]


class _Member:
    """One trial of a population."""

    def __init__(
        self, config: RunConfig, agent: Agent, task_data: TaskData, run: RunFolder, share: Held | None
    ) -> None:
        self._config, self._agent, self._task_data, self._run = config, agent, task_data, run
        self._gauges = share.gauges if share else dict
        self.trial = Trial(config, {}).id
        self.folder = run.trial(self.trial)
        self._course: TrialLoop | None = None
        self._due: float | None = None
        """Seconds of work, where a checkpoint is due."""

    @property
    def learns(self) -> bool:
        """False where it has diverged, or has not begun."""
        return self._course is not None

    @property
    def due(self) -> bool:
        """Is a checkpoint due?"""
        return self._due is not None

    def begin(self, writer: MetricsWriter, clock: Clock, update: int) -> None:
        set_status(self.folder, "running", updates=update)
        scores = evaluator(self._agent, self._config, self._task_data)
        self._course = TrialLoop(self._config, writer, scores, self._checkpoint, clock)

    def _checkpoint(self, row: dict[str, Any]) -> None:
        self._due = row["seconds"]

    def keep(self, state: dict[str, Tensor]) -> None:
        """Leave the trainer's state in the trial's folder if a checkpoint is due, and send what is there."""
        if self._due is not None:
            save_state(self.folder, state, self._due)
            self.push()
            self._due = None

    def push(self) -> None:
        """Send what is there to the run's storage."""
        self._run.push(self.folder)

    def reached(self, mark: int, row: dict[str, float]) -> None:
        """A milestone; nothing where it has diverged before."""
        if self._course is None:
            return
        try:
            self._course.reached(mark, finite(row, mark) | self._gauges())
        except NonFiniteLoss as error:
            set_status(self.folder, "failed", error=str(error), updates=mark)
            self._course = None

    def finish(self, update: int) -> None:
        """Its last checkpoint and the status `done`, unless it has diverged."""
        if self._course is not None:
            conclude_trial(self.folder, self._agent, self._config, self._task_data, update, self._course.final())

    def forget(self) -> None:
        """It is done: nothing will go on from its checkpoint. What has diverged keeps it."""
        if self._course is not None:
            self._run.remove(resume_folder(self.folder))
