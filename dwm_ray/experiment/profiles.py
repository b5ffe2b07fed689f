"""Default options for each machine size and method; flags override them.

The profile `paper` has the sizes of DWM, DyDiff and DAWM, for GPUs. `published` is `paper` with the numbers of updates
and the batch sizes of the published model-free scores. `laptop` runs the same code in minutes on two cores.
"""

from collections.abc import Callable, Collection
from typing import Any

import torch

from dwm_ray import registry
from dwm_ray.config import RunConfig
from dwm_ray.options import PluginConfig, Profile

OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {"training": {"batch_size": 128}, "synthesis": {"num_segments": 1_000_000}},
    "published": {
        "training": {"num_updates": 1_000_000, "batch_size": 256},
        "synthesis": {"num_segments": 1_000_000},
    },
    "laptop": {
        "synthesis": {
            "target_rtg": "own",
            "horizon": 5,
            "kept_versions": 4,
            "rollout_shards": 1,
        },
        "training": {"num_updates": 6000, "batch_size": 128, "log_every": 500, "checkpoint_every": 2000},
        "evaluation": {"every": 2000, "estimate_updates": 500, "estimate_model_updates": 2000},
        "cluster": {"num_samplers": 1, "learner_cpus": 0.8},
    },
}

SWEEPS: dict[Profile, dict[str, Any]] = {
    "laptop": {"dimensions": (), "seeds": 2},
    "paper": {"dimensions": ("horizon", "target_rtg"), "seeds": 1},
    "published": {"dimensions": ("horizon", "target_rtg"), "seeds": 1},
}
"""Default axes and seeds of a sweep."""

DEFAULT_TASK: str = RunConfig.model_fields["task"].default
"""Default of `--task`."""
DEFAULT_WORLD_MODEL = "dwm"
"""Default of `--world-model`."""

MAX_MEMBERS: dict[Profile, int] = {"laptop": 8, "paper": 1, "published": 1}
"""Default of `--population`. On one core, 8 members are 1.4 times as fast as 8 trials; not yet measured on a GPU."""


def resolve(name: str, gpus_elsewhere: Callable[[], bool] = lambda: False) -> Profile:
    """Return the profile `name`; 'auto' means 'paper' if this process or its cluster has a GPU, otherwise 'laptop'."""
    if name == "auto":
        return "paper" if torch.cuda.is_available() or gpus_elsewhere() else "laptop"
    if name not in OPTIONS:
        raise ValueError(f"--profile: {name!r} is not a profile; expected one of auto, {', '.join(OPTIONS)}")
    return name  # type: ignore[return-value]


def plugin(kind: str, name: str, profile: Profile) -> PluginConfig:
    """Return the default options of a plug-in in a profile."""
    config: PluginConfig = registry.find(kind, name).Config.for_profile(profile)
    return config


def run_config(
    profile: Profile,
    world_model: str = "none",
    agent: str = "td3_bc",
    filter: str | None = None,
    task: str = DEFAULT_TASK,
) -> RunConfig:
    """Return the default options of a method: those of the profile, overridden by those of its plug-ins.

    Plug-ins set options for every run (`PluginConfig.run_options`) and for runs on a task (`task_options`). World model
    'none' is a model-free run; the default of `filter` is that of the method. Raises ValueError for unknown names.
    """
    profile = resolve(profile)
    model = None if world_model == "none" else plugin("world_models", world_model, profile)
    agent_config = plugin("agents", agent, profile)
    set_by = [agent_config] if model is None else [model, agent_config]
    defaults = {path: value for config in set_by for path, value in config.run_options(profile).items()}
    defaults |= {path: value for config in set_by for path, value in config.task_options(task).items()}
    fallback = defaults.pop("filter", "keep_all")
    plugins = {"world_model": model, "agent": agent_config, "filter": plugin("filters", filter or fallback, profile)}
    tree: dict[str, Any] = {"task": task, **{group: dict(values) for group, values in OPTIONS[profile].items()}}
    for kind, config in plugins.items():
        tree[kind] = config and {"name": config.plugin_name(), **config.model_dump(mode="json")}
    for path, value in defaults.items():
        group, _, leaf = path.partition(".")
        if group not in plugins or hasattr(plugins[group], leaf):  # not every plug-in has the option
            tree.setdefault(group, {})[leaf] = value
    return RunConfig.model_validate(tree)


def with_method(
    run: RunConfig,
    profile: Profile,
    world_model: str,
    agent: str,
    explicit: Collection[str] = (),
    task: str | None = None,
) -> RunConfig:
    """Return the run with another method, or another task, and its defaults.

    Options that differ from the defaults of the old method are retained, and so are the dotted paths in `explicit`.
    Options of a plug-in are retained if the plug-in is.
    """
    old_method = name_of(run.world_model), run.agent.plugin_name()
    before = run_config(profile, *old_method, task=run.task)
    is_default = run.filter.plugin_name() == before.filter.plugin_name() and "filter" not in explicit
    filter = None if is_default else run.filter.plugin_name()
    before = run_config(profile, *old_method, filter, run.task)
    after = run_config(profile, world_model, agent, filter, task or run.task)
    old, new, default = (_leaves(config) for config in (run, after, before))
    is_retained = {kind: name_of(getattr(run, kind)) == name_of(getattr(after, kind)) for kind in PLUGINS}
    retained = {
        path: value
        for path, value in old.items()
        if path in new
        and path != "task"
        and (value != default.get(path) or path in explicit)
        and is_retained.get(path.split(".")[0], True)
    }
    return after.with_values(retained)


PLUGINS = ("world_model", "agent", "filter")


def name_of(config: PluginConfig | None) -> str:
    """Return the name of a plug-in on the command line."""
    return "none" if config is None else config.plugin_name()


def _leaves(config: RunConfig) -> dict[str, Any]:
    """Return all options by dotted path."""
    tree = config.model_dump(mode="json")
    groups = {group: values for group, values in tree.items() if isinstance(values, dict)}
    single = {name: value for name, value in tree.items() if name not in groups and value is not None}
    leaves = {f"{group}.{leaf}": value for group, values in groups.items() for leaf, value in values.items()}
    return single | {path: value for path, value in leaves.items() if not path.endswith(".name")}
