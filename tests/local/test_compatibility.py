"""Every world model with every agent, through all parts of a run but its evaluation."""

from __future__ import annotations

import pytest
import torch
from tiny_task import recording, tiny_config

from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.local.compatibility import try_pair
from dwm_ray.registry import find, plugins
from dwm_ray.world_models.base import WorldModel

MODELS: dict[str, WorldModel] = {}


@pytest.fixture(scope="module")
def task_data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return load_task_data(tiny_config(recording(tmp_path_factory.mktemp("data") / "pendulum.hdf5")))


@pytest.mark.parametrize("agent", list(plugins("agents")))
@pytest.mark.parametrize("world_model", ["none", *plugins("world_models")])
def test_every_pair_runs_or_says_why_not(task_data: TaskData, world_model: str, agent: str) -> None:
    torch.set_num_threads(1)
    pair = try_pair(task_data, "laptop", world_model, agent, MODELS)
    plans = find("agents", agent).plans
    if plans and world_model != "dwm":
        assert pair.status == "refused"
        assert "agent decision_diffuser plans" in pair.note
    elif world_model == "none":
        assert pair.status == "model-free"
    else:
        assert pair.status == "plans" if plans else pair.status in ("recorded", "stream", "on-policy", "inline")
