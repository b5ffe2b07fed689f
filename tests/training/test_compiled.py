"""Compiled updates: those that are made one by one, up to rounding. The compiler's back end is torch's own operations
here (`aot_eager`), which traces all and builds nothing; one test, marked, has loops built."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from test_graphed import AGENTS, SMALL, SPACES, STATS, mixture

from dwm_ray.agents.base import Agent
from dwm_ray.agents.parts.population import Population
from dwm_ray.experiment.profiles import run_config
from dwm_ray.options import ExecutionConfig, TrainingConfig
from dwm_ray.registry import find
from dwm_ray.training import updates
from dwm_ray.training.agent import AgentTrainer
from dwm_ray.training.population import PopulationTrainer

compilable = pytest.mark.parametrize("name", [name for name, cls in AGENTS.items() if cls.supports_compile])
COMPILE = torch.compile


@pytest.fixture(autouse=True)
def _own_code(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(updates.torch, "compile", partial(COMPILE, backend="aot_eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def agent_of(name: str, seed: int, **options: Any) -> Agent:
    torch.manual_seed(seed)
    cls = find("agents", name)
    config = cls.Config(**{"hidden_size": 16, **SMALL.get(name, {}), **options})
    return cls(config, SPACES, STATS, TrainingConfig(num_updates=30))


def trainer_of(name: str, compiled: bool, imagined: bool = False) -> AgentTrainer:
    generator, execution = torch.Generator().manual_seed(0), ExecutionConfig(compiled=compiled)
    return AgentTrainer(agent_of(name, 0), mixture(imagined, "cpu"), generator, execution)


def population_of(name: str, compiled: bool) -> PopulationTrainer:
    agents = [agent_of(name, seed) for seed in range(2)]
    generators = tuple(torch.Generator().manual_seed(seed) for seed in range(2))
    return PopulationTrainer(
        Population(agents), [mixture(True, "cpu")] * 2, generators, ExecutionConfig(compiled=compiled)
    )


def assert_close(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=1e-4, atol=1e-5, msg=key)


@compilable
@pytest.mark.parametrize("imagined", [False, True], ids=["real", "imagined"])
def test_compiled_updates_are_those_of_an_agent(name: str, imagined: bool) -> None:
    plain, compiled = trainer_of(name, False, imagined), trainer_of(name, True, imagined)
    for part in (7, 2):
        assert compiled.run(part) == pytest.approx(plain.run(part), rel=1e-3, abs=1e-4)
        assert_close(plain.state_dict(), compiled.state_dict())
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == (2 if name == "td3_bc" else 1), "whole, by kind"


@pytest.mark.parametrize("name", ["td3_bc", "iql"])
def test_compiled_updates_are_those_of_a_population(name: str) -> None:
    plain, compiled = population_of(name, False), population_of(name, True)
    plain.run(7), compiled.run(7)
    for state, expected in zip(compiled.state_dicts(), plain.state_dicts(), strict=True):
        assert_close(expected, state)


def test_who_resumes_goes_on_from_the_state_and_not_from_tensors_that_are_gone() -> None:
    plain, compiled = trainer_of("td3_bc", False), trainer_of("td3_bc", True)
    plain.run(7), compiled.run(5)
    kept = {key: value.clone() for key, value in compiled.state_dict().items()}
    compiled.run(4)
    compiled.load_state_dict(kept)
    compiled.run(2)
    assert_close(plain.state_dict(), compiled.state_dict())


def test_a_process_trains_as_many_as_it_likes() -> None:
    """Torch would give up after eight."""
    for _ in range(10):
        trainer_of("bc", True).run(3)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 10


def test_what_cannot_be_compiled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"execution\.compiled: agent cql cannot be compiled; expected False"):
        run_config("laptop", agent="cql").with_values({"execution.compiled": True})

    def unable(*_: Any) -> None:
        raise torch._dynamo.exc.TorchDynamoException("no C++ compiler\n\nwith a long explanation")

    monkeypatch.setattr(updates.torch, "compile", lambda *_, **__: unable)
    with pytest.raises(ValueError, match=r"execution\.compiled: .* \(no C\+\+ compiler\); expected False"):
        trainer_of("bc", True).run(2)


def test_one_way_at_a_time() -> None:
    generator, execution = torch.Generator(), ExecutionConfig(compiled=True, cuda_graphs=True)
    with pytest.raises(ValueError, match=r"execution\.compiled: expected False where execution\.cuda_graphs is True"):
        AgentTrainer(agent_of("bc", 0), mixture(False, "cpu"), generator, execution)


@pytest.mark.cluster  # no cluster, but a C++ compiler at work: minutes on a busy machine
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_built_loops_do_what_operations_do(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates.torch, "compile", COMPILE)
    plain, built = (
        AgentTrainer(
            agent_of("td3_bc", 0, matmul_precision=precision),
            mixture(True, "cpu"),
            torch.Generator().manual_seed(0),
            ExecutionConfig(compiled=compiled),
        )
        for compiled in (False, True)
    )
    assert built.run(9) == pytest.approx(plain.run(9), rel=1e-2, abs=1e-2)
    for key, value in plain.agent.state_dict().items():
        torch.testing.assert_close(built.agent.state_dict()[key], value, rtol=1e-2, atol=2e-3, msg=key)
