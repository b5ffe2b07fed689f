"""Updates that cannot be CUDA graphs: agents that break the rule are found, and what is asked in vain is refused."""

from typing import Any

import pytest
import torch
from learners import agent_of, built, learner_of
from test_graphed import capture, compare
from torch import Tensor

from dwm_ray import cuda_graphs
from dwm_ray.agents.base import Agent
from dwm_ray.agents.bc import BC
from dwm_ray.agents.iql import IQL
from dwm_ray.experiment.profiles import run_config
from dwm_ray.types import Metrics, Segments

__all__ = ["capture"]


class Reads(BC):
    """Waits for the device."""

    def learn(self, segments: Segments, generator: Any, kind: int) -> Metrics:
        metrics = super().learn(segments, generator, kind)
        return metrics if metrics["bc_loss"].item() > 0 else {}


class Chooses(BC):
    """Learns from as many rows as the data say."""

    def learn(self, segments: Segments, generator: Any, kind: int) -> Metrics:
        return super().learn(segments[segments.rew[:, 0] > 0.5], generator, kind)


class FromHost(BC):
    """Brings a number of Python's to the device."""

    def learn(self, segments: Segments, generator: Any, kind: int) -> Metrics:
        weight = torch.tensor(0.5)
        return super().learn(segments.map(lambda x: x * weight), generator, kind)


class OtherNoise(BC):
    """Draws from a generator that nobody knows of."""

    def learn(self, segments: Segments, generator: Any, kind: int) -> Metrics:
        noise = torch.randn(segments.act.shape, generator=torch.Generator().manual_seed(0))
        return super().learn(segments, generator, kind) | {"noise": noise.mean()}


@pytest.mark.usefixtures("capture")
@pytest.mark.parametrize(
    ("cls", "cause"),
    [
        (Reads, "_local_scalar_dense"),
        (Chooses, "mask as an index|nonzero"),
        (FromHost, "lift_fresh"),
        (OtherNoise, "not registered"),
    ],
)
def test_an_agent_that_cannot_be_recorded_is_an_error(cls: type[Agent], cause: str) -> None:
    trainer = learner_of([built(cls, BC.Config(), 0)], cuda_graphs=True)
    trainer.run(cuda_graphs.WARM_UPS)
    with pytest.raises(
        ValueError, match=rf"^execution\.cuda_graphs: the call cannot be captured as a CUDA graph \(.*({cause})"
    ):
        trainer.run(1)


class Counts(BC):
    """Agent whose operations depend on a number that is not part of the update kind."""

    num_calls = 0

    def learn(self, segments: Segments, generator: Any, kind: int) -> Metrics:
        self.num_calls += 1
        return super().learn(segments.map(lambda x: x * self.num_calls), generator, kind)


class Keeps(BC):
    """Keeps a result beyond its update."""

    last: Tensor | None = None

    def learn(self, segments: Segments, generator: Any, kind: int) -> Metrics:
        metrics = super().learn(segments, generator, kind)
        before, self.last = self.last, metrics["bc_loss"].clone()
        return metrics if before is None else metrics | {"bc_change": metrics["bc_loss"] - before}


@pytest.mark.usefixtures("capture")
@pytest.mark.parametrize("cls", [Counts, Keeps])
def test_the_comparison_sees_an_agent_that_breaks_the_rule(cls: type[Agent]) -> None:
    """What a GPU would silently do wrong."""
    with pytest.raises(AssertionError):
        compare(lambda cuda_graphs: learner_of([built(cls, BC.Config(), 0)], cuda_graphs=cuda_graphs))


class Silent(BC):
    supports_cuda_graphs = False


@pytest.mark.usefixtures("capture")
def test_an_agent_that_does_not_say_that_it_can_is_refused() -> None:
    agent = built(Silent, BC.Config(), 0)
    with pytest.raises(ValueError, match=r"^execution\.cuda_graphs: agent 'bc' does not support CUDA graphs"):
        learner_of([agent], cuda_graphs=True)


def test_a_learner_without_a_gpu_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^execution\.cuda_graphs: CUDA graphs need a GPU, .* device cpu; expected"):
        learner_of([agent_of("bc", 0)], cuda_graphs=True)
    with pytest.raises(ValueError, match=r"^execution\.cuda_graphs: CUDA graphs need a GPU"):
        learner_of([agent_of("bc", 0), agent_of("bc", 1)], cuda_graphs=True)


@pytest.mark.parametrize("model", ["one_step", "dydiff"])
def test_runs_whose_batches_are_imagined_while_learning_are_refused(model: str) -> None:
    config = run_config("laptop", model, "td3_bc")
    with pytest.raises(ValueError, match=rf"execution\.cuda_graphs: world model {model} generates segments while"):
        config.with_values({"execution.cuda_graphs": True})


def test_runs_refuse_agents_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IQL, "supports_cuda_graphs", False)
    with pytest.raises(ValueError, match=r"execution\.cuda_graphs: agent iql does not support CUDA graphs"):
        run_config("laptop", "none", "iql").with_values({"execution.cuda_graphs": True})


@pytest.mark.parametrize(("model", "agent"), [("none", "td3_bc"), ("dwm", "iql"), ("dwm", "decision_diffuser")])
def test_runs_whose_batches_are_drawn_ahead_are_not(model: str, agent: str) -> None:
    config = run_config("laptop", model, agent).with_values({"execution.cuda_graphs": True})
    assert config.execution.cuda_graphs
