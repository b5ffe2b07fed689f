"""Checkpoints of agents act without the data, with the world model that a planning agent had."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_task import tiny_config
from torch import Tensor, nn

from dwm_ray import registry
from dwm_ray.agents.base import Agent, new_agent
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import TaskData, load_task_data
from dwm_ray.runs import tensor_files
from dwm_ray.training.stores import load_agent, save_agent
from dwm_ray.types import Episodes, Metrics, Segments, Spaces, Windows
from dwm_ray.world_models.base import WorldModel, WorldModelConfig
from dwm_ray.world_models.parts.build import new_model

CPU = torch.device("cpu")


class GuessConfig(WorldModelConfig):
    """Options of a state model that is a matrix and noise."""

    condition_on_action: bool = False
    """What Decision Diffuser asks for."""
    width: int = 3
    """Changes the shapes of the weights."""
    noise: float = 0.0
    """Changes what is drawn."""


GuessConfig.__module__ = "dwm_ray.world_models.guess"


class Guess(WorldModel):
    Config = GuessConfig
    config: GuessConfig
    follows_policy = False
    sequence_length = 2
    max_horizon = 1

    def __init__(self, config: GuessConfig, spaces: Spaces) -> None:
        super().__init__(config, spaces)
        self.change = nn.Parameter(torch.randn(config.width, spaces.obs_size))
        self.register_buffer("centre", torch.zeros(spaces.obs_size))

    def fit_normalizers(self, episodes: Episodes) -> None:
        self.centre.copy_(torch.from_numpy(episodes.obs.mean(0)))

    def loss(self, windows: Windows, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        return self.change.sum(), {}

    def imagine(self, obs: Tensor, act: Tensor, **asked: Any) -> Segments:
        noise = self.config.noise * torch.randn(obs.shape, generator=asked["generator"])
        following = obs + self.change.sum(0) + self.centre + asked["rtg"] + noise
        zeros = torch.zeros(len(obs), 1)
        return Segments(torch.stack([obs, following], 1), act[:, None], zeros, zeros + 1, zeros, zeros[:, 0])


@pytest.fixture(autouse=True)
def guess(monkeypatch: pytest.MonkeyPatch) -> None:
    known = registry.plugins
    monkeypatch.setattr(
        registry, "plugins", lambda kind: known(kind) | ({"guess": Guess} if kind == "world_models" else {})
    )


def saved(config: RunConfig, folder: Path, **built: Any) -> tuple[Agent, TaskData]:
    """An agent after two updates, on disk; its model, if it plans, was built with other options than the run names."""
    task_data = load_task_data(config)
    agent = new_agent(config, task_data, CPU)
    if agent.plans:
        other = config.with_values({f"world_model.{key}": value for key, value in built.items()})
        agent.attach(new_model(other, task_data, CPU), config.synthesis.target_rtg)
    zeros = torch.zeros(4, 1)
    rows = Segments(torch.randn(4, 2, 3), torch.randn(4, 1, 1), zeros, zeros + 0.99, zeros, zeros[:, 0])
    for _ in range(2):
        agent.update(rows, torch.Generator())
    save_agent(folder, agent, config, task_data, update=2)
    return agent, task_data


@pytest.mark.parametrize("name", ["td3_bc", "iql"])
def test_a_policy_acts_as_before_without_the_data(name: str, file: Path, tmp_path: Path) -> None:
    agent, task_data = saved(tiny_config(file, agent=name), tmp_path)
    loaded, meta = load_agent(tmp_path, CPU)
    obs = torch.randn(5, 3)
    assert torch.equal(loaded.act(obs), agent.act(obs))
    assert (meta["update"], meta["env_id"], meta["config"]["agent"]["name"]) == (2, "Pendulum-v1", name)
    assert meta["return_max"] == pytest.approx(task_data.episodes.returns().max())


def planning(file: Path) -> RunConfig:
    return tiny_config(file, {"name": "guess"}, agent="decision_diffuser")


def test_a_planning_agent_brings_its_world_model_as_it_was_built(file: Path, tmp_path: Path) -> None:
    agent, _ = saved(planning(file), tmp_path, width=5, noise=0.3)
    loaded, meta = load_agent(tmp_path, CPU)
    obs = torch.randn(5, 3)
    assert torch.equal(loaded.act(obs), agent.act(obs))
    assert meta["config"]["world_model"]["name"] == "guess"
    assert (meta["config"]["world_model"]["width"], meta["config"]["world_model"]["noise"]) == (5, 0.3)
    assert not loaded.get_submodule("model").change.requires_grad
    before = loaded.act(obs)
    loaded.get_submodule("model").change.data += 1.0
    assert not torch.equal(loaded.act(obs), before)


def test_other_agents_do_not_carry_the_model_that_taught_them(file: Path, tmp_path: Path) -> None:
    saved(tiny_config(file), tmp_path)
    tensors, _ = tensor_files.load(tmp_path, "agent")
    assert not [name for name in tensors if name.startswith("model.")]


def test_a_checkpoint_that_does_not_fit_is_named(file: Path, tmp_path: Path) -> None:
    saved(planning(file), tmp_path)
    tensors, meta = tensor_files.load(tmp_path, "agent")
    tensor_files.save(tmp_path, "agent", {name: t for name, t in tensors.items() if name != "model.change"}, meta)
    with pytest.raises(ValueError, match=rf"{tmp_path}: the agent does not fit this version.*model\.change"):
        load_agent(tmp_path, CPU)
