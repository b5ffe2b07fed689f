"""A trained agent on disk: weights, options and what it was trained on, enough to act without the data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dwm_ray import checkpoint
from dwm_ray.agents.base import Agent
from dwm_ray.config import RunConfig
from dwm_ray.problem import Problem
from dwm_ray.registry import find
from dwm_ray.types import DataStats, Spaces

NAME = "agent"


def save_agent(folder: Path, agent: Agent, config: RunConfig, problem: Problem, update: int) -> None:
    """Write `agent.safetensors` and `agent.json`."""
    stats = {key: np.asarray(value).tolist() for key, value in asdict(problem.stats).items()}
    meta = {
        "config": config.model_dump(mode="json"),
        "spaces": asdict(problem.episodes.spaces),
        "stats": stats,
        "env_id": problem.task.env_id,
        "return_max": float(problem.episodes.returns().max()),
        "update": update,
    }
    checkpoint.save(folder, NAME, agent.state_dict(), meta)


def load_agent(folder: Path, device: torch.device) -> tuple[Agent, dict[str, Any]]:
    """The agent of a checkpoint folder and its description. ValueError where there is none."""
    tensors, meta = checkpoint.load(folder, NAME, device)
    config = RunConfig.model_validate(meta["config"])
    cls = find("agents", config.agent.plugin_name())
    agent: Agent = cls(config.agent, Spaces(**meta["spaces"]), _stats(meta["stats"]), config.training).to(device)
    agent.load_state_dict(tensors)
    return agent, meta


def _stats(values: dict[str, Any]) -> DataStats:
    arrays: dict[str, Any] = {key: np.asarray(v, np.float32) if isinstance(v, list) else v for key, v in values.items()}
    return DataStats(**arrays)
