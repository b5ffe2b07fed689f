"""Which world models go with which agents: every pair is tried for a few updates, and said how it is supplied.

Nothing is learned here - models are untrained, batches few - but every part of a run but its evaluation does its work:
segments are imagined, filtered and mixed, the agent takes gradient steps and acts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.experiment.profiles import Profile, run_config
from dwm_ray.local.run import agent_trainer, imagined_ring, ready_agent
from dwm_ray.registry import plugins
from dwm_ray.replay.sources import source_kind
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.parts.build import new_model

NUM_UPDATES = 4
BATCH_SIZE = 16
QUICK = {
    "training.num_updates": NUM_UPDATES,
    "training.batch_size": BATCH_SIZE,
    "synthesis.num_segments": 4 * BATCH_SIZE,
    "synthesis.block_rows": 2 * BATCH_SIZE,
    "synthesis.refresh_every": NUM_UPDATES // 2,
}


@dataclass(frozen=True)
class Pair:
    """Outcome of one trial of a pair."""

    world_model: str
    agent: str
    status: str
    """How batches are supplied (see `sources`), 'model-free', 'plans', or 'refused'."""
    note: str = ""
    """Why it was refused."""


def all_pairs(task_data: TaskData, profile: Profile) -> list[Pair]:
    """Every world model, and none, with every agent. An error that is no ValueError is a fault and is raised."""
    models: dict[str, WorldModel] = {}
    return [
        try_pair(task_data, profile, world_model, agent, models)
        for world_model in ("none", *plugins("world_models"))
        for agent in plugins("agents")
    ]


def try_pair(
    task_data: TaskData, profile: Profile, world_model: str, agent: str, models: dict[str, WorldModel]
) -> Pair:
    """One pair; `models` keeps untrained world models by name of plug-in and options that decide weights."""
    try:
        config = run_config(profile, world_model, agent).with_values(QUICK)
    except ValueError as error:
        return Pair(world_model, agent, "refused", str(error))
    _learn(config, task_data, models)
    return Pair(world_model, agent, supply(config))


def supply(config: RunConfig) -> str:
    """Return the batch source of a run, "model-free", or "plans" for an agent that acts by sampling from its model."""
    kind = source_kind(config)
    if kind != "real":
        return kind
    return "model-free" if config.world_model is None else "plans"


def _learn(config: RunConfig, task_data: TaskData, models: dict[str, WorldModel]) -> None:
    cpu = torch.device("cpu")
    model = None if config.world_model is None else _model(config, task_data, models)
    agent = ready_agent(config, task_data, model, cpu)
    ring = imagined_ring(config, task_data, model, cpu) if model and source_kind(config) == "stream" else None
    agent_trainer(config, task_data, agent, model, ring).run(NUM_UPDATES)
    actions = agent.act(torch.from_numpy(task_data.episodes.obs[:2]))
    assert actions.isfinite().all()


def _model(config: RunConfig, task_data: TaskData, models: dict[str, WorldModel]) -> WorldModel:
    assert config.world_model is not None
    name = f"{config.world_model.plugin_name()} {config.world_model.model_dump_json()}"
    if name not in models:
        models[name] = new_model(config, task_data, torch.device("cpu")).requires_grad_(False).eval()
    return models[name]
