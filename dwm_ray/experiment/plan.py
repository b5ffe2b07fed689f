"""From a sweep's options to its trials: axes, agents, seeds, and the model-free runs that they are compared with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import zip_longest
from typing import Annotated, Literal

from pydantic import Field

from dwm_ray.config import RunConfig
from dwm_ray.experiment import profiles
from dwm_ray.experiment.dimension import Dimension, Value
from dwm_ray.experiment.profiles import Profile
from dwm_ray.experiment.search_space import Plan, Point, Trial, find_dimension, grid, parse_dimension, random_points
from dwm_ray.options import Frozen, PositiveInt, fingerprint
from dwm_ray.world_models.base import model_options

Population = Sequence[Trial]
"""Trials of one learner."""


class SweepConfig(Frozen):
    """What is searched, and how."""

    dimensions: tuple[str, ...] = ("horizon", "target_rtg")
    """Axes of the search, from the list above; NAME=V1,V2 gives one other values, and PATH=V1,V2 makes an axis of any
    option (agent.alpha=1,2.5)."""
    agents: tuple[str, ...] = ("td3_bc", "iql")
    """Agents that every point of the search is tried with."""
    world_models: tuple[str, ...] = ()
    """World models that every point is tried with; none given: the one of --world-model."""
    baselines: bool = True
    """Also run every agent model-free, at equal updates."""
    seeds: PositiveInt = 1
    """Runs of every point, with seeds 0, 1, ... (these take the place of --seed)."""
    search: Literal["grid", "random", "optuna"] = "grid"
    """grid: every combination; random: --num-samples of them; optuna: that many, chosen by the scores so far (TPE)."""
    num_samples: PositiveInt = 8
    """Points per agent and seed, for random and optuna."""
    search_seed: int = 0
    """Seeds random and optuna."""
    scheduler: Literal["fifo", "asha"] = "fifo"
    """asha stops trials early whose score lags behind; fifo runs every trial to its end."""
    grace_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Fraction of a trial's updates before asha may stop it."""


def axes_of(sweep: SweepConfig, profile: Profile) -> dict[str, tuple[Dimension, tuple[Value, ...]]]:
    """The axes of a sweep with the values that its profile gives them."""
    found = [parse_dimension(text) for text in sweep.dimensions]
    return {axis.name: (axis, axis.for_profile(profile)) for axis in found}


def bases_of(sweep: SweepConfig, run: RunConfig, profile: Profile, given: Collection[str] = ()) -> list[RunConfig]:
    """The run's options once per world model and agent: flags (those `given`, or not at their default) stay, the rest
    is as each method has it."""
    models = sweep.world_models or (profiles.name_of(run.world_model),)
    return [profiles.with_method(run, profile, model, agent, given) for model in models for agent in sweep.agents]


def baseline_of(base: RunConfig, profile: Profile, given: Collection[str]) -> RunConfig | None:
    """The same agent model-free; None where the base is that already, or its agent cannot do without a model."""
    if base.world_model is None or base.agent.plugin.plans:
        return None
    return profiles.with_method(base, profile, "none", base.agent.plugin_name(), given)


def effective(base: RunConfig, point: Point) -> Point:
    """A point without the axes that do nothing with a base's world model, so that no trial is run twice."""
    if base.world_model is None:
        return point
    idle = set() if base.world_model.plugin.uses_rtg else {"target_rtg"}
    if not model_options(base).has_penalty:
        idle.add("penalty_weight")
    return {name: value for name, value in point.items() if name not in idle}


def with_required(run: RunConfig, sweep: SweepConfig, profile: Profile) -> RunConfig:
    """The run with the plug-ins that its axes need (keep_ratio needs a filter that has one)."""
    for axis, _ in axes_of(sweep, profile).values():
        group, _, leaf = axis.path.partition(".")
        if axis.requires and not hasattr(getattr(run, group), leaf):
            kind, plugin = axis.requires
            run = run.model_copy(update={kind: profiles.plugin(f"{kind}s", plugin, profile)})
    return run


def seed_points(sweep: SweepConfig, axes: Collection[str]) -> list[Point]:
    """One point per seed; none of its own where seeds are an axis already."""
    return [{}] if "seed" in axes else [{"seed": seed} for seed in range(sweep.seeds)]


def make_plan(sweep: SweepConfig, run: RunConfig, profile: Profile, given: Collection[str] = ()) -> Plan:
    """All trials of a grid or random sweep, and the baselines. (Optuna's trials are chosen as the sweep goes.)"""
    axes = axes_of(sweep, profile)
    known = {"seed": find_dimension("seed"), **{name: axis for name, (axis, _) in axes.items()}}
    plan = Plan()
    values = {name: choices for name, (_, choices) in axes.items()}
    points = grid(values.items())
    if sweep.search == "random":
        points = random_points(values, sweep.num_samples, sweep.search_seed)
    for base in bases_of(sweep, with_required(run, sweep, profile), profile, given):
        for seed in seed_points(sweep, axes):
            if sweep.baselines and (baseline := baseline_of(base, profile, given)):
                plan.add(baseline, seed, known)
            for point in points if sweep.search != "optuna" else []:
                plan.add(base, {**effective(base, point), **seed}, known)
    plan.trials = in_order_alone(plan.trials)
    return plan


def in_order_alone(trials: Sequence[Trial]) -> list[Trial]:
    """Return trials in the order of `in_order`, if each has a learner of its own."""
    return [trial for population in in_order([(trial,) for trial in trials]) for trial in population]


def in_order(populations: Sequence[Population]) -> list[Population]:
    """Return the order in which populations start that run in parallel.

    Populations that train a world model start first, alternating with model-free ones, which need not wait; then the
    rest. Within each group longer ones start first, so that no processor waits for a long one at the end.
    """
    first, model_free, rest = list[Population](), list[Population](), list[Population]()
    started: set[str] = set()
    for population in sorted(populations, key=_flops, reverse=True):
        models = _world_models(population)
        (first if models - started else rest if models else model_free).append(population)
        started |= models
    pairs = zip_longest(first, model_free)
    return [population for pair in pairs for population in pair if population] + rest


def _flops(population: Population) -> float:
    """Return the relative FLOPs of a population's updates."""
    return sum(_trial_flops(trial.config) for trial in population)


def _trial_flops(config: RunConfig) -> float:
    update = config.agent.plugin.relative_flops
    if config.world_model is not None:
        update += config.world_model.plugin.relative_flops
    return float(update * config.training.num_updates * config.training.batch_size)


def _world_models(population: Population) -> set[str]:
    """Return keys of the world models that the trials learn from."""
    models = [model_options(trial.config) for trial in population if trial.config.world_model is not None]
    return {fingerprint([model.plugin_name(), model.training_options()]) for model in models}
