"""The agent's loop: means, divergence, exact resume."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dwm_ray.options import TrainingConfig
from dwm_ray.registry import find
from dwm_ray.replay.mixture import Mixture
from dwm_ray.replay.ring import Ring
from dwm_ray.runs import tensor_files
from dwm_ray.training.agent import AgentTrainer, NonFiniteLoss
from dwm_ray.types import DataStats, Metrics, Segments, SegmentShape, Spaces

SHAPE = SegmentShape(horizon=2, obs_size=3, act_size=2, num_actions=1)


class Scripted(nn.Module):
    """Reports prepared metrics."""

    def __init__(self, rows: list[dict[str, float]]) -> None:
        super().__init__()
        self._rows: Iterator[dict[str, float]] = iter(rows)

    def update(self, segments: Segments, generator: torch.Generator) -> Metrics:
        return {name: torch.tensor(value) for name, value in next(self._rows).items()}


def mixture() -> Mixture:
    ring = Ring(50, SHAPE)
    ring.add(torch.rand(50, SHAPE.width, generator=torch.Generator().manual_seed(0)))
    return Mixture(ring, None, 1.0, 8)


def scripted(rows: list[dict[str, float]]) -> AgentTrainer:
    return AgentTrainer(Scripted(rows), mixture(), torch.Generator())  # type: ignore[arg-type]


def real_agent(name: str, seed: int) -> AgentTrainer:
    torch.manual_seed(seed)
    stats = DataStats(np.zeros(3, np.float32), np.ones(3, np.float32), -1, 1, -9, 9, -5, 5)
    cls = find("agents", name)
    agent = cls(cls.Config(), Spaces(3, 2, (-1, -1), (1, 1)), stats, TrainingConfig(num_updates=20))
    return AgentTrainer(agent, mixture(), torch.Generator().manual_seed(seed))


def test_means_are_over_the_updates_that_reported() -> None:
    trainer = scripted([{"q": 1.0}, {"q": 3.0, "actor": 8.0}, {"q": 5.0}, {"q": 7.0}])
    assert trainer.run(3) == {"q": 3.0, "actor": 8.0}
    assert trainer.run(1) == {"q": 7.0}
    assert trainer.update == 4


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_divergence_is_an_error_that_names_the_metric(value: float) -> None:
    trainer = scripted([{"q": 1.0, "critic_loss": 1.0}, {"q": 2.0, "critic_loss": value}])
    with pytest.raises(NonFiniteLoss, match="before update 2: critic_loss not finite"):
        trainer.run(2)


def tensors_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", ["td3_bc", "iql"])
def test_resume_is_exact(name: str, tmp_path: Path) -> None:
    straight = real_agent(name, seed=0)
    first = straight.run(5)  # odd: the delayed actor's counter matters
    tensor_files.save(tmp_path, "trainer", straight.state_dict(), {})
    second = straight.run(6)

    resumed = real_agent(name, seed=9)
    resumed.load_state_dict(tensor_files.load(tmp_path, "trainer")[0])
    assert resumed.update == 5
    assert resumed.run(6) == second != first
    tensors_equal(straight.state_dict(), resumed.state_dict())


def test_resume_before_the_first_update() -> None:
    straight, resumed = real_agent("td3_bc", 0), real_agent("td3_bc", 9)
    resumed.run(3)
    resumed.load_state_dict(straight.state_dict())
    assert resumed.run(3) == straight.run(3)


def test_a_state_with_a_missing_part_is_refused() -> None:
    trainer = real_agent("td3_bc", 0)
    trainer.run(2)
    state = trainer.state_dict()
    del state["optimizer.critic.0.exp_avg"]
    with pytest.raises(ValueError, match=r"'critic.0.exp_avg': found nothing, expected shape \[2, 5, 256\]"):
        trainer.load_state_dict(state)
