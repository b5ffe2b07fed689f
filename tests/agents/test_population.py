"""A population: each member learns what it learns alone; what cannot be stacked is refused by its name."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pytest
import torch
from problems import SPACES, STATS, segments

from dwm_ray.agents.base import Agent
from dwm_ray.agents.parts.population import Population
from dwm_ray.experiment.grouping import stackable_agents
from dwm_ray.options import TrainingConfig
from dwm_ray.registry import find, plugins
from dwm_ray.types import Metrics, Segments

NUM_UPDATES = 9  # odd: TD3+BC's delayed steps are not at the end


def agents(name: str, options: Sequence[dict[str, Any]]) -> list[Agent]:
    """One per set of options, with seeds 0, 1, ..."""
    cls, members = find("agents", name), []
    for seed, own in enumerate(options):
        torch.manual_seed(seed)
        config = cls.Config(**{"hidden_size": 16, **own})
        members.append(cls(config, SPACES, STATS, TrainingConfig(num_updates=20)))
    return members


def stacked(parts: list[Segments]) -> Segments:
    return Segments(*(torch.stack([getattr(part, field.name) for part in parts]) for field in fields(Segments)))


def batches(update: int, num: int, horizon: int) -> list[Segments]:
    return [segments(12, horizon, seed=100 * update + member) for member in range(num)]


def generators(num: int) -> tuple[torch.Generator, ...]:
    return tuple(torch.Generator().manual_seed(50 + member) for member in range(num))


def learn_alone(members: list[Agent], horizon: int) -> list[dict[str, float]]:
    """Last metrics of each."""
    noise = generators(len(members))
    told: list[dict[str, float]] = [{} for _ in members]
    for update in range(NUM_UPDATES):
        for index, (agent, batch) in enumerate(zip(members, batches(update, len(members), horizon), strict=True)):
            told[index] |= {key: value.item() for key, value in agent.update(batch, noise[index]).items()}
    return told


def learn_together(members: list[Agent], horizon: int) -> list[dict[str, float]]:
    population, noise = Population(members), generators(len(members))
    told: list[dict[str, float]] = [{} for _ in members]
    for update in range(NUM_UPDATES):
        metrics = population.update(stacked(batches(update, len(members), horizon)), noise)
        for index, row in enumerate(told):
            row |= {key: value[index].item() for key, value in metrics.items()}
    return told


CASES: list[tuple[str, list[dict[str, Any]]]] = [
    *((name, [{}, {}, {}]) for name in stackable_agents()),
    ("td3_bc", [{"alpha": 2.5}, {"alpha": 0.5}, {"alpha": 0.0}]),
    ("td3_bc", [{"policy_noise": 0.1, "noise_clip": 0.2}, {"policy_noise": 0.6, "noise_clip": 0.9}]),
    ("td3_bc", [{}]),
    ("iql", [{"expectile": 0.7}, {"expectile": 0.9}]),
    ("iql", [{"beta": 3.0, "max_weight": 100.0}, {"beta": 10.0, "max_weight": 1.5}]),
    ("iql", [{"deterministic": True, "return_lambda": 1.0}] * 2),
]


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_members_learn_what_they_learn_alone(name: str, options: list[dict[str, Any]], horizon: int) -> None:
    alone, together = agents(name, options), agents(name, options)
    expected, told = learn_alone(alone, horizon), learn_together(together, horizon)
    obs = torch.randn(5, SPACES.obs_size)
    for single, member in zip(alone, together, strict=True):
        for key, value in single.state_dict().items():
            torch.testing.assert_close(member.state_dict()[key], value, rtol=1e-4, atol=1e-5, msg=key)
        torch.testing.assert_close(member.act(obs), single.act(obs), rtol=1e-4, atol=1e-4)
    for row, own in zip(expected, told, strict=True):
        assert own == pytest.approx(row, rel=1e-3, abs=1e-4)
    if len(alone) > 1:
        assert not torch.allclose(alone[0].act(obs), alone[1].act(obs), atol=1e-3)


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("name", list(plugins("agents")))
def test_population_of_one_is_the_single_agent(name: str, horizon: int) -> None:
    """Equal bytes for every agent, resumed in between, with noise that is sampled before or within the update."""
    single, member, resumed = (agents(name, [{}])[0] for _ in range(3))
    population, noise, own_noise = Population([member]), torch.Generator().manual_seed(3), generators(1)
    own_noise[0].manual_seed(3)
    for update in range(NUM_UPDATES):
        [batch] = batches(update, 1, horizon)
        if update == 5:
            resumed.load_state_dict(member.state_dict())
            states = population.optimizer_states()
            population = Population([resumed])
            population.load_optimizer_states(states)
        metrics, expected = (
            population_step(population, stacked([batch]), own_noise, update),
            single.update(batch, noise),
        )
        assert metrics.keys() == expected.keys()
        assert all(torch.equal(value, expected[key].view(1)) for key, value in metrics.items())
    assert_equal(resumed.state_dict(), single.state_dict())
    assert_equal(population.optimizer_states()[0], single.optimizer_state())


def population_step(
    population: Population, batch: Segments, noise: tuple[torch.Generator, ...], update: int
) -> Metrics:
    """`Population.update`; the calls of a compiled update in every second one."""
    if update % 2:
        return population.update(batch, noise)
    return population.learn(batch, population.sample_noise(batch, noise), population.next_update_kind())


def assert_equal(states: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert states.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in states.items())


@pytest.mark.parametrize("name", ["td3_bc", "iql"])
def test_options_of_members_matter(name: str) -> None:
    """The cases above would not see an option that neither form reads."""
    option, values = {"td3_bc": ("alpha", (0.0, 9.0)), "iql": ("expectile", (0.5, 0.95))}[name]
    cls = find("agents", name)
    assert option in cls.member_options
    members = agents(name, [{option: value} for value in values])
    members[1].load_state_dict(members[0].state_dict())
    population = Population(members)
    batch, noise = segments(12, 1), tuple(torch.Generator().manual_seed(0) for _ in members)
    for _ in range(4):
        population.update(stacked([batch, batch]), noise)
    states = [member.state_dict() for member in members]
    assert any(not torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_a_member_that_diverges_leaves_the_others_alone() -> None:
    alone, together = agents("td3_bc", [{}, {}]), agents("td3_bc", [{}, {}])
    learn_alone(alone, 1)
    with torch.no_grad():
        for param in together[0].parameters():
            param.fill_(torch.nan)
    told = learn_together(together, 1)
    assert not torch.isfinite(torch.tensor(told[0]["critic_loss"]))
    for key, value in alone[1].state_dict().items():
        torch.testing.assert_close(together[1].state_dict()[key], value, rtol=1e-4, atol=1e-5)


def test_every_option_of_members_is_an_option() -> None:
    assert stackable_agents() == ["bc", "iql", "pql", "td3_bc"]
    for name in stackable_agents():
        cls = find("agents", name)
        assert set(cls.member_options) <= set(cls.Config.model_fields)


def test_what_cannot_be_stacked_is_refused() -> None:
    with pytest.raises(ValueError, match="agent cql: cannot be stacked; expected a population of one"):
        Population(agents("cql", [{}, {}]))
    with pytest.raises(ValueError, match="agent td3_bc: members of several classes; expected one class"):
        Population([*agents("td3_bc", [{}]), *agents("iql", [{}])])
    with pytest.raises(
        ValueError, match=r"agent.learning_rate: differs between members of a population; expected one value"
    ):
        Population(agents("td3_bc", [{}, {"learning_rate": 1e-3}]))
