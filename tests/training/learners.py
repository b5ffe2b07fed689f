"""Small agents and learners, for tests of the ways in which updates are executed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dwm_ray.agents.base import Agent
from dwm_ray.data.segment_rows import SegmentShape
from dwm_ray.options import ExecutionConfig, TrainingConfig
from dwm_ray.registry import find, plugins
from dwm_ray.replay.mixture import Mixture
from dwm_ray.replay.ring import Ring
from dwm_ray.training.learner import Learner
from dwm_ray.types import DataStats, Spaces

SPACES = Spaces(obs_size=3, act_size=2, act_low=(-1.0, -1.0), act_high=(1.0, 1.0))
STATS = DataStats(np.zeros(3, np.float32), np.ones(3, np.float32), -1.0, 1.0, -9.0, 9.0, -5.0, 5.0)
SMALL: dict[str, dict[str, Any]] = {
    "diffusion_ql": {"ema_start": 2, "ema_every": 3},
    "td3_bc": {"policy_delay": 3},
    "cql": {"num_sampled_actions": 2, "entropy_backup": True},
}
AGENTS: dict[str, Any] = plugins("agents")


def num_kinds(name: str) -> int:
    """Return the number of kinds of update of an agent that can be stacked."""
    return 2 if "policy_delay" in AGENTS[name].Config.model_fields else 1


def agent_of(name: str, seed: int, **options: Any) -> Agent:
    cls = find("agents", name)
    return built(cls, cls.Config(**{"hidden_size": 16, **SMALL.get(name, {}), **options}), seed)


def built(cls: type[Agent], config: Any, seed: int) -> Agent:
    torch.manual_seed(seed)
    return cls(config, SPACES, STATS, TrainingConfig(num_updates=30))


def ring(horizon: int, seed: int, device: str) -> Ring:
    shape = SegmentShape(horizon, SPACES.obs_size, SPACES.act_size, num_actions=1)
    ring_buffer = Ring(60, shape, device)
    ring_buffer.add(torch.rand(40, shape.width, generator=torch.Generator().manual_seed(seed)))
    return ring_buffer


def mixture(imagined: bool, device: str = "cpu") -> Mixture:
    return Mixture(ring(1, 0, device), ring(3, 1, device) if imagined else None, 0.25, 8)


def learner_of(agents: Sequence[Agent], imagined: bool = False, device: str = "cpu", **execution: bool) -> Learner:
    """A learner whose member p has seed p; `execution` are its options."""
    generators = [torch.Generator(device).manual_seed(seed) for seed in range(len(agents))]
    sources = [mixture(imagined, device) for _ in agents]
    return Learner([agent.to(device) for agent in agents], sources, generators, ExecutionConfig(**execution))


def run(learner: Learner, num_updates: int) -> list[dict[str, float]]:
    """Rows of metrics without the rate."""
    return [{k: v for k, v in row.items() if k != "updates_per_s"} for row in learner.run(num_updates)]


def copies(states: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    return [{key: value.clone() for key, value in state.items()} for state in states]


def assert_equal(first: list[dict[str, Tensor]], second: list[dict[str, Tensor]]) -> None:
    """Equal states, bit for bit."""
    for state, expected in zip(first, second, strict=True):
        assert state.keys() == expected.keys()
        for key, value in state.items():
            assert torch.equal(value, expected[key]), key


def assert_close(first: list[dict[str, Tensor]], second: list[dict[str, Tensor]], **tolerance: float) -> None:
    """States that are equal up to rounding; generators exactly."""
    for expected, actual in zip(first, second, strict=True):
        assert expected.keys() == actual.keys()
        for key, value in expected.items():
            exact = {"rtol": 0.0, "atol": 0.0} if key == "generator" else tolerance
            torch.testing.assert_close(actual[key], value, msg=key, **exact)
