"""Fraction of the peak: counted operations against a measured peak."""

import pytest
import torch
from tiny_task import recording

from dwm_ray.benchmarks import roofline as module
from dwm_ray.benchmarks.measure import Workload
from dwm_ray.benchmarks.roofline import peak_flops, roofline
from dwm_ray.benchmarks.setup import BenchmarkSetup
from dwm_ray.benchmarks.suites.sampler import Sampler
from dwm_ray.benchmarks.suites.world_model import WorldModels
from dwm_ray.options import DataConfig

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkSetup:
    file = recording(tmp_path_factory.mktemp("data") / "pendulum.hdf5")
    return BenchmarkSetup.load("pendulum", DataConfig(file=str(file)), CPU)


def flops(works: list[Workload], name: str) -> float:
    [work] = [work for work in works if work.name == name]
    assert work.flops is not None
    return work.flops()


def test_the_peak_is_a_rate_of_operations() -> None:
    assert 1e6 < peak_flops(CPU, torch.float32, "wall", size=64) < 1e16


def test_fractions_follow_rate_and_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "peak_flops", lambda device, dtype, clock: 1e9)
    works = [Workload("a", lambda: int, flops=lambda: 2e6, note=lambda rate: f"; {rate}"), Workload("b", lambda: int)]
    lines = roofline(works, {"a": 250.0, "b": 1.0}, CPU, "wall")
    assert lines == ["a: 2 MFLOP per unit, 50 % of 0.001 TFLOP/s; 250.0"]


def test_the_inference_form_multiplies_less_than_the_reference(setup: BenchmarkSetup) -> None:
    works = Sampler(sizes=("unet_small",), batch_sizes=(4,)).workloads(setup)
    reference, optimized = (flops(works, f"unet_small-{form}-fp32-4") for form in ("reference", "optimized"))
    assert 5e6 < reference < 5e7
    assert 0.5 * reference < optimized < 0.9 * reference


def test_training_counts_gradients(setup: BenchmarkSetup) -> None:
    four, eight = (WorldModels(sizes=("unet_small",), batch_size=size).workloads(setup) for size in (4, 8))
    reference = flops(eight, "unet_small-reference-fp32")
    assert reference == pytest.approx(2 * flops(four, "unet_small-reference-fp32"), rel=0.01)
    # The optimized form encodes each of six diffusion steps once and multiplies less in convolutions.
    assert 0.5 * reference < flops(eight, "unet_small-optimized-fp32") < 0.9 * reference
