"""TD3+BC: equal to the published algorithm on real transitions; golden target; reaches a known optimum."""

from dataclasses import replace

import pytest
import torch
from problems import SPACES, STATS, UNIT, segments
from references import PlainTD3BC
from test_networks import member

from dwm_ray.agents.td3_bc import TD3BC
from dwm_ray.options import TrainingConfig
from dwm_ray.types import Segments, Spaces


def agent(spaces: Spaces = UNIT, **options: object) -> TD3BC:
    torch.manual_seed(0)
    return TD3BC(TD3BC.Config(hidden_size=32, **options), spaces, STATS, TrainingConfig())


def test_one_step_equals_the_published_algorithm() -> None:
    learner = agent()
    plain = PlainTD3BC(learner)
    noise, plain_noise = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    for seed in range(6):
        rows = segments(32, 1, UNIT, seed)
        obs = learner.scaling.obs(rows.obs)
        learner.update(rows, noise)
        plain.update(rows, obs[:, 0], obs[:, 1], plain_noise)
    for mine, theirs in ((learner.actor.body, plain.actor[0]), (learner.target_actor.body, plain.target_actor[0])):
        torch.testing.assert_close(member(mine, 0).state_dict(), theirs.state_dict(), rtol=1e-4, atol=1e-5)
    for i in range(2):
        mine = member(learner.critic.body, i).state_dict()
        torch.testing.assert_close(mine, plain.critics[i].state_dict(), rtol=1e-4, atol=1e-5)
        mine = member(learner.target_critic.body, i).state_dict()
        torch.testing.assert_close(mine, plain.target_critics[i].state_dict(), rtol=1e-4, atol=1e-5)


def test_golden_target_is_the_smaller_target_q() -> None:
    learner = agent(target_clip="none")
    for param in learner.target_critic.parameters():
        param.data.zero_()
    learner.target_critic.body.biases[-1].data[:, 0, 0] = torch.tensor([7.0, 5.0])
    rows = segments(2, 2, UNIT)
    rows = replace(rows, rew=torch.tensor([[1.0, 2.0], [3.0, 4.0]]), discount=torch.tensor([[0.9, 0.9], [0.9, 0.0]]))
    target, _ = learner._targets(rows, torch.Generator())
    assert target.tolist() == pytest.approx([1 + 0.9 * 2 + 0.81 * 5, 3 + 0.9 * 4])


def test_actor_moves_on_every_second_update_only() -> None:
    learner = agent()
    before = [p.clone() for p in learner.actor.parameters()]
    assert "actor_loss" not in learner.update(segments(spaces=UNIT), torch.Generator())
    assert all(torch.equal(a, b) for a, b in zip(before, learner.actor.parameters(), strict=True))
    assert "actor_loss" in learner.update(segments(spaces=UNIT), torch.Generator())
    assert not any(torch.equal(a, b) for a, b in zip(before, learner.actor.parameters(), strict=True))


def test_exploration_noise_is_clipped_around_the_target_actor() -> None:
    learner = agent(SPACES, policy_noise=10.0, noise_clip=0.1)
    obs = torch.randn(64, 3)
    half_range = learner.scaling.half_range
    distance = (learner.explore(obs, torch.Generator().manual_seed(0)) - learner.act(obs)).abs() / half_range
    assert distance.max() <= 0.1 + 1e-5
    assert distance.mean() > 0.08  # noise this wide is nearly always at its bound


def bandit(batch: int, generator: torch.Generator) -> Segments:
    """Episodes of one step; the reward is best at action .5, the behaviour is uniform in [-1, 1], .0 on average."""
    act = torch.rand(batch, 1, 1, generator=generator) * 2 - 1
    rew = 1 - (act[:, 0] - 0.5).square()
    zeros = torch.zeros(batch, 1)
    return Segments(torch.zeros(batch, 2, 1), act, rew, zeros, zeros, zeros[:, 0])


def test_beats_its_behaviour_where_the_optimum_is_known() -> None:
    torch.manual_seed(0)
    spaces = Spaces(1, 1, (-1.0,), (1.0,))
    stats = replace(STATS, obs_mean=STATS.obs_mean[:1], obs_std=STATS.obs_std[:1])
    config = TD3BC.Config(hidden_size=32, learning_rate=3e-3, alpha=20.0)
    learner = TD3BC(config, spaces, stats, TrainingConfig())
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        learner.update(bandit(64, generator), generator)
    assert learner.act(torch.zeros(1, 1)).item() == pytest.approx(0.5, abs=0.1)
