"""IQL: equal to the published order of updates; golden expectile; reaches a known optimum."""

from dataclasses import replace

import pytest
import torch
from problems import SPACES, STATS, UNIT, segments
from references import PlainIQL
from test_networks import member
from test_td3_bc import bandit

from dwm_ray.agents.iql import IQL, expectile_loss, reward_scale
from dwm_ray.options import TrainingConfig
from dwm_ray.types import Spaces


def agent(num_updates: int = 100, **options: object) -> IQL:
    torch.manual_seed(0)
    return IQL(IQL.Config(hidden_size=32, **options), UNIT, STATS, TrainingConfig(num_updates=num_updates))


def test_one_step_equals_the_published_algorithm() -> None:
    learner = agent(num_updates=8)
    plain = PlainIQL(learner, 8, reward_scale=20.0)
    for seed in range(6):
        rows = segments(32, 1, UNIT, seed)
        obs = learner.scaling.obs(rows.obs)
        learner.update(rows, torch.Generator())
        plain.update(rows, obs[:, 0], obs[:, 1])
    pairs = [(learner.value.body, 0, plain.value), (learner.actor.mean.body, 0, plain.mean[0])]
    pairs += [(learner.critic.body, i, plain.critics[i]) for i in range(2)]
    pairs += [(learner.target_critic.body, i, plain.target_critics[i]) for i in range(2)]
    for mine, index, theirs in pairs:
        torch.testing.assert_close(member(mine, index).state_dict(), theirs.state_dict(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(learner.actor.log_std, plain.log_std, rtol=1e-4, atol=1e-5)


def test_golden_expectile() -> None:
    assert expectile_loss(torch.tensor([2.0, -2.0]), 0.7).item() == pytest.approx((0.7 * 4 + 0.3 * 4) / 2)
    sample = torch.tensor([0.0, 1.0])
    guesses = torch.linspace(0, 1, 1001)
    best = guesses[torch.stack([expectile_loss(sample - guess, 0.7) for guess in guesses]).argmin()]
    assert best.item() == pytest.approx(0.7, abs=1e-3)  # .7 * (1 - x) = .3 * x


def test_reward_scale() -> None:
    assert reward_scale(IQL.Config(), STATS) == pytest.approx(20.0)
    assert reward_scale(IQL.Config(reward_scale="none"), STATS) == 1.0
    with pytest.raises(ValueError, match="reward_scale 'return_range': every episode of the data returns 30"):
        reward_scale(IQL.Config(), replace(STATS, return_min=30.0))


def test_policy_rate_falls_to_zero_along_a_cosine() -> None:
    learner, rates = agent(num_updates=4), []
    for _ in range(6):  # two updates more than planned
        learner.update(segments(spaces=UNIT), torch.Generator())
        rates.append(learner.optimizers["adam"].param_groups[2]["lr"] / 3e-4)
    assert rates == pytest.approx([1.0, 0.853553, 0.5, 0.146447, 0.0, 0.0], abs=1e-6)


def test_weights_are_capped() -> None:
    learner = agent(max_weight=2.0, deterministic=True)
    obs, act = torch.randn(5, 3), torch.rand(5, 2)
    loss = learner._actor_loss(obs, act, torch.full((5,), 50.0))
    assert loss.item() == pytest.approx(2 * (learner.actor.mean(obs) - act).square().sum(1).mean().item(), rel=1e-5)


def test_lambda_below_one_looks_at_every_imagined_state() -> None:
    last_only = segments(spaces=UNIT)
    changed = replace(
        last_only, obs=torch.cat([last_only.obs[:, :1], 9 + last_only.obs[:, 1:3], last_only.obs[:, 3:]], 1)
    )
    for lam, same in ((1.0, True), (0.95, False)):
        first, second = (agent(return_lambda=lam).update(x, torch.Generator()) for x in (last_only, changed))
        assert (first["target_mean"] == second["target_mean"]).item() is same


@pytest.mark.parametrize("deterministic", [False, True])
def test_beats_its_behaviour_where_the_optimum_is_known(deterministic: bool) -> None:
    torch.manual_seed(0)
    spaces = Spaces(1, 1, (-1.0,), (1.0,))
    stats = replace(STATS, obs_mean=STATS.obs_mean[:1], obs_std=STATS.obs_std[:1])
    options = {"hidden_size": 32, "learning_rate": 3e-3, "beta": 10.0, "reward_scale": "none", "tau": 0.05}
    config = IQL.Config(deterministic=deterministic, **options)
    learner = IQL(config, spaces, stats, TrainingConfig(num_updates=400))
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        learner.update(bandit(64, generator), generator)
    assert learner.act(torch.zeros(1, 1)).item() == pytest.approx(0.45, abs=0.15)


def test_explores_with_its_mean() -> None:
    learner = agent()
    obs = torch.randn(4, SPACES.obs_size)
    assert torch.equal(learner.explore(obs, torch.Generator()), learner.act(obs))
