"""Trials of a sweep: axes, agents, seeds, and baselines without a model."""

from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest
from typing import Annotated, Literal

from pydantic import Field

from dwm_ray.config import RunConfig
from dwm_ray.experiment import profiles
from dwm_ray.experiment.dimension import Dimension, Value
from dwm_ray.experiment.relative_cost import relative_cost
from dwm_ray.experiment.search_space import Plan, Point, Trial, find_dimension, grid, parse_dimension, random_points
from dwm_ray.options import Frozen, PositiveInt, Profile, ReplayConfig, SynthesisConfig, fingerprint
from dwm_ray.world_models.base import trained_options

BASELINES = ("none", "recorded")
"""Baselines of a sweep: no world model, and one without training."""
Population = Sequence[Trial]
"""Trials of one learner."""
PENALTY_OPTIONS = ("agent.penalty_weight", "agent.max_penalty_ratio")
"""Agent options that are read only for rows of models with a penalty."""
IMAGINED_OPTIONS = ("agent.imagined_expectile", *PENALTY_OPTIONS)
"""Agent options that are read only for imagined rows."""
NOT_RECORDED = (
    *(f"synthesis.{name}" for name in SynthesisConfig.model_fields if name != "horizon"),
    *(f"replay.{name}" for name in ReplayConfig.model_fields if name != "real_ratio"),
    "filter",
)
"""Options of imagined segments that recorded futures do not use."""


class SweepConfig(Frozen):
    """Search space and search algorithm of a sweep."""

    dimensions: tuple[str, ...] = ("horizon", "target_rtg")
    """Axes of the search, from the list above. NAME=V1,V2 sets the values of an axis; PATH=V1,V2 searches any option
    (agent.alpha=1,2.5). With the profile laptop, a grid has no axis by default."""
    agents: tuple[str, ...] = ("td3_bc", "iql")
    """Agents to train at every point of the search."""
    world_models: tuple[str, ...] = ()
    """World models to use at every point; default: --world-model."""
    baselines: bool = True
    """Also train every agent model-free and, at each horizon, with recorded futures, for the same number of updates."""
    seeds: PositiveInt = 1
    """Runs per point, with seeds 0, 1, ... instead of --seed. With the profile laptop, the default is 2."""
    search: Literal["grid", "random", "optuna"] = "grid"
    """grid: every combination. random: --num-samples combinations. optuna: --num-samples points chosen from earlier
    scores (TPE)."""
    num_samples: PositiveInt = 8
    """Points per agent and seed in random and optuna searches."""
    search_seed: int = 0
    """Seed of the random and optuna searches."""
    scheduler: Literal["fifo", "asha"] = "fifo"
    """asha: stop trials with low scores early. fifo: run every trial to its end."""
    grace_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Fraction of a trial's updates before asha may stop it."""


def axes_of(sweep: SweepConfig, profile: Profile) -> dict[str, tuple[Dimension, tuple[Value, ...]]]:
    """Return the axes of a sweep and their values for a profile."""
    axes = [parse_dimension(text) for text in sweep.dimensions]
    return {axis.name: (axis, axis.for_profile(profile)) for axis in axes}


def bases_of(sweep: SweepConfig, run: RunConfig, profile: Profile, explicit: Collection[str] = ()) -> list[RunConfig]:
    """Return the run with each method, its defaults except for `explicit` flags, and the plug-ins that axes require."""
    models = sweep.world_models or (profiles.name_of(run.world_model),)
    bases = [profiles.with_method(run, profile, model, agent, explicit) for model in models for agent in sweep.agents]
    return [with_required(base, sweep, profile) for base in bases]


def baselines_of(base: RunConfig, profile: Profile, explicit: Collection[str]) -> list[RunConfig]:
    """Return model-free and recorded-future runs of the same agent; none if the agent needs a world model."""
    if base.world_model is None or base.agent.plugin.plans:
        return []
    agent, unfiltered = base.agent, base.with_values({"filter": "keep_all"})
    flags = [path for path in explicit if path != "filter"]
    candidates = BASELINES if agent.plugin.has_critic else BASELINES[:1]
    names = [name for name in candidates if name != profiles.name_of(base.world_model)]
    return [profiles.with_method(unfiltered, profile, name, agent.plugin_name(), flags) for name in names]


def effective(base: RunConfig, point: Point, paths: Mapping[str, str]) -> Point:
    """Return a point without the axes (`paths` by axis) that do not affect the base, so that no trial runs twice."""
    unused = (*unused_options(base), *(["world_model."] if trained_options(base) is None else []))
    return {name: value for name, value in point.items() if not paths[name].startswith(unused)}


def unused_options(base: RunConfig) -> tuple[str, ...]:
    """Return the path prefixes of the options of imagined segments that a method does not read."""
    if base.world_model is None:
        return ("synthesis.", "filter", "replay.", *IMAGINED_OPTIONS)
    model = trained_options(base)
    if model is None:
        return (*NOT_RECORDED, *IMAGINED_OPTIONS)
    unused = tuple(f"world_model.{name}" for name in sorted(model.unused))
    unused += () if model.plugin.uses_rtg else ("synthesis.target_rtg",)
    return unused if model.has_penalty else (*unused, *PENALTY_OPTIONS)


def with_required(run: RunConfig, sweep: SweepConfig, profile: Profile) -> RunConfig:
    """Return the run with the plug-ins that the axes require (keep_ratio requires a filter with that option)."""
    for axis, _ in axes_of(sweep, profile).values():
        group, _, leaf = axis.path.partition(".")
        is_read = not axis.path.startswith(unused_options(run))
        if axis.requires and is_read and not hasattr(getattr(run, group), leaf):
            kind, plugin = axis.requires
            run = run.model_copy(update={kind: profiles.plugin(f"{kind}s", plugin, profile)})
    return run


def make_plan(sweep: SweepConfig, run: RunConfig, profile: Profile, explicit: Collection[str] = ()) -> Plan:
    """Return the baselines and all trials of a grid or random sweep; Optuna chooses its trials during the sweep."""
    axes = axes_of(sweep, profile)
    used_axes = {"seed": find_dimension("seed"), **{name: axis for name, (axis, _) in axes.items()}}
    paths = {name: axis.path for name, axis in used_axes.items()}
    plan = Plan()
    values = {name: choices for name, (_, choices) in axes.items()}
    points = grid(values.items())
    if sweep.search == "random":
        points = random_points(values, sweep.num_samples, sweep.search_seed)
    seeds: list[Point] = [{}] if "seed" in axes else [{"seed": seed} for seed in range(sweep.seeds)]
    for base in bases_of(sweep, run, profile, explicit):
        for seed in seeds:
            for baseline in baselines_of(base, profile, explicit) if sweep.baselines else []:
                for horizon in dict.fromkeys(point.get("horizon") for point in points):
                    point = {} if horizon is None else effective(baseline, {"horizon": horizon}, paths)
                    plan.add(baseline, {**point, **seed}, used_axes)
            for point in points if sweep.search != "optuna" else []:
                plan.add(base, {**effective(base, point, paths), **seed}, used_axes)
    plan.trials = trial_start_order(plan.trials)
    return plan


def trial_start_order(trials: Sequence[Trial]) -> list[Trial]:
    """Return the start order of trials with separate learners."""
    return [trial for population in start_order([(trial,) for trial in trials]) for trial in population]


def start_order(populations: Sequence[Population]) -> list[Population]:
    """Return the start order of populations that run in parallel.

    Populations that train a world model start first, alternating with model-free ones, which do not wait for one.
    Within each group, longer populations start first, so that no processor waits for a long one at the end.
    """
    first, model_free, later = list[Population](), list[Population](), list[Population]()
    seen: set[str] = set()
    for population in sorted(populations, key=_cost_of, reverse=True):
        trained = [model for trial in population if (model := trained_options(trial.config)) is not None]
        models = {fingerprint([model.plugin_name(), model.training_options()]) for model in trained}
        (first if models - seen else later if models else model_free).append(population)
        seen |= models
    pairs = zip_longest(first, model_free)
    return [population for pair in pairs for population in pair if population] + later


def _cost_of(population: Population) -> float:
    return relative_cost([trial.config for trial in population])
