"""Every agent with a critic does better than cloning where the behaviour is bad on average and the optimum is known.

Two states: what is done in the first decides the second, and the reward comes there, whatever is done then. So a critic
has to carry it back by its bootstrap. The behaviour is uniform in [-1, 1]; the best first action is .5.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from problems import STATS

from dwm_ray.options import TrainingConfig
from dwm_ray.registry import find, plugins
from dwm_ray.types import Segments, Spaces

BEST = 0.5
NUM_UPDATES = 400
SPACES = Spaces(2, 1, (-1.0,), (1.0,))
ONES = STATS.obs_std[:1].repeat(2)
TWO_STATES = replace(STATS, obs_mean=0 * ONES, obs_std=ONES, rew_min=-9.0, rew_max=0.0)
START = torch.zeros(1, 2)
SMALL = {"hidden_size": 32, "num_hidden": 2}
QUICK = {**SMALL, "tau": 0.05}
FAST: dict[str, dict[str, Any]] = {
    "bc": {**SMALL, "learning_rate": 3e-3},
    "td3_bc": {**QUICK, "learning_rate": 3e-3, "alpha": 20.0},
    "iql": {**QUICK, "learning_rate": 3e-3, "beta": 10.0, "reward_scale": "none"},
    "pql": {**QUICK, "learning_rate": 3e-3, "beta": 10.0, "reward_scale": "none"},
    "cql": {**QUICK, "policy_learning_rate": 3e-3, "critic_learning_rate": 3e-3, "conservative_weight": 0.1},
    "diffusion_ql": {**QUICK, "learning_rate": 3e-3, "eta": 5.0, "ema_start": 0, "ema_every": 1},
}
"""Step sizes for hundreds of updates instead of a million, and rewards that count against the cloning terms; an agent
without an entry runs with its defaults."""
LEARNERS = [name for name, cls in plugins("agents").items() if cls.has_critic]  # type: ignore[attr-defined]


def transitions(batch: int, generator: torch.Generator) -> Segments:
    """Half from the first state (0, 0) to the second (1, action), half from there to the end."""
    act, later = (torch.rand(batch // 2, 1, generator=generator) * 2 - 1 for _ in range(2))
    first, second = torch.zeros(len(act), 2), torch.cat([torch.ones_like(act), act], 1)
    obs = torch.cat([torch.stack([first, second], 1), torch.stack([second, second], 1)])
    zeros = torch.zeros_like(act)
    rew = torch.cat([zeros, -4 * (act - BEST).square()])
    discount = torch.cat([zeros + 0.99, zeros])
    nothing = torch.zeros_like(rew)
    return Segments(obs, torch.cat([act, later]).unsqueeze(1), rew, discount, nothing, nothing[:, 0])


@cache
def regret(name: str) -> float:
    """Squared distance of the learned first action to the best one: the reward that it loses."""
    torch.manual_seed(0)
    cls = find("agents", name)
    agent = cls(cls.Config(**FAST.get(name, {})), SPACES, TWO_STATES, TrainingConfig(num_updates=NUM_UPDATES))
    generator = torch.Generator().manual_seed(0)
    for _ in range(NUM_UPDATES):
        agent.update(transitions(64, generator), generator)
    return (agent.act(START).item() - BEST) ** 2


def test_cloning_does_what_the_data_do_on_average() -> None:
    assert regret("bc") == pytest.approx(BEST**2, abs=0.1)


@pytest.mark.parametrize("name", LEARNERS)
def test_beats_cloning(name: str) -> None:
    assert regret(name) < regret("bc") / 4
