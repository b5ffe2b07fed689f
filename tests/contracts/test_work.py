"""What plug-ins say that an update takes (`work`) is what is counted, about: sweeps are ordered by it."""

from pathlib import Path

import pytest
import torch
from test_agents import AGENTS, batch, build
from tiny_problem import recording

from dwm_ray import profiles
from dwm_ray.evaluation.flops import count_flops
from dwm_ray.problem import load_problem, new_agent, new_model
from dwm_ray.registry import plugins
from dwm_ray.run import agent_trainer
from dwm_ray.sources import supply

CPU = torch.device("cpu")


def counted(name: str) -> float:
    """Operations of an agent's update, of two in turn: some policies move in every second one."""
    agent, draws = build(name), torch.Generator().manual_seed(0)

    def two_updates() -> None:
        for _ in range(2):
            agent.update(batch(), draws)

    two_updates()
    return count_flops(two_updates) / 2


@pytest.mark.parametrize("name", list(AGENTS))
def test_of_agents(name: str) -> None:
    assert AGENTS[name].work == pytest.approx(counted(name) / counted("bc"), rel=0.35)


def learned(world_model: str, agent: str, file: Path) -> float:
    """Operations of two of a learner's updates with the profile's options, imagination within them included."""
    small = {"task": "pendulum", "data.file": str(file), "training.batch_size": 32}
    config = profiles.run_config("laptop", world_model, agent).with_values(small)
    problem = load_problem(config)
    model = new_model(config, problem, CPU) if config.world_model else None
    trainer = agent_trainer(config, problem, new_agent(config, problem, CPU), model, None)
    return count_flops(lambda: trainer.run(2))


@pytest.mark.parametrize("name", list(plugins("world_models")))
def test_of_world_models_within_an_update(name: str, tmp_path: Path) -> None:
    if supply(profiles.run_config("laptop", name, "td3_bc")) != "inline":
        assert plugins("world_models")[name].work == 0
        return
    file = recording(tmp_path / "pendulum.hdf5")
    with_model, free, unit = learned(name, "td3_bc", file), learned("none", "td3_bc", file), learned("none", "bc", file)
    assert plugins("world_models")[name].work == pytest.approx((with_model - free) / unit, rel=0.35)
