"""Run every world model with every agent, and report the kind of batch source of each pair.

World models are untrained and runs are short, but they use every part of a run except the evaluation.
"""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.experiment.profiles import run_config
from dwm_ray.local.services import LocalServices
from dwm_ray.options import Profile
from dwm_ray.registry import plugins
from dwm_ray.replay.sources import source_kind
from dwm_ray.runs.folder import RunFolder
from dwm_ray.training.learner import Learner
from dwm_ray.training.trials import build_learner
from dwm_ray.world_models.base import WorldModel, model_options, trained_options
from dwm_ray.world_models.parts.build import new_model

NUM_UPDATES, BATCH_SIZE = 4, 16
QUICK = {
    "training.num_updates": NUM_UPDATES,
    "training.batch_size": BATCH_SIZE,
    "synthesis.num_segments": 4 * BATCH_SIZE,
    "synthesis.block_rows": 2 * BATCH_SIZE,
    "synthesis.refresh_every": NUM_UPDATES // 2,
}


@dataclass(frozen=True)
class Pair:
    """Result of one pair."""

    world_model: str
    agent: str
    status: str
    """Kind of batch source (see `replay.sources`), 'model-free', 'plans', or 'rejected'."""
    note: str = ""
    """Reason of the rejection."""


def all_pairs(task_data: TaskData, profile: Profile) -> list[Pair]:
    """Run every agent with every world model and without one; errors other than ValueError propagate."""
    models: dict[str, WorldModel] = {}
    return [
        try_pair(task_data, profile, world_model, agent, models)
        for world_model in ("none", *plugins("world_models"))
        for agent in plugins("agents")
    ]


def try_pair(
    task_data: TaskData, profile: Profile, world_model: str, agent: str, models: dict[str, WorldModel]
) -> Pair:
    """Run one pair; `models` caches untrained world models by plug-in and options."""
    try:
        config = run_config(profile, world_model, agent).with_values(QUICK)
    except ValueError as error:
        return Pair(world_model, agent, "rejected", str(error))
    _learn(config, task_data, models)
    return Pair(world_model, agent, source_label(config))


def source_label(config: RunConfig) -> str:
    """Return the batch source of a run, 'model-free', or 'plans' for an agent that samples its actions from a model."""
    kind = source_kind(config)
    if kind != "transitions":
        return kind
    return "model-free" if config.world_model is None else "plans"


def _learn(config: RunConfig, task_data: TaskData, models: dict[str, WorldModel]) -> None:
    model = None if trained_options(config) is None else _model(config, task_data, models)
    learner = untrained_learner(config, task_data, model, torch.device("cpu"))
    learner.run(NUM_UPDATES)
    actions = learner.population.members[0].act(torch.from_numpy(task_data.episodes.obs[:2]))
    assert actions.isfinite().all()


def untrained_learner(
    config: RunConfig, task_data: TaskData, model: WorldModel | None, device: torch.device, num_members: int = 1
) -> Learner:
    """Return a run's learner before its first update, with segments of a world model that may be untrained.

    The members of a population have the seeds that follow that of the run.
    """
    configs = [config.with_values({"seed": config.seed + number}) for number in range(num_members)]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        services, ring = LocalServices(task_data, RunFolder(Path(folder)), model, device), None
        if source_kind(config) == "stream":
            [rows] = stack.enter_context(services.streams([config])).values()
            ring = rows.ring
        return build_learner(configs, task_data, device, services, [ring] * num_members)


def _model(config: RunConfig, task_data: TaskData, models: dict[str, WorldModel]) -> WorldModel:
    options = model_options(config)
    name = f"{options.plugin_name()} {options.model_dump_json()}"
    if name not in models:
        models[name] = new_model(config, task_data, torch.device("cpu")).requires_grad_(False).eval()
    return models[name]
