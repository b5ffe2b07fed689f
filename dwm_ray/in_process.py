"""Many trials in one process, without Ray: those that can learn in step do so as a population, the others one by one.

A trial's folder holds what `run.run` would leave in it. What members of a population must have in common is what makes
their updates one set of operations: data, agent and its options but for `member_options`, training, evaluation, and
that segments, if any, come from a stream. Seeds, world models, horizons, return-to-go and filters are a member's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Annotated

import torch
from pydantic import Field
from rich.console import Console

from dwm_ray.agents.base import Agent
from dwm_ray.agents.population import Population
from dwm_ray.config import Frozen, RunConfig, fingerprint
from dwm_ray.problem import Problem, default_device, load_problem, new_agent
from dwm_ray.progress import watched
from dwm_ray.registry import find
from dwm_ray.replay.mixture import Mixture
from dwm_ray.run import conclude_trial, evaluator, imagined_ring, run, world_model
from dwm_ray.run_folder import RunFolder, set_status
from dwm_ray.search import Trial
from dwm_ray.sources import admission, mixture, real_ring, supply
from dwm_ray.training.agent import NonFiniteLoss, finite
from dwm_ray.training.clock import Clock
from dwm_ray.training.learn import Course, milestones
from dwm_ray.training.population import PopulationTrainer
from dwm_ray.training.writers import MetricsWriter


class Together(Frozen):
    """Options of programs that can do without Ray."""

    population: Annotated[int, Field(ge=0)] = 0
    """Train up to this many trials of an agent as one, in this process and without Ray: one set of matrix products an
    update, which pays where those of one trial are too small for the machine. 0: every trial on its own, on Ray."""


BATCHES = ("world_model", "synthesis", "filter", "replay")
"""Options that decide what a member's batches are made of."""


def run_here(console: Console, trials: Sequence[Trial], run: RunFolder, most_members: int) -> None:
    """Run trials, with the progress on show; see `run_all`."""
    # Networks this small run ten times slower on two threads as soon as another process wants a core.
    torch.set_num_threads(1)
    with watched(run, len(trials), console, lambda: None):
        run_all([trial.config for trial in trials], run, most_members)


def run_all(configs: Sequence[RunConfig], folder: RunFolder, most_members: int) -> None:
    """Run all configurations; one that diverges is recorded in its trial's folder and does not stop the rest."""
    for group in groups(configs, most_members):
        if len(group) > 1:
            run_population(group, folder)
        else:
            with suppress(NonFiniteLoss):
                run(group[0], folder)


def groups(configs: Sequence[RunConfig], most_members: int) -> list[list[RunConfig]]:
    """Configurations that can learn as one population, in parts of about equal size, at most `most_members` each."""
    found: dict[str, list[RunConfig]] = {}
    for config in configs:
        found.setdefault(_in_common(config), []).append(config)
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


def run_population(configs: Sequence[RunConfig], folder: RunFolder) -> None:
    """Train, imagine, learn and evaluate as `run` does, all configurations at once; a member that diverges is recorded
    as failed and the others go on."""
    problem, device = load_problem(configs[0]), default_device()
    agents = [new_agent(config, problem, device) for config in configs]
    sources = _sources(configs, problem, folder, device)
    generators = tuple(torch.Generator(device).manual_seed(config.seed) for config in configs)
    trainer = PopulationTrainer(Population(agents), sources, generators)
    members = [_Member(config, agent, problem, folder) for config, agent in zip(configs, agents, strict=True)]
    with ExitStack() as stack:
        clock = Clock(num_members=len(members))
        for member in members:
            stack.callback(folder.push, member.folder)
            member.begin(stack.enter_context(MetricsWriter(member.folder)), clock)
        for mark in milestones(configs[0]):
            for member, row in zip(members, trainer.run(mark - trainer.update), strict=True):
                member.reached(mark, row)
            if not any(member.learns for member in members):
                break
        for member in members:
            member.finish(trainer.update)


def _sources(configs: Sequence[RunConfig], problem: Problem, folder: RunFolder, device: torch.device) -> list[Mixture]:
    """Where each member's batches come from; members with the same options of them share one. Shorter segments are
    padded to the longest horizon, which leaves every return as it is."""
    real = real_ring(configs[0], problem, device)
    if supply(configs[0]) == "real":
        return [mixture(configs[0], real, None)] * len(configs)
    keys = [fingerprint([config.model_dump(mode="json")[name] for name in BATCHES]) for config in configs]
    distinct = dict(zip(keys, configs, strict=True))
    models = {key: world_model(config, problem, folder, device) for key, config in distinct.items()}
    rings = {key: imagined_ring(config, problem, models[key], device) for key, config in distinct.items()}
    longest = max((ring.shape for ring in rings.values()), key=lambda shape: shape.horizon)
    mixtures = {key: mixture(config, real, rings[key].reshaped(longest)) for key, config in distinct.items()}
    return [mixtures[key] for key in keys]


class _Member:
    """One trial of a population."""

    def __init__(self, config: RunConfig, agent: Agent, problem: Problem, run: RunFolder) -> None:
        self._config, self._agent, self._problem, self._run = config, agent, problem, run
        self.folder = run.trial(Trial(config, {}).id)
        self._course: Course | None = None

    @property
    def learns(self) -> bool:
        """False where it has diverged, or has not begun."""
        return self._course is not None

    def begin(self, writer: MetricsWriter, clock: Clock) -> None:
        set_status(self.folder, "running", updates=0)
        scores = evaluator(self._agent, self._config, self._problem)
        self._course = Course(self._config, writer, scores, lambda row: self._run.push(self.folder), clock)

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
