"""Updates as CUDA graphs, emulated: bit for bit those that are made one by one, for every agent that says it can."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from emulated_graphs import EmulatedCapture
from torch import Tensor

from dwm_ray import cuda_graphs
from dwm_ray.agents.base import Agent
from dwm_ray.agents.parts.population import Population
from dwm_ray.experiment.grouping import stackable_agents
from dwm_ray.options import ExecutionConfig, TrainingConfig
from dwm_ray.registry import find, plugins
from dwm_ray.replay.mixture import Mixture
from dwm_ray.replay.ring import Ring
from dwm_ray.training import graphed
from dwm_ray.training.agent import AgentTrainer
from dwm_ray.training.population import PopulationTrainer
from dwm_ray.types import DataStats, SegmentShape, Spaces

SPACES = Spaces(obs_size=3, act_size=2, act_low=(-1.0, -1.0), act_high=(1.0, 1.0))
STATS = DataStats(np.zeros(3, np.float32), np.ones(3, np.float32), -1.0, 1.0, -9.0, 9.0, -5.0, 5.0)
SMALL: dict[str, dict[str, Any]] = {
    "diffusion_ql": {"ema_start": 2, "ema_every": 3},
    "td3_bc": {"policy_delay": 3},
    "cql": {"num_sampled_actions": 2, "entropy_backup": True},
}
PARTS = (11, 2, 9)
"""Updates of three runs in a row: each kind is recorded in the first, and replayed in all."""

AGENTS: dict[str, Any] = plugins("agents")
every_agent = pytest.mark.parametrize("name", [name for name, cls in AGENTS.items() if cls.supports_cuda_graphs])
every_source = pytest.mark.parametrize("imagined", [False, True], ids=["real", "imagined"])


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> EmulatedCapture:
    found = EmulatedCapture()
    monkeypatch.setattr(graphed, "capture_on", lambda device, option: found)
    return found


def agent_of(name: str, seed: int, **options: Any) -> Agent:
    cls = find("agents", name)
    return built(cls, cls.Config(**{"hidden_size": 16, **SMALL.get(name, {}), **options}), seed)


def built(cls: type[Agent], config: Any, seed: int) -> Agent:
    torch.manual_seed(seed)
    return cls(config, SPACES, STATS, TrainingConfig(num_updates=30))


def ring(horizon: int, seed: int, device: str) -> Ring:
    shape = SegmentShape(horizon, SPACES.obs_size, SPACES.act_size, num_actions=1)
    made = Ring(60, shape, device)
    made.add(torch.rand(40, shape.width, generator=torch.Generator().manual_seed(seed)))
    return made


def mixture(imagined: bool, device: str) -> Mixture:
    return Mixture(ring(1, 0, device), ring(3, 1, device) if imagined else None, 0.25, 8)


def trainer_of(agent: Agent, cuda_graphs: bool, imagined: bool = False, device: str = "cpu") -> AgentTrainer:
    generator, execution = torch.Generator(device).manual_seed(0), ExecutionConfig(cuda_graphs=cuda_graphs)
    return AgentTrainer(agent.to(device), mixture(imagined, device), generator, execution)


def population_of(
    name: str, options: Sequence[dict[str, Any]], imagined: bool, cuda_graphs: bool, device: str = "cpu"
) -> PopulationTrainer:
    agents = [agent_of(name, seed, **own).to(device) for seed, own in enumerate(options)]
    generators = tuple(torch.Generator(device).manual_seed(seed) for seed in range(len(agents)))
    sources = [mixture(imagined, device) for _ in agents]
    return PopulationTrainer(Population(agents), sources, generators, ExecutionConfig(cuda_graphs=cuda_graphs))


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def compare(make: Callable[[bool], AgentTrainer]) -> None:
    """Metrics, and all that a resume would need, of updates made one by one and of replayed ones."""
    plain, replayed = make(False), make(True)
    for part in PARTS:
        assert replayed.run(part) == plain.run(part)
        assert_equal(plain.state_dict(), replayed.state_dict())


def test_the_agents_that_come_with_it_are_capturable() -> None:
    ours = {"bc", "cql", "decision_diffuser", "diffusion_ql", "iql", "pql", "td3_bc"}
    assert ours <= {name for name, cls in AGENTS.items() if cls.supports_cuda_graphs}


@every_agent
@every_source
def test_replayed_updates_are_those_of_an_agent(name: str, imagined: bool, capture: EmulatedCapture) -> None:
    compare(lambda cuda_graphs: trainer_of(agent_of(name, 0), cuda_graphs, imagined))
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
def test_replayed_updates_are_those_of_a_population(
    name: str, options: list[dict[str, Any]], imagined: bool, capture: EmulatedCapture
) -> None:
    plain, replayed = (population_of(name, options, imagined, cuda_graphs) for cuda_graphs in (False, True))
    for part in PARTS:
        for row, expected in zip(replayed.run(part), plain.run(part), strict=True):
            assert {**row, "updates_per_s": 0} == {**expected, "updates_per_s": 0}
        for state, expected_state in zip(replayed.state_dicts(), plain.state_dicts(), strict=True):
            assert_equal(expected_state, state)
    assert len(capture.tapes) == (2 if name == "td3_bc" else 1)


@pytest.mark.usefixtures("capture")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_rows_that_come_while_learning_goes_on_are_drawn(precision: str) -> None:
    plain, replayed = (trainer_of(agent_of("td3_bc", 0, matmul_precision=precision), on, True) for on in (False, True))
    for part in (10, 10):
        assert replayed.run(part) == plain.run(part)
        for trainer in (plain, replayed):
            imagined = trainer.source._synthetic  # type: ignore[attr-defined]
            imagined.add(torch.rand(50, imagined.shape.width, generator=torch.Generator().manual_seed(7)))
    assert_equal(plain.state_dict(), replayed.state_dict())


@every_agent
def test_a_resume_is_exact(name: str, capture: EmulatedCapture) -> None:
    straight, first, later = (trainer_of(agent_of(name, seed), on) for seed, on in ((0, False), (0, True), (5, True)))
    expected = straight.run(11)
    assert first.run(11) == expected
    state = {key: value.clone() for key, value in first.state_dict().items()}
    expected = straight.run(12)
    first.run(4)  # to be forgotten
    for trainer in (first, later):
        trainer.load_state_dict(state)
        before = len(capture.tapes)
        assert trainer.run(12) == expected
        assert len(capture.tapes) > before
        assert_equal(straight.state_dict(), trainer.state_dict())


def test_a_population_resumes_exactly(capture: EmulatedCapture) -> None:
    straight, replayed = (population_of("td3_bc", [{}, {}], False, cuda_graphs) for cuda_graphs in (False, True))
    straight.run(13), replayed.run(12)
    assert len(capture.tapes) == 2
    replayed.load_state_dicts([{k: v.clone() for k, v in state.items()} for state in straight.state_dicts()])
    for _ in range(2):
        straight.run(12), replayed.run(12)
        for state, expected in zip(replayed.state_dicts(), straight.state_dicts(), strict=True):
            assert_equal(expected, state)
    assert len(capture.tapes) == 4
