"""What every agent keeps, whoever wrote it: this file runs over all that the registry finds.

What concerns targets is asked of agents with a critic only; agents that plan get the least of a world model.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dwm_ray.agents.base import Agent
from dwm_ray.options import TrainingConfig
from dwm_ray.registry import find, plugins
from dwm_ray.types import DataStats, Segments, Spaces

SPACES = Spaces(obs_size=4, act_size=2, act_low=(-2.0, 0.0), act_high=(2.0, 1.0))
STATS = DataStats(np.zeros(4, np.float32), np.ones(4, np.float32), -1.0, 1.0, -9.0, 9.0, -5.0, 5.0)
LOW, HIGH = torch.tensor(SPACES.act_low), torch.tensor(SPACES.act_high)

AGENTS: dict[str, Any] = plugins("agents")
every_agent = pytest.mark.parametrize("name", list(AGENTS))
with_critic = pytest.mark.parametrize("name", [name for name, cls in AGENTS.items() if cls.has_critic])


class Drift(nn.Module):
    """A world model that knows no action: states drift, with a little noise."""

    follows_policy = False
    config = SimpleNamespace(condition_on_action=False)

    def imagine(self, obs: Tensor, act: Tensor, *, horizon: int, generator: torch.Generator, **_: Any) -> Segments:
        steps = torch.arange(horizon + 1).view(1, -1, 1)
        noise = torch.randn(obs.shape, generator=generator)
        zeros = torch.zeros(len(obs), horizon)
        states = obs.unsqueeze(1) + 0.1 * steps * noise.unsqueeze(1)
        return Segments(states, act.unsqueeze(1), zeros, zeros + 1, zeros, zeros[:, 0] + 1)


def build(name: str, seed: int = 0, **options: Any) -> Agent:
    torch.manual_seed(seed)
    cls = find("agents", name)
    agent: Agent = cls(cls.Config(**options), SPACES, STATS, TrainingConfig(num_updates=10))
    if cls.plans:
        agent.attach(Drift(), 0.5)
    return agent


def batch(horizon: int = 3, num_actions: int = 1, size: int = 12, seed: int = 0) -> Segments:
    rng = torch.Generator().manual_seed(seed)
    return Segments(
        obs=torch.randn(size, horizon + 1, 4, generator=rng),
        act=LOW + (HIGH - LOW) * torch.rand(size, num_actions, 2, generator=rng),
        rew=torch.rand(size, horizon, generator=rng),
        discount=torch.full((size, horizon), 0.99),
        penalty=torch.rand(size, horizon, generator=rng),
        source=torch.ones(size),
    )


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learned(agent: Agent, segments: Segments, num_updates: int = 4) -> dict[str, float]:
    noise = generator()
    rows = [agent.update(segments, noise) for _ in range(num_updates)]
    return {key: value.item() for row in rows for key, value in row.items()}


@every_agent
def test_metrics_are_finite_scalars(name: str) -> None:
    metrics = build(name).update(batch(), generator())
    assert metrics
    assert all(value.ndim == 0 and value.isfinite() and not value.requires_grad for value in metrics.values())


@every_agent
def test_metrics_tell_of_the_critic_where_there_is_one(name: str) -> None:
    told = build(name).update(batch(), generator()).keys()
    expected = {"critic_loss", "q_mean", "q_max", "target_mean", "target_clipped"}
    assert told & expected == (expected if AGENTS[name].has_critic else set())


@every_agent
def test_actions_are_greedy_and_within_bounds(name: str) -> None:
    agent = build(name)
    obs = torch.randn(64, 4) * 50
    act = agent.act(obs)
    assert act.shape == (64, 2)
    assert ((act >= LOW) & (act <= HIGH)).all()
    assert torch.equal(act, agent.act(obs))
    explored = agent.explore(obs, generator())
    assert ((explored >= LOW) & (explored <= HIGH)).all()
    assert torch.equal(explored, agent.explore(obs, generator()))
    assert not explored.requires_grad


@every_agent
def test_same_seeds_same_weights_and_no_hidden_randomness(name: str) -> None:
    first, second = build(name), build(name)
    learned(first, batch())
    torch.manual_seed(77)
    learned(second, batch())
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


@every_agent
def test_learning_changes_the_policy(name: str) -> None:
    agent = build(name)
    obs = torch.randn(8, 4)
    before = agent.act(obs)
    learned(agent, batch())
    assert not torch.equal(before, agent.act(obs))


@every_agent
def test_padding_changes_nothing(name: str) -> None:
    """Of value expansion: a lambda-return below 1 agrees in its target only up to rounding."""
    options = {"return_lambda": 1.0} if find("agents", name).has_critic else {}
    plain, padded = build(name, **options), build(name, **options)
    first, second = learned(plain, batch(2)), learned(padded, batch(2).padded(5))
    assert first == pytest.approx(second, rel=1e-4, abs=1e-5)


@every_agent
def test_later_actions_of_a_segment_are_not_read(name: str) -> None:
    all_actions = batch(3, num_actions=3)
    assert learned(build(name), all_actions) == learned(build(name), all_actions.with_first_action())


@with_critic
def test_penalty_lowers_targets(name: str) -> None:
    free, punished = (build(name, penalty_weight=weight).update(batch(), generator()) for weight in (0.0, 1.0))
    assert punished["target_mean"] < free["target_mean"]


@with_critic
def test_guard_clips_absurd_targets_and_says_so(name: str) -> None:
    rows = batch().map(lambda x: x)
    rows.rew.fill_(1e6)
    guarded, free = (build(name, target_clip=clip).update(rows, generator()) for clip in ("data", "none"))
    assert guarded["target_clipped"] == 1
    assert free["target_clipped"] == 0
    assert guarded["target_mean"] < free["target_mean"] / 100


@every_agent
def test_optimizer_state_is_flat_tensors_and_resumes_exactly(name: str) -> None:
    straight, resumed = build(name), build(name, seed=5)
    learned(straight, batch(), num_updates=3)
    resumed.load_state_dict(straight.state_dict())
    state = {key: value.clone() for key, value in straight.optimizer_state().items()}
    resumed.load_optimizer_state(state)
    assert learned(straight, batch(seed=1)) == learned(resumed, batch(seed=1))
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@every_agent
@pytest.mark.parametrize("preset", ["paper", "small"])
def test_presets_survive_json(name: str, preset: str) -> None:
    config = find("agents", name).Config.preset(preset)
    assert type(config).model_validate(config.model_dump(mode="json")) == config
    assert config.plugin_name() == name
