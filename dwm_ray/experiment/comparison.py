"""Comparison of methods by name: trials with equal data, updates, evaluation and seeds.

A name is AGENT or WORLDMODEL-AGENT; case, '-', '_' and '+' are ignored: td3bc, dwm-td3bc, OneStep-IQL. A suffix sets
options of one method, by search axis or by dotted path: dwm-td3bc@horizon=3,target_rtg=0.7. All other options are the
defaults of the method (`profiles.with_method`).
"""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from dwm_ray import registry
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import DataIdentity
from dwm_ray.errors import reason, suggest
from dwm_ray.experiment import profiles
from dwm_ray.experiment.names import method_name
from dwm_ray.experiment.plan import SweepConfig, trial_start_order, unused_options, with_required
from dwm_ray.experiment.search_space import Point, Trial, dimensions, parse_assignment
from dwm_ray.options import Frozen, PositiveInt, Profile
from dwm_ray.registry import find
from dwm_ray.replay.sources import source_kind
from dwm_ray.world_models.base import trained_options
from dwm_ray.world_models.parts.build import model_fingerprint

SHARED = ("task", "seed", "data", "evaluation", "cluster", "execution", "training.num_updates")
"""Options and groups that all methods share."""


class ComparisonConfig(Frozen):
    """Methods and seeds of a comparison."""

    methods: tuple[str, ...] = ("td3bc", "dwm-td3bc")
    """Methods from the list above. The first is the reference for the probability of improvement. A suffix such as
    @horizon=3,target_rtg=0.7 sets options (search axes or dotted paths) of one method."""
    seeds: PositiveInt = 3
    """Runs per method, with seeds 0, 1, ... instead of --seed."""


@dataclass(frozen=True)
class Method:
    """Method as specified by the user."""

    spec: str
    world_model: str
    """Plug-in, or 'none'."""
    agent: str
    options: Point


@dataclass(frozen=True)
class Entry:
    """A method of a comparison with its trials, one per seed."""

    name: str
    """Printed name, such as 'DWM-TD3+BC (horizon=3)'."""
    spec: str
    trials: list[Trial]


def plain(name: str) -> str:
    """Return a method's name in lower case without spaces, '-', '_' and '+'."""
    return re.sub(r"[\s_+-]", "", name).lower()


def known_methods() -> dict[str, tuple[str, str]]:
    """Return plain name -> (world model, agent) for every combination.

    An agent alone has no world model, or the default one if it plans.
    """
    default, methods = profiles.DEFAULT_WORLD_MODEL, {}
    for agent in registry.plugins("agents"):
        methods[plain(agent)] = (default if find("agents", agent).plans else "none", agent)
        methods |= {plain(model + agent): (model, agent) for model in registry.plugins("world_models")}
    return methods


def parse_method(text: str) -> Method:
    """Parse a method's name and suffix; raise ValueError with similar names for an unknown one."""
    name, _, suffix = text.partition("@")
    methods = known_methods()
    if plain(name) not in methods:
        spelled = [spelling(*method) for method in methods.values()]
        raise ValueError(f"--methods: unknown method {name!r}{suggest(name.lower(), spelled)}")
    options = (parse_assignment(part, f"--methods {text}") for part in suffix.split(",") if part)
    return Method(text, *methods[plain(name)], dict(options))


def spelling(world_model: str, agent: str) -> str:
    """Return the listed name of a method: 'dwm-td3bc', or 'td3bc' without a world model."""
    return "-".join(plain(part) for part in (world_model, agent) if part != "none")


def method_names() -> list[str]:
    """Return the listed names of all methods that can run."""
    return list(dict.fromkeys(spelling(*method) for method in known_methods().values() if _is_feasible(*method)))


def _is_feasible(world_model: str, agent: str) -> bool:
    try:
        profiles.run_config("paper", world_model, agent)
    except ValueError:
        return False
    return True


def path_of(name: str) -> str:
    """Return the dotted path of an axis or option; raise ValueError if it is unknown or shared by all methods."""
    axes = dimensions()
    if name not in axes and name.split(".")[0] not in RunConfig.model_fields:
        raise ValueError(f"unknown option {name!r}{suggest(name, list(axes))} (or a path such as agent.alpha)")
    path = axes[name].path if name in axes else name
    if any(path == name or path.startswith(f"{name}.") for name in SHARED):
        raise ValueError(f"{path} is the same for all methods of a comparison")
    return path


def configure(method: Method, run: RunConfig, profile: Profile, explicit: Collection[str] = ()) -> RunConfig:
    """Return the configuration of a method; `explicit` are paths set by the user. Raise ValueError if it cannot run."""
    try:
        values = {path_of(name): value for name, value in method.options.items()}
        axes = SweepConfig(dimensions=tuple(name for name in method.options if name in dimensions()))
        base = profiles.with_method(run, profile, method.world_model, method.agent, explicit)
        if unused := [path for path in values if path.startswith(unused_options(base))]:
            raise ValueError(f"{', '.join(unused)}: not used by this method")
        config = with_required(base, axes, profile).with_values(values)
        training = config.training.model_copy(update={"num_updates": run.training.num_updates})
        shared = {name: getattr(run, name) for name in SHARED if "." not in name}
        return RunConfig.model_validate({**dict(config), **shared, "training": training})
    except ValueError as error:
        raise ValueError(f"--methods {method.spec}: {reason(error)}") from error


def make_comparison(
    options: ComparisonConfig, run: RunConfig, profile: Profile, explicit: Collection[str] = ()
) -> list[Entry]:
    """Return each method with one trial per seed; raise ValueError for unknown, infeasible or repeated methods."""
    if len(options.methods) < 2:
        raise ValueError(f"--methods {' '.join(options.methods)}: expected two methods or more")
    entries = [_entry(parse_method(text), options.seeds, run, profile, explicit) for text in options.methods]
    counts = Counter(entry.trials[0].id for entry in entries)
    duplicates = [entry.spec for entry in entries if counts[entry.trials[0].id] > 1]
    if duplicates:
        raise ValueError(
            f"--methods {' '.join(duplicates)}: the same method with the same options; expected different methods"
        )
    return entries


def _entry(method: Method, seeds: int, run: RunConfig, profile: Profile, explicit: Collection[str]) -> Entry:
    base = configure(method, run, profile, explicit)
    trials = [Trial(base.with_values({"seed": seed}), {**method.options, "seed": seed}) for seed in range(seeds)]
    options = ", ".join(f"{name}={value}" for name, value in method.options.items())
    name = method_name(base.model_dump(mode="json")) + (f" ({options})" if options else "")
    return Entry(name, method.spec, trials)


def trials_of(entries: list[Entry]) -> list[Trial]:
    """Return all trials in start order."""
    return trial_start_order([trial for entry in entries for trial in entry.trials])


def describe_entries(entries: list[Entry], data: DataIdentity) -> list[dict[str, Any]]:
    """Return the content of methods.json: names, trials by seed, and shared parts (None if there are none)."""
    return [
        {
            "name": entry.name,
            "spec": entry.spec,
            "trials": [trial.id for trial in entry.trials],
            **_shared_parts(entry.trials[0].config, data),
        }
        for entry in entries
    ]


def _shared_parts(config: RunConfig, data: DataIdentity) -> dict[str, str | None]:
    """Return the fingerprints of a run's world model and stream."""
    if trained_options(config) is None:
        return {"world_model": None, "stream": None}
    name = model_fingerprint(config, data)
    stream = StreamSpec.of(config, name, data.num_pairs).fingerprint if source_kind(config) == "stream" else None
    return {"world_model": name, "stream": stream}
