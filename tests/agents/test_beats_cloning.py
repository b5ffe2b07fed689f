"""Every agent with a critic beats cloning if the behaviour is bad on average and the optimum is known.

Two states: the first action decides the second state, and the reward is given there, for every action. A critic
therefore has to carry it back by its bootstrap. The behaviour is uniform in [-1, 1]; the best first action is .5.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from agent_problems import STATS, rng

from dwm_ray.options import TrainingConfig
from dwm_ray.registry import find, plugins
from dwm_ray.types import Segments, Spaces

BEST = 0.5
NUM_UPDATES = 400
SPACES = Spaces(2, 1, (-1.0,), (1.0,))
ONES = STATS.obs_std[:1].repeat(2)
TWO_STATES = replace(STATS, obs_mean=0 * ONES, obs_std=ONES, rew_min=-9.0, rew_max=0.0)
SMALL = {"hidden_size": 32, "num_hidden": 2}
QUICK = {**SMALL, "learning_rate": 3e-3, "tau": 0.05}
IQL = {**QUICK, "beta": 10.0, "reward_scale": "none"}
CQL = {**SMALL, "tau": 0.05, "policy_learning_rate": 3e-3, "critic_learning_rate": 3e-3, "conservative_weight": 0.1}
FAST: dict[str, dict[str, Any]] = {
    "bc": {**SMALL, "learning_rate": 3e-3},
    "td3_bc": {**QUICK, "alpha": 20.0},
    "rebrac": {**QUICK, "learning_rate": 1e-3, "actor_penalty": 0.05},
    "iql": IQL,
    "iql deterministic": {**IQL, "deterministic": True},
    "pql": IQL,
    "cql": CQL,
    "diffusion_ql": {**QUICK, "eta": 5.0, "ema_start": 0, "ema_every": 1},
}
"""Learning rates for hundreds of updates instead of a million, and weights with which rewards outweigh the cloning
terms. An agent without an entry runs with its defaults."""
WITH_CRITIC = [name for name, cls in plugins("agents").items() if cls.has_critic]  # type: ignore[attr-defined]


def transitions(batch: int, generator: torch.Generator) -> Segments:
    """Half from the first state (0, 0) to the second (1, action), half from there to the end."""
    act, later = (torch.rand(batch // 2, 1, generator=generator) * 2 - 1 for _ in range(2))
    first, second = torch.zeros(len(act), 2), torch.cat([torch.ones_like(act), act], 1)
    obs = torch.cat([torch.stack([first, second], 1), torch.stack([second, second], 1)])
    zeros = torch.zeros_like(act)
    rew = torch.cat([zeros, -4 * (act - BEST).square()])
    discount = torch.cat([zeros + 0.99, zeros])
    penalty = torch.zeros_like(rew)
    return Segments(obs, torch.cat([act, later]).unsqueeze(1), rew, discount, penalty, penalty[:, 0])


@cache
def regret(case: str) -> float:
    """Squared distance of the learned first action to the best one: the reward that it loses."""
    torch.manual_seed(0)
    cls = find("agents", case.split()[0])
    agent = cls(cls.Config(**FAST.get(case, {})), SPACES, TWO_STATES, TrainingConfig(num_updates=NUM_UPDATES))
    generator = rng()
    for _ in range(NUM_UPDATES):
        agent.update(transitions(64, generator), generator)
    return (agent.act(torch.zeros(1, 2)).item() - BEST) ** 2


def test_cloning_repeats_the_mean_action_of_the_data() -> None:
    assert regret("bc") == pytest.approx(BEST**2, abs=0.1)


@pytest.mark.parametrize("case", [*WITH_CRITIC, "iql deterministic"])
def test_beats_cloning(case: str) -> None:
    assert regret(case) < regret("bc") / 12
