"""Trained agents and world models on disk.

A world model is `model.safetensors` (weights, normalisers) and `model.json` (plug-in, options, spaces). An agent is
stored with its spaces and statistics, so that it can act without the data; the weights of an agent that plans include
those of its world model.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from dwm_ray import registry
from dwm_ray.agents.base import Agent
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.errors import one_line
from dwm_ray.runs import tensor_files
from dwm_ray.types import DataStats, Spaces
from dwm_ray.world_models.base import WorldModel, model_options

MODEL = "model"


def save_model(folder: Path, model: WorldModel, meta: dict[str, Any]) -> None:
    """Save weights and description; `meta` is additional JSON."""
    description = {
        "name": model.config.plugin_name(),
        "config": model.config.model_dump(mode="json"),
        "spaces": asdict(model.spaces),
        "meta": meta,
    }
    tensor_files.save(folder, MODEL, model.state_dict(), description)


def load_model(folder: Path, device: torch.device | str = "cpu") -> WorldModel:
    """Load a saved model for sampling on `device`; raise ValueError if this version cannot read it."""
    tensors, description = tensor_files.load(folder, MODEL)
    try:
        cls = registry.find("world_models", description["name"])
        spaces = TypeAdapter(Spaces).validate_python(description["spaces"])
        model: WorldModel = cls(cls.Config.model_validate(description["config"]), spaces)
        model.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{folder}: the world model does not fit this version ({one_line(error)})") from error
    return model.requires_grad_(False).eval().to(device)


NAME = "agent"


def save_agent(folder: Path, agent: Agent, config: RunConfig, task_data: TaskData, update: int) -> None:
    """Write `agent.safetensors` and `agent.json`."""
    stats = {key: np.asarray(value).tolist() for key, value in asdict(task_data.stats).items()}
    meta = {
        "config": _as_built(config, agent).model_dump(mode="json"),
        "spaces": asdict(task_data.episodes.spaces),
        "stats": stats,
        "env_id": task_data.task.env_id,
        "env_options": task_data.task.env_options.to_json(),
        "return_max": float(task_data.episodes.returns().max()),
        "update": update,
    }
    tensor_files.save(folder, NAME, agent.state_dict(), meta)


def has_policy(trial: Path) -> bool:
    """Return whether the folder of a trial holds a saved agent."""
    return (trial / "checkpoint" / f"{NAME}.json").is_file()


def load_agent(
    folder: Path, device: torch.device, values: dict[str, Any] | None = None
) -> tuple[Agent, dict[str, Any]]:
    """Return agent and description of a checkpoint folder; raise ValueError if this version cannot read it.

    `values` override stored options by dotted path, such as {'agent.matmul_precision': 'fp32'}.
    """
    tensors, meta = tensor_files.load(folder, NAME, device)
    config = RunConfig.stored(meta.get("config"), folder)
    config = config.with_values(values) if values else config
    try:
        spaces = Spaces(**meta["spaces"])
        agent: Agent = config.agent.plugin(config.agent, spaces, _stats(meta["stats"]), config.training)
        if agent.plans:
            agent.attach(_untrained_model(config, spaces), config.synthesis.planned_rtg)
        agent.to(device).load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{folder}: the agent does not fit this version ({one_line(error)})") from error
    return agent, meta


def _as_built(config: RunConfig, agent: Agent) -> RunConfig:
    """Return the options of a run with the resolved options of the attached world model."""
    if not agent.plans:
        return config
    model = agent.get_submodule("model")
    assert isinstance(model, WorldModel)
    return config.model_copy(update={"world_model": model.config})


def _untrained_model(config: RunConfig, spaces: Spaces) -> WorldModel:
    options = model_options(config)
    model: WorldModel = options.plugin(options, spaces)
    return model


def _stats(values: dict[str, Any]) -> DataStats:
    arrays: dict[str, Any] = {key: np.asarray(v, np.float32) if isinstance(v, list) else v for key, v in values.items()}
    return DataStats(**arrays)
