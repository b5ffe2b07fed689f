"""Updates replayed as CUDA graphs (emulated) equal eager updates bit for bit, for every agent that supports them."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from emulated_graphs import EmulatedCapture
from learners import AGENTS, agent_of, assert_equal, built, copies, learner_of, num_kinds, run

from dwm_ray import cuda_graphs
from dwm_ray.agents.base import Agent
from dwm_ray.agents.bc import BC
from dwm_ray.agents.iql import IQL
from dwm_ray.experiment.grouping import stackable_agents
from dwm_ray.experiment.profiles import run_config
from dwm_ray.training import updates
from dwm_ray.training.learner import Learner
from dwm_ray.types import Metrics, Segments

PARTS = (11, 2, 9)
"""Updates of three consecutive runs: each kind of update is recorded in the first, and replayed in all."""

every_agent = pytest.mark.parametrize("name", [name for name, cls in AGENTS.items() if cls.supports_cuda_graphs])
every_source = pytest.mark.parametrize("imagined", [False, True], ids=["real", "imagined"])


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> EmulatedCapture:
    result = EmulatedCapture()
    monkeypatch.setattr(updates, "capture_on", lambda device, option: result)
    return result


def compare(make: Callable[[bool], Learner]) -> None:
    """Compare metrics and states of eager and of replayed updates."""
    eager, replayed = make(False), make(True)
    for part in PARTS:
        assert run(replayed, part) == run(eager, part)
        assert_equal(eager.state_dicts(), replayed.state_dicts())


def test_the_projects_agents_support_cuda_graphs() -> None:
    ours = {"bc", "cql", "decision_diffuser", "diffusion_ql", "iql", "pql", "rebrac", "td3_bc"}
    assert ours <= {name for name, cls in AGENTS.items() if cls.supports_cuda_graphs}


@every_agent
@every_source
def test_replayed_updates_equal_those_of_an_agent(name: str, imagined: bool, capture: EmulatedCapture) -> None:
    compare(lambda on: learner_of([agent_of(name, 0)], imagined, cuda_graphs=on))
    agent = agent_of(name, 0)
    kinds = Counter(agent.next_update_kind() for _ in range(sum(PARTS)))
    assert len(capture.tapes) == len(kinds) >= (2 if name in ("td3_bc", "diffusion_ql") else 1)
    assert capture.num_eager == len(kinds) * cuda_graphs.WARM_UPS


@every_source
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, [{}, {}, {}]) for name in stackable_agents()),
        ("td3_bc", [{"alpha": 2.5}, {"alpha": 0.5}]),
        ("iql", [{"beta": 3.0}, {"beta": 10.0}]),
    ],
)
def test_replayed_updates_equal_those_of_a_population(
    name: str, options: list[dict[str, Any]], imagined: bool, capture: EmulatedCapture
) -> None:
    compare(
        lambda on: learner_of(
            [agent_of(name, seed, **own) for seed, own in enumerate(options)], imagined, cuda_graphs=on
        )
    )
    assert len(capture.tapes) == num_kinds(name)


@pytest.mark.usefixtures("capture")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_rows_added_during_training_are_sampled(precision: str) -> None:
    eager, replayed = (
        learner_of([agent_of("td3_bc", 0, matmul_precision=precision)], True, cuda_graphs=on) for on in (False, True)
    )
    for part in (10, 10):
        assert run(replayed, part) == run(eager, part)
        for learner in (eager, replayed):
            imagined = learner.sources[0]._imagined  # type: ignore[attr-defined]
            imagined.add(torch.rand(50, imagined.shape.width, generator=torch.Generator().manual_seed(7)))
    assert_equal(eager.state_dicts(), replayed.state_dicts())


@every_agent
def test_a_resume_is_exact(name: str, capture: EmulatedCapture) -> None:
    straight, first, later = (
        learner_of([agent_of(name, seed)], cuda_graphs=on) for seed, on in ((0, False), (0, True), (5, True))
    )
    expected = run(straight, 11)
    assert run(first, 11) == expected
    state = copies(first.state_dicts())
    expected = run(straight, 12)
    first.run(4)  # dropped by the resume
    for learner in (first, later):
        learner.load_state_dicts(state)
        before = len(capture.tapes)
        assert run(learner, 12) == expected
        assert len(capture.tapes) > before
        assert_equal(straight.state_dicts(), learner.state_dicts())


def test_a_population_resumes_exactly(capture: EmulatedCapture) -> None:
    straight, replayed = (
        learner_of([agent_of("td3_bc", seed) for seed in range(2)], cuda_graphs=on) for on in (False, True)
    )
    straight.run(13), replayed.run(12)
    assert len(capture.tapes) == 2
    replayed.load_state_dicts(copies(straight.state_dicts()))
    for _ in range(2):
        straight.run(12), replayed.run(12)
        assert_equal(straight.state_dicts(), replayed.state_dicts())
    assert len(capture.tapes) == 4


class Reads(BC):
    """Waits for the device."""

    def learn(self, segments: Segments, generator: Any, kind: int) -> Metrics:
        metrics = super().learn(segments, generator, kind)
        return metrics if metrics["bc_loss"].item() > 0 else {}


class Chooses(BC):
    """Learns from a number of rows that depends on the data."""

    def learn(self, segments: Segments, generator: Any, kind: int) -> Metrics:
        return super().learn(segments[segments.rew[:, 0] > 0.5], generator, kind)


class FromHost(BC):
    """Copies a Python number to the device."""

    def learn(self, segments: Segments, generator: Any, kind: int) -> Metrics:
        weight = torch.tensor(0.5)
        return super().learn(segments.map(lambda x: x * weight), generator, kind)


class OtherNoise(BC):
    """Samples from a generator that is not registered."""

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


class Silent(BC):
    supports_cuda_graphs = False


@pytest.mark.usefixtures("capture")
def test_an_agent_without_support_is_refused() -> None:
    agent = built(Silent, BC.Config(), 0)
    with pytest.raises(ValueError, match=r"^execution\.cuda_graphs: agent 'bc' does not support CUDA graphs"):
        learner_of([agent], cuda_graphs=True)


@pytest.mark.parametrize("model", ["one_step", "dydiff"])
def test_runs_that_imagine_batches_while_learning_are_refused(model: str) -> None:
    config = run_config("laptop", model, "td3_bc")
    with pytest.raises(ValueError, match=rf"execution\.cuda_graphs: world model {model} generates segments while"):
        config.with_values({"execution.cuda_graphs": True})


def test_runs_refuse_agents_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IQL, "supports_cuda_graphs", False)
    with pytest.raises(ValueError, match=r"execution\.cuda_graphs: agent iql does not support CUDA graphs"):
        run_config("laptop", "none", "iql").with_values({"execution.cuda_graphs": True})


@pytest.mark.parametrize(("model", "agent"), [("none", "td3_bc"), ("dwm", "iql"), ("dwm", "decision_diffuser")])
def test_runs_with_batches_generated_ahead_are_accepted(model: str, agent: str) -> None:
    config = run_config("laptop", model, agent).with_values({"execution.cuda_graphs": True})
    assert config.execution.cuda_graphs
