"""Every piece of work of every suite can be built and called, and is set against something that is timed too."""

import pytest
import torch
from emulated_graphs import EmulatedCapture
from tiny_task import recording

from dwm_ray.benchmarks import workloads
from dwm_ray.benchmarks.suites import Suite, whole
from dwm_ray.benchmarks.suites.learner import Learner
from dwm_ray.benchmarks.suites.sampler import Sampler
from dwm_ray.benchmarks.suites.whole import Whole
from dwm_ray.benchmarks.suites.world_model import WorldModels
from dwm_ray.benchmarks.workloads import Workbench
from dwm_ray.blocks import graphed as graphed_drawing
from dwm_ray.options import DataConfig
from dwm_ray.training import graphed
from dwm_ray.types import Segments

SUITES = [
    Learner(agents=("td3_bc",), batch_size=16, hidden_size=32, populations=(2, 3)),
    Sampler(sizes=("mlp", "unet_small"), batch_sizes=(2, 4)),
    WorldModels(sizes=("mlp", "unet_small"), batch_size=4),
    Whole(agents=("iql",)),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    file = recording(tmp_path_factory.mktemp("data") / "pendulum.hdf5")
    return Workbench.load("pendulum", DataConfig(file=str(file)), torch.device("cpu"))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "RING_ROWS", 64)
    monkeypatch.setattr(whole, "UPDATES_PER_CALL", 2)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_all_work_can_be_done_twice(suite: Suite, bench: Workbench) -> None:
    seen: set[str] = set()
    for work in suite.work(bench):
        assert work.name not in seen
        assert work.reference is None or work.reference in seen
        seen.add(work.name)
        call = work.build()
        call()
        call()
    assert len(seen) >= 4


def test_the_sources_of_batches_are_what_they_are_called(bench: Workbench) -> None:
    config, generator = bench.config("dwm", "td3_bc"), bench.generator()
    agent = bench.agent(config)

    def batch(source: object) -> Segments:
        return source.next_batch(generator)  # type: ignore[attr-defined]

    real, stream, inline = bench.real(config), bench.stream(config), bench.inline(config, agent)
    assert (batch(real).horizon, batch(real).source.any()) == (1, False)
    assert (batch(stream).horizon, batch(stream).source.all()) == (5, True)
    assert (batch(inline).horizon, batch(inline).source.all()) == (5, True)
    assert stream._synthetic.size == 64  # type: ignore[attr-defined]


def test_updates_as_graphs_are_set_against_those_made_one_by_one(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = Learner(agents=("td3_bc", "cql"), batch_size=16, hidden_size=32, populations=(2,), graphed=True)
    with pytest.raises(ValueError, match=r"^--graphed: CUDA graphs need a GPU; expected --device cuda, not cpu"):
        suite.work(bench)
    capture = EmulatedCapture()
    monkeypatch.setattr(Workbench, "expect_gpu", lambda self, option: None)
    monkeypatch.setattr(graphed, "capture_on", lambda device, option: capture)
    works = {work.name: work for work in suite.work(bench)}
    against = {name: work.reference for name, work in works.items() if "graphed" in name}
    assert against == {
        "td3_bc-graphed": "td3_bc-auto",
        "td3_bc-graphed-population-2": "td3_bc-population-2",
        "cql-graphed": "cql-auto",
    }
    for name in against:
        before, call = len(capture.tapes), works[name].build()
        there = len(capture.tapes)
        for _ in range(4):
            call()
        assert len(capture.tapes) == there == before + (1 if "cql" in name else 2)
    assert works["td3_bc-graphed-population-2"].units == 2


def test_drawing_as_graphs_is_set_against_drawing_as_ever(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = Sampler(sizes=("mlp", "unet_small"), batch_sizes=(2,), graphed=True)
    with pytest.raises(ValueError, match=r"^--graphed: CUDA graphs need a GPU; expected --device cuda, not cpu"):
        suite.work(bench)
    capture = EmulatedCapture()
    monkeypatch.setattr(Workbench, "expect_gpu", lambda self, option: None)
    monkeypatch.setattr(graphed_drawing, "capture_on", lambda device, option: capture)
    graphed = [work for work in suite.work(bench) if "graphed" in work.name]
    against = [(work.name, work.reference, work.units) for work in graphed]
    assert against == [("mlp-graphed-2", "mlp-auto-2", 2), ("unet_small-graphed-2", "unet_small-auto-2", 2)]
    for number, work in enumerate(graphed):
        call = work.build()
        assert len(capture.tapes) == number + 1
        assert len(call().rew) == 2  # type: ignore[attr-defined]


def test_batch_sizes_are_heard(bench: Workbench) -> None:
    works = Sampler(sizes=("mlp",), batch_sizes=(2, 4)).work(bench)
    assert [(work.units, len(work.build()().rew)) for work in works] == [(2, 2)] * 3 + [(4, 4)] * 3  # type: ignore[attr-defined]


def test_an_agent_without_a_critic_has_no_imagined_batches(bench: Workbench) -> None:
    names = [work.name for work in Learner(agents=("decision_diffuser",)).work(bench)]
    assert names == ["decision_diffuser-fp32", "decision_diffuser-auto"]
    with pytest.raises(ValueError, match="--agents decision_diffuser: without a critic"):
        Whole(agents=("decision_diffuser",)).work(bench)


def test_unknown_names_are_refused(bench: Workbench) -> None:
    with pytest.raises(ValueError, match="unknown agent 'td3'"):
        Learner(agents=("td3",)).work(bench)
    with pytest.raises(ValueError, match="unknown world model 'onestep'"):
        WorldModels(others=("onestep",)).work(bench)
