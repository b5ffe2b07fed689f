"""Updates of every agent equal the published algorithm; TD3+BC's delayed actor and clipped noise."""

from dataclasses import replace
from typing import Any

import pytest
import references
import torch
from agent_problems import SPACES, STATS, UNIT, build, rng, segments

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "bc": (references.PlainBC, {}),
    "cql": (references.PlainCQL, {"num_sampled_actions": references.PlainCQL.NUM_SAMPLES}),
    "decision_diffuser": (references.PlainInverseDynamics, {}),
    "diffusion_ql": (references.PlainDiffusionQL, {"ema_start": 2, "ema_every": 3}),
    "iql": (references.PlainIQL, {}),
    "rebrac": (references.PlainReBRAC, {"actor_penalty": 0.2, "critic_penalty": 0.3}),
    "td3_bc": (references.PlainTD3BC, {}),
}


@pytest.mark.parametrize("name", list(CASES))
def test_updates_equal_the_published_algorithm(name: str) -> None:
    plain_class, options = CASES[name]
    agent = build(name, num_updates=10, **options)
    plain, noise, plain_noise = plain_class(agent), rng(1), rng(1)
    for seed in range(8):
        rows = segments(32, 1, UNIT, seed)
        obs, next_obs = ((rows.obs - torch.tensor(STATS.obs_mean)) / (torch.tensor(STATS.obs_std) + 1e-3)).unbind(1)
        metrics = agent.update(rows, noise)
        for key, value in plain.update(rows, obs, next_obs, plain_noise).items():
            torch.testing.assert_close(metrics[key], value)
    for weights, expected in plain.pairs(agent):
        torch.testing.assert_close(weights, expected, rtol=1e-3 if name == "diffusion_ql" else 1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["cql", "diffusion_ql", "rebrac", "td3_bc"])
def test_golden_target_bootstraps_at_the_last_state_with_the_smaller_q(name: str) -> None:
    agent = build(name, target_clip="none")
    constant_q(agent, 7.0, 5.0)
    rows = replace(segments(2, 2, UNIT), next_act=None)
    rows = replace(rows, rew=torch.tensor([[1.0, 2.0], [3.0, 4.0]]), discount=torch.tensor([[0.9, 0.9], [0.9, 0.0]]))
    target, _ = agent._targets(rows, rng())
    assert target.tolist() == pytest.approx([1 + 0.9 * 2 + 0.81 * 5, 3 + 0.9 * 4])


def constant_q(agent: Any, *values: float) -> None:
    """Make the target critics constant."""
    for param in agent.target_critic.parameters():
        param.data.zero_()
    agent.target_critic.body.biases[-1].data[:, 0, 0] = torch.tensor(values)


def test_bc_reads_start_pairs_only() -> None:
    rows = segments(32, 3, UNIT)
    first, second = build("bc"), build("bc")
    first.update(rows, rng())
    second.update(rows.prefix(1), rng())
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)


def test_actor_moves_on_every_second_update_only() -> None:
    agent, rows = build("td3_bc"), segments(spaces=UNIT)
    before = [param.clone() for param in agent.actor.parameters()]
    assert "actor_loss" not in agent.update(rows, rng())
    assert all(torch.equal(a, b) for a, b in zip(before, agent.actor.parameters(), strict=True))
    assert "actor_loss" in agent.update(rows, rng())
    assert not any(torch.equal(a, b) for a, b in zip(before, agent.actor.parameters(), strict=True))


def test_exploration_noise_is_clipped_around_the_target_actor() -> None:
    agent = build("td3_bc", SPACES, policy_noise=10.0, noise_clip=0.1)
    obs = torch.randn(64, 3)
    distance = (agent.explore(obs, rng()) - agent.act(obs)).abs() / agent.scaling.half_range
    assert distance.max() <= 0.1 + 1e-5
    assert distance.mean() > 0.08  # noise this wide is nearly always at its bound
