"""IQL and PQL: golden expectile, reward scale, learning rate, capped weights, penalties."""

from dataclasses import replace

import pytest
import torch
from agent_problems import STATS, UNIT, build, rng, segments

from dwm_ray.agents.iql import IQL, expectile_loss, reward_scale
from dwm_ray.agents.pql import PQL


def test_golden_expectile() -> None:
    assert expectile_loss(torch.tensor([2.0, -2.0]), 0.7).item() == pytest.approx((0.7 * 4 + 0.3 * 4) / 2)
    sample = torch.tensor([0.0, 1.0])
    guesses = torch.linspace(0, 1, 1001)
    best = guesses[torch.stack([expectile_loss(sample - guess, 0.7) for guess in guesses]).argmin()]
    assert best.item() == pytest.approx(0.7, abs=1e-3)  # .7 * (1 - x) = .3 * x


def test_value_loss_of_pql_is_half_the_mean_squared_error() -> None:
    loss = expectile_loss(torch.tensor([2.0, -1.0, -3.0]), PQL.Config().expectile)
    assert loss.item() == pytest.approx((4 + 1 + 9) / 3 / 2)


def test_reward_scale() -> None:
    assert reward_scale(IQL.Config(), STATS) == pytest.approx(20.0)
    assert reward_scale(IQL.Config(reward_scale="none"), STATS) == 1.0
    with pytest.raises(ValueError, match="reward_scale 'return_range': every episode of the data returns 30"):
        reward_scale(IQL.Config(), replace(STATS, return_min=30.0))


def test_policy_rate_falls_to_zero_along_a_cosine() -> None:
    agent, rates = build("iql", num_updates=4), []
    for _ in range(6):  # two updates more than planned
        agent.update(segments(spaces=UNIT), rng())
        rates.append(agent.optimizers["adam"].param_groups[2]["lr"] / 3e-4)
    assert rates == pytest.approx([1.0, 0.853553, 0.5, 0.146447, 0.0, 0.0], abs=1e-6)


def test_weights_are_capped() -> None:
    agent = build("iql", max_weight=2.0, deterministic=True)
    obs, act = torch.randn(5, 3), torch.rand(5, 2)
    loss = agent._actor_loss(obs, act, torch.full((5,), 50.0))
    assert loss.item() == pytest.approx(2 * (agent.actor.mean(obs) - act).square().sum(1).mean().item(), rel=1e-5)


def test_lambda_below_one_reads_every_imagined_state() -> None:
    rows = segments(spaces=UNIT)
    changed = replace(rows, obs=torch.cat([rows.obs[:, :1], 9 + rows.obs[:, 1:3], rows.obs[:, 3:]], 1))
    for lam, same in ((1.0, True), (0.95, False)):
        first, second = (build("iql", return_lambda=lam).update(x, rng()) for x in (rows, changed))
        assert (first["target_mean"] == second["target_mean"]).item() is same


def test_updates_of_pql_are_those_of_iql_on_lowered_rewards() -> None:
    iql, pql, rows = build("iql", expectile=0.5), build("pql", penalty_weight=0.3), segments(spaces=UNIT)
    lowered = replace(rows, rew=rows.rew - 0.3 * rows.penalty, penalty=torch.zeros_like(rows.penalty))
    for _ in range(3):
        pql.update(rows, rng())
        iql.update(lowered, rng())
    torch.testing.assert_close(pql.state_dict(), iql.state_dict())


def test_pql_penalises_disagreement_by_default_and_makes_the_model_measure_it() -> None:
    assert PQL.Config().penalty_weight == 0.1
    assert PQL.Config.run_options("paper")["world_model.segments_per_pair"] > 1
