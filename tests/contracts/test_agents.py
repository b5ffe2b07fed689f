"""Contract of agents: these tests run for every agent that the registry finds.

Tests of targets run for agents with a critic only. Agents that plan get a minimal world model.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from agent_problems import SPACES, STATS, rng, segments
from torch import Tensor, nn

from dwm_ray.agents.base import Agent
from dwm_ray.options import TrainingConfig
from dwm_ray.registry import find, plugins
from dwm_ray.types import Segments

LOW, HIGH = torch.tensor(SPACES.act_low), torch.tensor(SPACES.act_high)
AGENTS: dict[str, Any] = plugins("agents")
every_agent = pytest.mark.parametrize("name", list(AGENTS))
with_critic = pytest.mark.parametrize("name", [name for name, cls in AGENTS.items() if cls.has_critic])


class Drift(nn.Module):
    """World model without an action condition: states drift, with a little noise."""

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


def batch(horizon: int = 3, num_actions: int = 1, seed: int = 0) -> Segments:
    return segments(12, horizon, seed=seed, num_actions=num_actions)


def learned(agent: Agent, rows: Segments, num_updates: int = 4) -> dict[str, float]:
    """Make updates and return the last metrics."""
    noise = rng(3)
    metrics = [agent.update(rows, noise) for _ in range(num_updates)]
    return {key: value.item() for row in metrics for key, value in row.items()}


def assert_same_weights(first: Agent, second: Agent) -> None:
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)


@every_agent
def test_metrics_are_finite_scalars_and_describe_the_critic(name: str) -> None:
    metrics = build(name).update(batch(), rng())
    assert metrics
    assert all(value.ndim == 0 and value.isfinite() and not value.requires_grad for value in metrics.values())
    expected = {"critic_loss", "q_mean", "q_max", "target_mean", "target_clipped"}
    assert metrics.keys() & expected == (expected if AGENTS[name].has_critic else set())


@every_agent
def test_actions_are_repeatable_and_within_bounds(name: str) -> None:
    agent = build(name)
    obs = torch.randn(64, SPACES.obs_size) * 50
    for policy in (agent.act, lambda x: agent.explore(x, rng())):
        act = policy(obs)
        assert act.shape == (64, SPACES.act_size)
        assert ((act >= LOW) & (act <= HIGH)).all()
        assert torch.equal(act, policy(obs))
        assert not act.requires_grad


@every_agent
def test_same_seeds_give_the_same_weights_without_hidden_randomness(name: str) -> None:
    first, second = build(name), build(name)
    learned(first, batch())
    torch.manual_seed(77)
    learned(second, batch())
    assert_same_weights(first, second)


@every_agent
def test_learning_changes_the_policy(name: str) -> None:
    agent = build(name)
    obs = torch.randn(64, SPACES.obs_size) + torch.from_numpy(STATS.obs_mean)
    before = agent.act(obs)
    learned(agent, batch())
    assert not torch.equal(before, agent.act(obs))


@every_agent
def test_padding_has_no_effect_on_value_expansion(name: str) -> None:
    """Other lambda-returns agree only up to rounding."""
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
    free, punished = (build(name, penalty_weight=weight).update(batch(), rng()) for weight in (0.0, 1.0))
    assert punished["target_mean"] < free["target_mean"]


@with_critic
def test_lower_expectile_lowers_q_of_imagined_rows_only(name: str) -> None:
    for source, lowers in ((1.0, True), (0.0, False)):
        rows = replace(batch(), source=torch.full((12,), source))
        plain, low = (learned(build(name, imagined_expectile=e), rows, 40)["q_mean"] for e in (0.5, 0.02))
        assert low < plain if lowers else low == plain


@with_critic
def test_uncertain_steps_are_cut(name: str) -> None:
    rows = replace(batch(), next_act=None)
    cut, short = build(name, max_penalty_ratio=1e-9), build(name)
    assert learned(cut, rows) == learned(short, rows.prefix(1).padded(3))


@with_critic
def test_absurd_targets_are_clipped_and_counted(name: str) -> None:
    rows = batch()
    rows.rew.fill_(1e6)
    clipped, unclipped = (build(name, target_clip=clip).update(rows, rng()) for clip in ("data", "none"))
    assert clipped["target_clipped"] == 1
    assert unclipped["target_clipped"] == 0
    assert clipped["target_mean"] < unclipped["target_mean"] / 100


@every_agent
def test_optimizer_state_is_flat_tensors_and_resumes_exactly(name: str) -> None:
    straight, resumed = build(name), build(name, seed=5)
    learned(straight, batch(), num_updates=3)
    resumed.load_state_dict(straight.state_dict())
    resumed.load_optimizer_state({key: value.clone() for key, value in straight.optimizer_state().items()})
    assert learned(straight, batch(seed=1)) == learned(resumed, batch(seed=1))
    assert_same_weights(straight, resumed)
