"""Every workload can be built and called and has a baseline; scaling of samplers; large data."""

import json
from pathlib import Path

import pytest
import torch
from emulated_graphs import EmulatedCapture

from dwm_ray.benchmarks.rates import RateSuite
from dwm_ray.benchmarks.setup import BenchmarkSetup
from dwm_ray.benchmarks.suites import learner
from dwm_ray.benchmarks.suites.dwm import SamplerSuite, WorldModelSuite
from dwm_ray.benchmarks.suites.large_data import LargeDataSuite
from dwm_ray.benchmarks.suites.learner import LearnerSuite
from dwm_ray.benchmarks.suites.replay import ReplaySuite
from dwm_ray.benchmarks.suites.scaling import HEADERS, ScalingSuite, cells
from dwm_ray.blocks import graphed as graphed_sampling
from dwm_ray.data import mapped
from dwm_ray.training import updates

SUITES = [
    LearnerSuite(agents=("td3_bc", "iql"), batch_size=16, hidden_size=32, populations=(2, 3)),
    SamplerSuite(sizes=("mlp", "unet_small"), batch_sizes=(2, 4)),
    WorldModelSuite(sizes=("mlp", "unet_small"), batch_size=4),
    ReplaySuite(batch_sizes=(4,)),
]
NO_GPU = r"^--graphed: CUDA graphs need a GPU; expected --device cuda, not cpu"


@pytest.fixture(scope="module")
def setup(file: Path) -> BenchmarkSetup:
    return BenchmarkSetup.load("pendulum", str(file), torch.device("cpu"))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dwm_ray.benchmarks.setup.RING_ROWS", 64)
    monkeypatch.setattr(learner, "UPDATES_PER_CALL", 2)


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> EmulatedCapture:
    capture = EmulatedCapture()
    monkeypatch.setattr(BenchmarkSetup, "expect_gpu", lambda self, option: None)
    for module in (updates, graphed_sampling):
        monkeypatch.setattr(module, "capture_on", lambda device, option: capture)
    return capture


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_all_workloads_can_be_called_twice(suite: RateSuite, setup: BenchmarkSetup) -> None:
    seen: set[str] = set()
    for work in suite.workloads(setup):
        assert work.name not in seen
        assert work.baseline is None or work.baseline in seen
        seen.add(work.name)
        call = work.build()
        call()
        call()
    assert len(seen) >= 3


def test_sources_of_batches(setup: BenchmarkSetup) -> None:
    imagined = {"synthesis.horizon": 5, "replay.real_ratio": 0.0}
    config = setup.config("dwm", "td3_bc", **imagined)
    learners = setup.learner(setup.config("none", "td3_bc")), setup.learner(config), setup.inline_learner(config)
    batches = [learner.sources[0].next_batch(setup.generator()) for learner in learners]
    assert [batch.horizon for batch in batches] == [1, 5, 5]
    assert [bool((batch.source > 0).all()) for batch in batches] == [False, True, True]


def test_graphed_updates_are_compared_with_eager_ones(setup: BenchmarkSetup, capture: EmulatedCapture) -> None:
    suite = LearnerSuite(agents=("td3_bc", "cql"), batch_size=16, hidden_size=32, populations=(2,), graphed=True)
    works = {work.name: work for work in suite.workloads(setup)}
    baselines = {name: work.baseline for name, work in works.items() if "graphed" in name}
    assert baselines == {
        "td3_bc-graphed": "td3_bc-auto",
        "td3_bc-graphed-population-2": "td3_bc-population-2",
        "cql-graphed": "cql-auto",
    }
    for name in baselines:
        before, call = len(capture.tapes), works[name].build()
        for _ in range(8):
            call()
        assert len(capture.tapes) == before + (1 if "cql" in name else 2)
    assert works["td3_bc-graphed-population-2"].units == 2 * works["td3_bc-graphed"].units


def test_graphed_sampling_is_compared_with_eager_sampling(setup: BenchmarkSetup, capture: EmulatedCapture) -> None:
    suite = SamplerSuite(sizes=("mlp", "unet_small"), batch_sizes=(2,), graphed=True)
    works = [work for work in suite.workloads(setup) if "graph" in work.name]
    assert [(work.name, work.baseline, work.units) for work in works] == [
        ("mlp-fp32-graph-2", "mlp-fp32-2", 2),
        ("mlp-auto-graph-2", "mlp-auto-2", 2),
        ("unet_small-fp32-graph-2", "unet_small-fp32-2", 2),
        ("unet_small-auto-graph-2", "unet_small-auto-2", 2),
    ]
    for number, work in enumerate(works):
        call = work.build()
        assert len(capture.tapes) == number + 1
        assert len(call().rew) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("suite", [LearnerSuite(graphed=True), SamplerSuite(graphed=True)])
def test_cuda_graphs_need_a_gpu(suite: RateSuite, setup: BenchmarkSetup) -> None:
    with pytest.raises(ValueError, match=NO_GPU):
        suite.workloads(setup)


def test_batch_sizes_are_used(setup: BenchmarkSetup) -> None:
    works = SamplerSuite(sizes=("mlp",), batch_sizes=(2, 4)).workloads(setup)
    assert [(work.units, len(work.build()().rew)) for work in works] == [(2, 2)] * 2 + [(4, 4)] * 2  # type: ignore[attr-defined]


def test_an_agent_without_a_critic_learns_from_recorded_transitions_only(setup: BenchmarkSetup) -> None:
    names = [work.name for work in LearnerSuite(agents=("decision_diffuser",)).workloads(setup)]
    assert names == ["decision_diffuser-fp32", "decision_diffuser-auto"]


def test_efficiency_is_the_rate_over_that_of_as_many_single_samplers() -> None:
    def rate(seconds: float, cpu_s: float) -> dict[str, float]:
        return {"segments": 600, "seconds": seconds, "cpu_s": cpu_s}

    first, second = cells({"1": [rate(6, 12), rate(3, 12)], "2": [rate(4, 15), rate(2, 15)]})
    assert len(first) == len(second) == len(HEADERS)
    assert (first[0], first[3], first[6]) == ("1", "1.00", "1.00")
    assert (second[0], second[1], second[3], second[6]) == ("2", "225", "0.75", "0.80")


def test_the_run_has_the_configured_sizes() -> None:
    config = ScalingSuite(samplers=(1, 4), task="hopper-medium", data="file.hdf5").config()
    assert (config.task, config.data.file) == ("hopper-medium", "file.hdf5")
    assert (config.synthesis.num_segments, config.synthesis.block_rows) == (64 * 1024, 1024)


def test_memory_and_rates_of_mapped_rows_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DWM_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mapped, "LARGE", 250_000)
    sizes = {"rows": 3000, "fitting_rows": 2000, "updates": 2, "repeats": 2}
    LargeDataSuite(**sizes, folder=tmp_path, output=tmp_path / "out.json").run(Path())  # type: ignore[arg-type]
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["rows"] == 3000
    assert 0.01 < result["load_or_convert_gb"] <= result["learner_gb"] + 1
    assert len(result["mapped_updates_per_s"]) == len(result["fitting_updates_per_s"]) == 2
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 2, "only the large set is mapped"
    assert "in memory" in capsys.readouterr().out
