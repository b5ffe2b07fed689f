"""Behaviour cloning: one golden step, and the behaviour's mean where actions are noisy."""

import numpy as np
import torch
from problems import STATS, UNIT, segments
from references import adam, step
from test_networks import member
from torch import nn

from dwm_ray.agents.bc import BC
from dwm_ray.options import TrainingConfig


def agent() -> BC:
    torch.manual_seed(0)
    return BC(BC.Config(hidden_size=32), UNIT, STATS, TrainingConfig())


def test_equals_plain_regression() -> None:
    learner = agent()
    plain = nn.Sequential(member(learner.actor.body, 0), nn.Tanh())
    optimizer = adam(plain)
    for seed in range(4):
        rows = segments(32, 1, UNIT, seed)
        obs = (rows.obs[:, 0].numpy() - STATS.obs_mean) / (STATS.obs_std + np.float32(1e-3))
        loss = nn.functional.mse_loss(plain(torch.from_numpy(obs)), rows.act[:, 0])
        torch.testing.assert_close(learner.update(rows, torch.Generator())["bc_loss"], loss.detach())
        step(optimizer, loss)
    torch.testing.assert_close(member(learner.actor.body, 0).state_dict(), plain[0].state_dict(), rtol=1e-4, atol=1e-5)


def test_what_follows_the_start_pair_changes_nothing() -> None:
    rows = segments(32, 3, UNIT)
    first, second = agent(), agent()
    first.update(rows, torch.Generator())
    second.update(rows.prefix(1), torch.Generator())
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key
