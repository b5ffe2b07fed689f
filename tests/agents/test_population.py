"""Populations: every member learns what it learns alone; agents that cannot be stacked are refused by name."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from agent_problems import SPACES, build, rng, segments

from dwm_ray.agents.base import Agent
from dwm_ray.agents.parts.population import Population
from dwm_ray.experiment.grouping import stackable_agents
from dwm_ray.registry import find, plugins
from dwm_ray.types import Metrics, Segments

NUM_UPDATES = 9  # odd, so that TD3+BC's delayed steps are not at the end
horizons = pytest.mark.parametrize("horizon", [1, 3])


def agents(name: str, options: Sequence[dict[str, Any]]) -> list[Agent]:
    """Build one agent per set of options, with seeds 0, 1, ..."""
    return [build(name, SPACES, seed, num_updates=20, **own) for seed, own in enumerate(options)]


def stacked(parts: list[Segments]) -> Segments:
    return Segments(**{name: torch.stack([getattr(part, name) for part in parts]) for name in parts[0].tensors()})


def batches(update: int, num: int, horizon: int) -> list[Segments]:
    return [segments(12, horizon, seed=100 * update + member) for member in range(num)]


def generators(num: int) -> tuple[torch.Generator, ...]:
    return tuple(rng(50 + member) for member in range(num))


def learn_alone(members: list[Agent], horizon: int) -> list[dict[str, float]]:
    """Update each agent by itself and return its last metrics."""
    noise = generators(len(members))
    last: list[dict[str, float]] = [{} for _ in members]
    for update in range(NUM_UPDATES):
        for index, (agent, batch) in enumerate(zip(members, batches(update, len(members), horizon), strict=True)):
            last[index] |= {key: value.item() for key, value in agent.update(batch, noise[index]).items()}
    return last


def learn_together(members: list[Agent], horizon: int) -> list[dict[str, float]]:
    population, noise = Population(members), generators(len(members))
    last: list[dict[str, float]] = [{} for _ in members]
    for update in range(NUM_UPDATES):
        metrics = population.update(stacked(batches(update, len(members), horizon)), noise)
        for index, row in enumerate(last):
            row |= {key: value[index].item() for key, value in metrics.items()}
    return last


CASES: list[tuple[str, list[dict[str, Any]]]] = [
    *((name, [{}, {}, {}]) for name in stackable_agents()),
    ("td3_bc", [{"alpha": 2.5}, {"alpha": 0.5}, {"alpha": 0.0}]),
    ("td3_bc", [{"policy_noise": 0.1, "noise_clip": 0.2}, {"policy_noise": 0.6, "noise_clip": 0.9}]),
    ("rebrac", [{"actor_penalty": 0.01, "critic_penalty": 0.5}, {"actor_penalty": 0.5, "critic_penalty": 0.0}]),
    ("td3_bc", [{"imagined_expectile": 0.5}, {"imagined_expectile": 0.1}]),
    ("iql", [{"expectile": 0.7, "imagined_expectile": 0.3}, {"expectile": 0.9}]),
    ("iql", [{"beta": 3.0, "max_weight": 100.0}, {"beta": 10.0, "max_weight": 1.5}]),
    ("iql", [{"deterministic": True, "return_lambda": 1.0}] * 2),
]


@horizons
@pytest.mark.parametrize(("name", "options"), CASES)
def test_members_learn_what_they_learn_alone(name: str, options: list[dict[str, Any]], horizon: int) -> None:
    alone, together = agents(name, options), agents(name, options)
    expected, last = learn_alone(alone, horizon), learn_together(together, horizon)
    obs = torch.randn(5, SPACES.obs_size)
    for single, member in zip(alone, together, strict=True):
        torch.testing.assert_close(member.state_dict(), single.state_dict(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(member.act(obs), single.act(obs), rtol=1e-4, atol=1e-4)
    for row, own in zip(expected, last, strict=True):
        assert own == pytest.approx(row, rel=1e-3, abs=1e-4)
    assert not torch.allclose(alone[0].act(obs), alone[1].act(obs), atol=1e-3)


def population_step(population: Population, batch: Segments, noise: Any, update: int) -> Metrics:
    """Make an update; every second one with the calls of a compiled update."""
    if update % 2:
        return population.update(batch, noise)
    return population.learn(batch, population.sample_noise(batch, noise), population.next_update_kind())


@horizons
@pytest.mark.parametrize("name", list(plugins("agents")))
def test_population_of_one_is_the_single_agent(name: str, horizon: int) -> None:
    """Equal bytes for every agent, also after a resume."""
    single, member, resumed = (agents(name, [{}])[0] for _ in range(3))
    population, noise, own_noise = Population([member]), rng(3), (rng(3),)
    for update in range(NUM_UPDATES):
        if update == 5:
            states = population.optimizer_states()
            population = Population([resumed])
            resumed.load_state_dict(member.state_dict())
            population.load_optimizer_states(states)
        [batch] = batches(update, 1, horizon)
        expected = {key: value.view(1) for key, value in single.update(batch, noise).items()}
        assert_equal(population_step(population, stacked([batch]), own_noise, update), expected)
    assert_equal(resumed.state_dict(), single.state_dict())
    assert_equal(population.optimizer_states()[0], single.optimizer_state())


def assert_equal(tensors: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(dict(tensors), dict(expected), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "option", "values"),
    [("td3_bc", "alpha", (0.0, 9.0)), ("iql", "expectile", (0.5, 0.95)), ("rebrac", "critic_penalty", (0.0, 9.0))],
)
def test_options_of_members_have_an_effect(name: str, option: str, values: tuple[float, float]) -> None:
    """The comparison with single agents would not notice an option that neither of them reads."""
    members = agents(name, [{option: value} for value in values])
    members[1].load_state_dict(members[0].state_dict())
    population, batch, noise = Population(members), segments(12, 1), (rng(), rng())
    for _ in range(4):
        population.update(stacked([batch, batch]), noise)
    first, second = (member.state_dict() for member in members)
    assert any(not torch.equal(value, second[key]) for key, value in first.items())


def test_a_member_that_diverges_does_not_affect_the_others() -> None:
    alone, together = agents("td3_bc", [{}, {}]), agents("td3_bc", [{}, {}])
    learn_alone(alone, 1)
    with torch.no_grad():
        for param in together[0].parameters():
            param.fill_(torch.nan)
    assert not torch.isfinite(torch.tensor(learn_together(together, 1)[0]["critic_loss"]))
    torch.testing.assert_close(together[1].state_dict(), alone[1].state_dict(), rtol=1e-4, atol=1e-5)


def test_member_options_are_options() -> None:
    assert stackable_agents() == ["bc", "iql", "pql", "rebrac", "td3_bc"]
    for name in stackable_agents():
        cls = find("agents", name)
        assert set(cls.member_options) <= set(cls.Config.model_fields)


def test_agents_that_cannot_be_stacked_are_refused() -> None:
    with pytest.raises(ValueError, match="agent cql: cannot be stacked; expected a population of one"):
        Population(agents("cql", [{}, {}]))
    with pytest.raises(ValueError, match="agent td3_bc: members of several classes; expected one class"):
        Population([*agents("td3_bc", [{}]), *agents("iql", [{}])])
    with pytest.raises(ValueError, match=r"agent.learning_rate: differs between members of a population; expected one"):
        Population(agents("td3_bc", [{}, {"learning_rate": 1e-3}]))
