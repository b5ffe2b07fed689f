"""Compiled updates equal eager ones up to rounding.

The back end `aot_eager` traces all operations and builds nothing; one marked test builds loops.
"""

import shutil
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from learners import AGENTS, agent_of, assert_close, copies, learner_of, num_kinds, run

from dwm_ray.experiment.profiles import run_config
from dwm_ray.training import updates
from dwm_ray.training.learner import Learner

compilable = pytest.mark.parametrize("name", [name for name, cls in AGENTS.items() if cls.supports_compile])
COMPILE = torch.compile


@pytest.fixture(autouse=True)
def _own_code(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(updates.torch, "compile", partial(COMPILE, backend="aot_eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def learner(name: str, compiled: bool, imagined: bool = False, num: int = 1) -> Learner:
    return learner_of([agent_of(name, seed) for seed in range(num)], imagined, compiled=compiled)


@compilable
@pytest.mark.parametrize("imagined", [False, True], ids=["real", "imagined"])
def test_compiled_updates_are_those_of_an_agent(name: str, imagined: bool) -> None:
    plain, compiled = learner(name, False, imagined), learner(name, True, imagined)
    for part in (7, 2):
        [row], [expected] = run(compiled, part), run(plain, part)
        assert row == pytest.approx(expected, rel=1e-3, abs=1e-4)
        assert_close(plain.state_dicts(), compiled.state_dicts(), rtol=1e-4, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == num_kinds(name), "whole, by kind"


@pytest.mark.parametrize("name", ["td3_bc", "iql"])
def test_compiled_updates_are_those_of_a_population(name: str) -> None:
    plain, compiled = learner(name, False, True, num=2), learner(name, True, True, num=2)
    plain.run(7), compiled.run(7)
    assert_close(plain.state_dicts(), compiled.state_dicts(), rtol=1e-4, atol=1e-5)


def test_a_resumed_learner_uses_the_tensors_that_were_loaded() -> None:
    plain, compiled = learner("td3_bc", False), learner("td3_bc", True)
    plain.run(7), compiled.run(5)
    saved = copies(compiled.state_dicts())
    compiled.run(4)
    compiled.load_state_dicts(saved)
    compiled.run(2)
    assert_close(plain.state_dicts(), compiled.state_dicts(), rtol=1e-4, atol=1e-5)


def test_a_process_trains_any_number_of_agents() -> None:
    """Torch alone would stop compiling after eight."""
    for _ in range(10):
        learner("bc", True).run(3)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 10


def test_agents_that_cannot_be_compiled_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"execution\.compiled: agent cql cannot be compiled; expected False"):
        run_config("laptop", agent="cql").with_values({"execution.compiled": True})

    def unable(*_: Any) -> None:
        raise torch._dynamo.exc.TorchDynamoException("no C++ compiler\n\nwith a long explanation")

    monkeypatch.setattr(updates.torch, "compile", lambda *_, **__: unable)
    with pytest.raises(ValueError, match=r"execution\.compiled: .* \(no C\+\+ compiler\); expected False"):
        learner("bc", True).run(2)


def test_compiled_updates_and_cuda_graphs_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"execution\.compiled: cannot be combined with execution\.cuda_graphs"):
        learner_of([agent_of("bc", 0)], compiled=True, cuda_graphs=True)


@pytest.mark.cluster  # no cluster, but a C++ compiler at work: minutes on a busy machine
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_built_loops_do_what_operations_do(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates.torch, "compile", COMPILE)
    plain, built = (
        learner_of([agent_of("td3_bc", 0, matmul_precision=precision)], True, compiled=compiled)
        for compiled in (False, True)
    )
    [row], [expected] = run(built, 9), run(plain, 9)
    assert row == pytest.approx(expected, rel=1e-2, abs=1e-2)
    own, other = (learner.population.members[0].state_dict() for learner in (plain, built))
    for key, value in own.items():
        torch.testing.assert_close(other[key], value, rtol=1e-2, atol=2e-3, msg=key)
