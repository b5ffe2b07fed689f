"""Many trials in one process, without Ray: those that can learn in step do so as a population, the others one by one.

A trial's folder holds what `run.run` would leave in it. What members of a population must have in common is what makes
their updates one set of operations: data, agent and its options but for `member_options`, training, evaluation, and
that segments, if any, come from a stream. Seeds, world models, horizons, return-to-go and filters are a member's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Annotated, Any

import torch
from pydantic import Field
from rich.console import Console
from torch import Tensor

from dwm_ray.agents.base import Agent
from dwm_ray.agents.population import Population
from dwm_ray.config import Frozen, RunConfig, fingerprint
from dwm_ray.problem import Problem, default_device, new_agent
from dwm_ray.progress import watched
from dwm_ray.registry import find
from dwm_ray.replay.mixture import Mixture
from dwm_ray.replay.ring import Ring
from dwm_ray.run import conclude_trial, evaluator, run, world_model
from dwm_ray.run_folder import RunFolder, set_status
from dwm_ray.search import Trial
from dwm_ray.sources import admission, mixture, real_ring, supply
from dwm_ray.streams.counters import Counters
from dwm_ray.streams.local import share_of, stored_rings, stream_of
from dwm_ray.training.agent import NonFiniteLoss, finite
from dwm_ray.training.clock import Clock
from dwm_ray.training.learn import Course, milestones
from dwm_ray.training.population import PopulationTrainer
from dwm_ray.training.resume import load_state, resume_folder, save_state, update_kept
from dwm_ray.training.writers import MetricsWriter
from dwm_ray.types import Episodes


class Together(Frozen):
    """Options of programs that can do without Ray."""

    population: Annotated[int, Field(ge=0)] = 0
    """Train up to this many trials of an agent as one, in this process and without Ray: one set of matrix products an
    update, which pays where those of one trial are too small for the machine. 0: every trial on its own, on Ray."""


BATCHES = ("world_model", "synthesis", "filter", "replay")
"""Options that decide what a member's batches are made of."""


def run_here(
    console: Console, trials: Sequence[Trial], run: RunFolder, episodes: Episodes, most_members: int = 1
) -> None:
    """Run trials, with the progress on show and the run's counters kept; see `run_all`."""
    # Networks this small run ten times slower on two threads as soon as another process wants a core.
    torch.set_num_threads(1)
    counters = Counters.here(run)
    with watched(run, len(trials), console, counters.look):
        run_all([trial.config for trial in trials], run, episodes, most_members)
    counters.write()


def run_all(configs: Sequence[RunConfig], folder: RunFolder, episodes: Episodes, most_members: int) -> None:
    """Run all configurations, which learn from the same episodes; one that diverges is recorded in its trial's folder
    and does not stop the rest. A trial that was begun goes on from its last checkpoint."""

    def standing(config: RunConfig) -> int:
        return update_kept(folder.fetched(folder.trial(Trial(config, {}).id)))

    for group in groups(configs, most_members, standing):
        problem = Problem.of(group[0], episodes)
        if len(group) > 1:
            run_population(group, folder, problem)
        else:
            with suppress(NonFiniteLoss):
                run(group[0], folder, problem)


def groups(
    configs: Sequence[RunConfig], most_members: int, standing: Callable[[RunConfig], int] = lambda config: 0
) -> list[list[RunConfig]]:
    """Configurations that can learn as one population, for their trials stand at the same update, in parts of about
    equal size, at most `most_members` each."""
    found: dict[tuple[str, int], list[RunConfig]] = {}
    for config in configs:
        found.setdefault((_in_common(config), standing(config)), []).append(config)
    sizes = {key: math.ceil(len(own) / math.ceil(len(own) / most_members)) for key, own in found.items()}
    return [own[at : at + sizes[key]] for key, own in found.items() for at in range(0, len(own), sizes[key])]


def _in_common(config: RunConfig) -> str:
    """Equal for configurations that can learn as one population."""
    tree, own = config.model_dump(mode="json"), find("agents", config.agent.plugin_name()).member_options
    kind = supply(config)
    if own is None or kind not in ("real", "stream"):
        return fingerprint(tree)
    for name in ("seed", "cluster", *BATCHES):
        del tree[name]
    for name in own:
        del tree["agent"][name]
    return fingerprint([tree, kind, kind == "stream" and admission(config).transitions])


def run_population(configs: Sequence[RunConfig], folder: RunFolder, problem: Problem) -> None:
    """Train, imagine, learn and evaluate as `run` does, all configurations at once; a member that diverges is recorded
    as failed and the others go on."""
    device = default_device()
    agents = [new_agent(config, problem, device) for config in configs]
    sources = _sources(configs, problem, folder, device)
    generators = tuple(torch.Generator(device).manual_seed(config.seed) for config in configs)
    trainer = PopulationTrainer(Population(agents), sources, generators)
    members = [_Member(config, agent, problem, folder) for config, agent in zip(configs, agents, strict=True)]
    before = _resume(trainer, members)
    with ExitStack() as stack:
        for member, seconds in zip(members, before, strict=True):
            stack.callback(folder.push, member.folder)
            writer = stack.enter_context(MetricsWriter(member.folder, trainer.update))
            member.begin(writer, Clock(seconds, len(members)), trainer.update)
        _learn(trainer, members, [mark for mark in milestones(configs[0]) if mark > trainer.update])
        for member in members:
            member.finish(trainer.update)
    for member in members:
        member.forget()


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


def _sources(configs: Sequence[RunConfig], problem: Problem, folder: RunFolder, device: torch.device) -> list[Mixture]:
    """Where each member's batches come from; members that keep the same of a stream share its ring. Shorter segments
    are padded to the longest horizon, which leaves every return as it is."""
    real = real_ring(configs[0], problem, device)
    if supply(configs[0]) == "real":
        return [mixture(configs[0], real, None)] * len(configs)
    rings = _rings(configs, problem, folder, device)
    longest = max((ring.shape for ring in rings.values()), key=lambda shape: shape.horizon)
    for share in rings:  # one by one: a ring as it was is let go before the next is padded
        rings[share] = rings[share].reshaped(longest)
    real = real.reshaped(longest)
    return [mixture(config, real, rings[share_of(config, problem)]) for config in configs]


def _rings(configs: Sequence[RunConfig], problem: Problem, folder: RunFolder, device: torch.device) -> dict[str, Ring]:
    """What the members keep of their streams, by `share_of`."""
    streams: dict[str, list[RunConfig]] = {}
    for config in configs:
        streams.setdefault(stream_of(config, problem).fingerprint, []).append(config)
    rings: dict[str, Ring] = {}
    for own in streams.values():
        rings |= stored_rings(own, problem, world_model(own[0], problem, folder, device), folder, device)
    return rings


class _Member:
    """One trial of a population."""

    def __init__(self, config: RunConfig, agent: Agent, problem: Problem, run: RunFolder) -> None:
        self._config, self._agent, self._problem, self._run = config, agent, problem, run
        self.folder = run.trial(Trial(config, {}).id)
        self._course: Course | None = None
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
        scores = evaluator(self._agent, self._config, self._problem)
        self._course = Course(self._config, writer, scores, self._checkpoint, clock)

    def _checkpoint(self, row: dict[str, Any]) -> None:
        self._due = row["seconds"]

    def keep(self, state: dict[str, Tensor]) -> None:
        """Leave the trainer's state in the trial's folder if a checkpoint is due, and send what is there."""
        if self._due is not None:
            save_state(self.folder, state, self._due)
            self._run.push(self.folder)
            self._due = None

    def reached(self, mark: int, row: dict[str, float]) -> None:
        """A milestone; nothing where it has diverged before."""
        if self._course is None:
            return
        try:
            self._course.reached(mark, finite(row, mark))
        except NonFiniteLoss as error:
            set_status(self.folder, "failed", error=str(error), updates=mark)
            self._course = None

    def finish(self, update: int) -> None:
        """Its last checkpoint and the status `done`, unless it has diverged."""
        if self._course is not None:
            conclude_trial(self.folder, self._agent, self._config, self._problem, update, self._course.final())

    def forget(self) -> None:
        """It is done: nothing will go on from its checkpoint. What has diverged keeps it."""
        if self._course is not None:
            self._run.remove(resume_folder(self.folder))
