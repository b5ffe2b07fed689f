"""Train trials end to end: build agents and batch sources, then learn from milestone to milestone.

All executors call `train_trials`; they differ in the `services` they pass.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import torch

from dwm_ray.agents.base import Agent, new_agent
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.devices import device_for
from dwm_ray.evaluation.evaluators import new_evaluators
from dwm_ray.replay.on_policy import OnPolicySource, RolloutContext
from dwm_ray.replay.recorded import recorded_sources
from dwm_ray.replay.ring import Ring
from dwm_ray.replay.source import BatchSource
from dwm_ray.replay.sources import (
    InlineSource,
    mixture,
    recorded_ring,
    recorded_rows,
    ring_key,
    row_horizon,
    selection,
    source_kind,
    start_rtg,
)
from dwm_ray.runs.clock import Clock
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.checkpoints import remove_checkpoint
from dwm_ray.training.learner import Learner
from dwm_ray.training.member import Member, milestones
from dwm_ray.training.services import RingWithGauges, Services


def train_trials(configs: Sequence[RunConfig], task_data: TaskData, run: RunFolder, services: Services) -> None:
    """Train trials that can form a population (`experiment.grouping`), each from its last checkpoint to the end.

    Results are in the trials' folders. A trial that diverges gets the status `failed`; the others continue.
    """
    device = device_for(configs[0])
    with ExitStack() as stack:
        rows: Mapping[str, RingWithGauges] = {}
        if source_kind(configs[0]) == "stream":
            rows = stack.enter_context(services.streams(configs))
        per_member = [rows[ring_key(config, task_data)] if rows else None for config in configs]
        rings = [stream.ring if stream else None for stream in per_member]
        learner = build_learner(configs, task_data, device, services, rings)
        gauges = [stream.gauges if stream else dict for stream in per_member]
        per_trial = zip(configs, learner.population.members, gauges, strict=True)
        evaluators = new_evaluators(configs, task_data, services.world_model, device)
        members = [
            Member(config, agent, task_data, run, evaluator, gauge)
            for (config, agent, gauge), evaluator in zip(per_trial, evaluators, strict=True)
        ]
        _learn(learner, members, services)
    for member in members:
        remove_checkpoint(run, member.folder)


def build_learner(
    configs: Sequence[RunConfig],
    task_data: TaskData,
    device: torch.device,
    services: Services,
    imagined: Sequence[Ring | None],
) -> Learner:
    """Build the learner at its first update; `imagined` holds each member's ring of imagined rows, if it has one."""
    kind = source_kind(configs[0])
    generators = [torch.Generator(device).manual_seed(config.seed) for config in configs]
    agents = [build_agent(config, task_data, services, device) for config in configs]
    recorded = recorded_ring(configs[0], task_data, device)
    if "recorded" in map(source_kind, configs):
        sources = recorded_sources(configs, task_data, device)
    elif kind in ("transitions", "stream"):
        longest = max(map(row_horizon, configs, imagined))
        rows = [recorded_rows(config, task_data, recorded, longest) for config in configs]
        sources = [mixture(*per_member, longest) for per_member in zip(configs, rows, imagined, strict=True)]
    else:
        per_member = zip(configs, agents, generators, strict=True)
        sources = [policy_source(*arguments, recorded, task_data, services) for arguments in per_member]
    return Learner(agents, sources, generators, configs[0].execution)


def build_agent(config: RunConfig, task_data: TaskData, services: Services, device: torch.device) -> Agent:
    """Build the run's agent and attach its world model if it plans."""
    agent = new_agent(config, task_data, device)
    if agent.plans:
        agent.attach(services.world_model(config), config.synthesis.planned_rtg)
    return agent


def policy_source(
    config: RunConfig, agent: Agent, generator: torch.Generator, recorded: Ring, task_data: TaskData, services: Services
) -> BatchSource:
    """Build the batch source of a run whose world model follows the policy."""
    model, rule = services.world_model(config), task_data.task.termination
    rtg = start_rtg(config, task_data, recorded.device)
    if source_kind(config) == "inline":
        return InlineSource(config, recorded, model, agent, rule, generator, rtg)
    starts = task_data.start_pairs(config.training.discount, recorded.device)
    context = RolloutContext(model, starts, rule, selection(config), rtg)
    rows = recorded_rows(config, task_data, recorded, config.synthesis.horizon)
    return OnPolicySource(config, rows, services.rollouts(config, context), agent)


def _learn(learner: Learner, members: Sequence[Member], services: Services) -> None:
    """Train from milestone to milestone until the last update, or until every member has failed.

    States are saved before the members are evaluated, so that no updates are lost if an environment fails. A resumed
    population first runs the evaluation of its checkpoint if it is missing.
    """
    seconds = _resume(learner, members)
    with ExitStack() as stack:
        for member, spent in zip(members, seconds, strict=True):
            stack.enter_context(member.running(learner.update, Clock(spent, len(members)), services.on_row))
        for member in members:
            member.evaluate_if_due(learner.update)
        for update in [update for update in milestones(members[0].config) if update > learner.update]:
            for member, row in zip(members, learner.run(update - learner.update), strict=True):
                member.on_milestone(update, row)
            _save(learner, members, update)
            for member in members:
                member.evaluate_if_due(update)
            if all(member.failed for member in members):
                break
        for member in members:
            member.finish(learner.update)


def _save(learner: Learner, members: Sequence[Member], update: int) -> None:
    due = [member.checkpoint_due(update) for member in members]
    if any(due):
        for member, state, is_due in zip(members, learner.state_dicts(), due, strict=True):
            if is_due:
                member.save(state)


def _resume(learner: Learner, members: Sequence[Member]) -> list[float]:
    """Load the members' checkpoints, if there are any; return the seconds that each has spent."""
    saved = [state for member in members if (state := member.saved_state())]
    if saved:
        learner.load_state_dicts([state for state, _ in saved])
    return [seconds for _, seconds in saved] or [0.0] * len(members)
