"""PQL: IQL with the mean squared error, and with imagined rewards lowered where segments disagree."""

from dataclasses import replace

import pytest
import torch
from problems import STATS, UNIT, segments

from dwm_ray.agents.iql import IQL, expectile_loss
from dwm_ray.agents.pql import PQL
from dwm_ray.options import TrainingConfig


def agent(**options: object) -> PQL:
    torch.manual_seed(0)
    return PQL(PQL.Config(hidden_size=32, **options), UNIT, STATS, TrainingConfig(num_updates=8))


def test_value_loss_is_half_the_mean_squared_error() -> None:
    error = torch.tensor([2.0, -1.0, -3.0])
    loss = expectile_loss(error, PQL.Config().expectile)
    assert loss.item() == pytest.approx((4 + 1 + 9) / 3 / 2)


def test_a_step_is_that_of_iql_on_lowered_rewards() -> None:
    torch.manual_seed(0)
    iql = IQL(IQL.Config(hidden_size=32, expectile=0.5), UNIT, STATS, TrainingConfig(num_updates=8))
    pql, rows = agent(penalty_weight=0.3), segments(spaces=UNIT)
    lowered = replace(rows, rew=rows.rew - 0.3 * rows.penalty, penalty=torch.zeros_like(rows.penalty))
    for _ in range(3):
        pql.update(rows, torch.Generator())
        iql.update(lowered, torch.Generator())
    torch.testing.assert_close(pql.state_dict(), iql.state_dict())


def test_disagreement_counts_by_default_and_has_to_be_asked_of_the_model() -> None:
    assert PQL.Config().penalty_weight == 0.1
    assert PQL.Config.run_options("paper")["world_model.segments_per_pair"] > 1
