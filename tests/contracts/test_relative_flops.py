"""Relative FLOPs of plug-ins, which order the trials of a sweep, are within 20 % of counted ones."""

from functools import cache
from pathlib import Path

import pytest
import torch
from outside import all_plugins

from dwm_ray.data.task_data import load_task_data
from dwm_ray.experiment import profiles
from dwm_ray.local.compatibility import untrained_learner
from dwm_ray.registry import find, plugins
from dwm_ray.replay.sources import source_kind
from dwm_ray.studies.bursts import count_flops
from dwm_ray.world_models.parts.build import new_model

CPU = torch.device("cpu")


@cache
def counted(world_model: str, agent: str, file: Path) -> int:
    """Count the operations of two updates, since some policies move in every second one, including rollouts."""
    small = {"task": "pendulum", "data.file": str(file), "training.batch_size": 32}
    config = profiles.run_config("laptop", world_model, agent).with_values(small)
    task_data = load_task_data(config)
    model = new_model(config, task_data, CPU) if config.world_model else None
    small = {"synthesis.num_segments": 64, "synthesis.block_rows": 64}
    learner = untrained_learner(config.with_values(small), task_data, model, CPU)
    return count_flops(lambda: learner.run(2))


@pytest.mark.parametrize("name", list(plugins("agents")))
def test_relative_flops_of_agents(name: str, file: Path) -> None:
    with_model = "dwm" if find("agents", name).plans else "none"
    result = counted(with_model, name, file) / counted("none", "bc", file)
    assert find("agents", name).relative_flops == pytest.approx(result, rel=0.2)


@pytest.mark.parametrize("name", list(all_plugins("world_models")))
def test_relative_flops_of_world_models_within_an_update(name: str, file: Path) -> None:
    inline = source_kind(profiles.run_config("laptop", name, "td3_bc")) == "inline"
    result = counted(name, "td3_bc", file) - counted("none", "td3_bc", file) if inline else 0
    assert find("world_models", name).relative_flops == pytest.approx(result / counted("none", "bc", file), rel=0.2)
