"""A population's loop: each member has its batches and its noise from its own generator, as in a loop of its own."""

import pytest
import torch
from test_agent_trainer import mixture, real_agent

from dwm_ray.agents.parts.population import Population
from dwm_ray.replay.mixture import Mixture
from dwm_ray.replay.ring import Ring
from dwm_ray.training.agent import AgentTrainer
from dwm_ray.training.population import PopulationTrainer
from dwm_ray.types import SegmentShape


@pytest.mark.parametrize("name", ["td3_bc", "iql"])
def test_rows_are_those_of_loops_of_their_own(name: str) -> None:
    alone, members = ([real_agent(name, seed) for seed in (0, 1, 2)] for _ in range(2))
    generators = tuple(trainer.generator for trainer in members)
    population = Population([trainer.agent for trainer in members])
    trainer = PopulationTrainer(population, [mixture()] * 3, generators)
    for num_updates in (5, 6):
        for row, single in zip(trainer.run(num_updates), alone, strict=True):
            assert row.pop("num_members") == 3
            assert row.pop("updates_per_s") > 0
            assert row == pytest.approx(single.run(num_updates), rel=1e-3, abs=1e-4)
    assert trainer.update == 11
    for single, own in zip(alone, generators, strict=True):
        assert torch.equal(single.generator.get_state(), own.get_state())


def test_batches_of_different_shapes_are_refused() -> None:
    shape = SegmentShape(horizon=1, obs_size=3, act_size=2, num_actions=1)
    ring = Ring(5, shape)
    ring.add(torch.rand(5, shape.width))
    members = [real_agent("td3_bc", seed) for seed in (0, 1)]
    sources, generators = [mixture(), Mixture(ring, None, 1.0, 8)], tuple(member.generator for member in members)
    with pytest.raises(ValueError, match=r"training\.batch_size, synthesis\.horizon: expected batches of one shape"):
        PopulationTrainer(Population([member.agent for member in members]), sources, generators)


@pytest.mark.parametrize("name", ["td3_bc", "iql"])
def test_members_states_go_back_and_forth_between_populations_and_single_trainers(name: str) -> None:
    alone, members, later = ([real_agent(name, seed) for seed in seeds] for seeds in ((0, 1), (0, 1), (8, 9)))
    first, second = population_of(members), population_of(later)
    for trainer in alone:
        trainer.run(5)
    first.load_state_dicts([trainer.state_dict() for trainer in alone])
    first.run(6)
    second.load_state_dicts(first.state_dicts())
    assert second.update == 11
    first.run(4), second.run(4)
    for trainer, state, other in zip(alone, first.state_dicts(), second.state_dicts(), strict=True):
        trainer.run(10)
        expected = trainer.state_dict()
        assert state.keys() == other.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(state[key], other[key]), key
            torch.testing.assert_close(state[key], value, rtol=1e-3, atol=1e-4, msg=key)


def test_states_of_different_updates_are_refused() -> None:
    alone, members = ([real_agent("td3_bc", seed) for seed in (0, 1)] for _ in range(2))
    alone[1].run(3)
    with pytest.raises(ValueError, match=r"stand at updates \[0, 3\]; expected one update"):
        population_of(members).load_state_dicts([trainer.state_dict() for trainer in alone])


def population_of(members: list[AgentTrainer]) -> PopulationTrainer:
    agents, generators = [member.agent for member in members], tuple(member.generator for member in members)
    return PopulationTrainer(Population(agents), [mixture()] * len(members), generators)
