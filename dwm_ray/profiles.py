"""Sizes of machine: what `--profile laptop` and `--profile paper` set, before any flag of the command line.

`paper` holds the papers' numbers, for GPUs. `laptop` runs the same code in minutes on two cores.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from dwm_ray import registry
from dwm_ray.config import PluginConfig, RunConfig

Profile = Literal["laptop", "paper"]

OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {"training": {"batch_size": 128}},
    "laptop": {
        "synthesis": {"num_segments": 100_000, "target_rtg": 0.5, "horizon": 5},
        "training": {"num_updates": 20_000, "checkpoint_every": 5000},
        "evaluation": {"every": 5000, "num_episodes": 10},
        "cluster": {"num_samplers": 1, "learner_cpus": 0.8},
    },
}


def resolve(name: str) -> Profile:
    """'auto' is 'paper' where this process sees a GPU, else 'laptop'."""
    if name == "auto":
        return "paper" if torch.cuda.is_available() else "laptop"
    if name not in OPTIONS:
        raise ValueError(f"--profile: {name!r} is none of auto, {', '.join(OPTIONS)}")
    return name  # type: ignore[return-value]


def plugin(kind: str, name: str, profile: Profile) -> PluginConfig:
    """The options of a plug-in at the size that a profile asks for."""
    config: PluginConfig = registry.find(kind, name).Config.preset("paper" if profile == "paper" else "small")
    return config


def run_config(
    profile: Profile, world_model: str = "none", agent: str = "td3_bc", filter: str = "keep_all"
) -> RunConfig:
    """The defaults of a run; 'none' is a run without a world model (model-free)."""
    plugins = {
        "world_model": None if world_model == "none" else plugin("world_models", world_model, profile),
        "agent": plugin("agents", agent, profile),
        "filter": plugin("filters", filter, profile),
    }
    return RunConfig.model_validate({**plugins, **OPTIONS[profile]})
