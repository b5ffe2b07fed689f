"""Build untrained agents."""

from __future__ import annotations

import torch

from dwm_ray.agents.base import Agent
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData
from dwm_ray.registry import find


def new_agent(config: RunConfig, task_data: TaskData, device: torch.device) -> Agent:
    """Build an untrained agent; the run's seed decides its initial weights."""
    cls = find("agents", config.agent.plugin_name())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        agent: Agent = cls(config.agent, task_data.episodes.spaces, task_data.stats, config.training)
    return agent.to(device)
