"""Build untrained agents."""

from __future__ import annotations

import torch

from dwm_ray.agents.base import Agent
from dwm_ray.data.task_data import TaskData
from dwm_ray.options import RunOptions


def new_agent(config: RunOptions, task_data: TaskData, device: torch.device) -> Agent:
    """Build an untrained agent, with initial weights from the run's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        agent: Agent = config.agent.plugin(config.agent, task_data.episodes.spaces, task_data.stats, config.training)
    return agent.to(device)
