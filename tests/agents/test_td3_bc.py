"""TD3+BC: delayed actor, clipped noise."""

import torch
from agent_problems import SPACES, UNIT, build, rng, segments


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
