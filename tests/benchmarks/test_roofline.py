"""The share of a device's products: counted operations against a measured peak."""

from pathlib import Path

import pytest
import torch
from tiny_task import recording

from dwm_ray.benchmarks.roofline import peak_flops
from dwm_ray.benchmarks.suites import sampler as module
from dwm_ray.benchmarks.suites import world_model as training
from dwm_ray.benchmarks.suites.sampler import Sampler
from dwm_ray.benchmarks.suites.world_model import WorldModels
from dwm_ray.benchmarks.workloads import Workbench
from dwm_ray.options import DataConfig


def test_the_peak_is_a_rate_of_operations() -> None:
    assert 1e6 < peak_flops(torch.device("cpu"), torch.float32, "wall", size=64) < 1e16


def test_shares_follow_rate_and_peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = recording(tmp_path / "pendulum.hdf5")
    bench = Workbench.load("pendulum", DataConfig(file=str(file)), torch.device("cpu"))
    monkeypatch.setattr(module, "peak_flops", lambda device, dtype, clock: 1e9)
    suite = Sampler(sizes=("unet_small",), batch_sizes=(4,))
    (one,) = suite.roofline(bench, {"unet_small-fp32-4": 10.0}, "wall")
    (two,) = suite.roofline(bench, {"unet_small-fp32-4": 20.0}, "wall")
    flops = float(one.split(": ")[1].split(" MFLOP")[0]) * 1e6
    shares = [float(line.split(", ")[1].split(" %")[0]) for line in (one, two)]
    assert shares == pytest.approx([flops * 10 / 1e7, flops * 20 / 1e7], abs=0.6)
    assert 5e6 < flops < 5e7


def test_the_frozen_form_multiplies_less_than_the_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Workbench.load("pendulum", DataConfig(file=str(recording(tmp_path / "pendulum.hdf5"))), torch.device("cpu"))
    monkeypatch.setattr(module, "peak_flops", lambda device, dtype, clock: 1e9)
    names = {f"unet_small-{variant}-4": 10.0 for variant in ("plain", "fp32")}
    lines = Sampler(sizes=("unet_small",), batch_sizes=(4,)).roofline(bench, names, "wall")
    plain, ours = (float(line.split(": ")[1].split(" MFLOP")[0]) for line in lines)
    assert 0.5 * plain < ours < 0.9 * plain


def test_training_is_counted_with_its_gradients_and_projected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Workbench.load("pendulum", DataConfig(file=str(recording(tmp_path / "pendulum.hdf5"))), torch.device("cpu"))
    monkeypatch.setattr(training, "peak_flops", lambda device, dtype, clock: 1e9)
    found = [
        WorldModels(sizes=("mlp",), batch_size=batch).roofline(bench, {f"mlp-{variant}": 100.0}, "wall")
        for variant, batch in (("plain", 4), ("plain", 8), ("fp32", 8))
    ]
    flops = [float(line.split(": ")[1].split(" MFLOP")[0]) for (line,) in found]
    assert flops[1] == pytest.approx(2 * flops[0], rel=0.01)
    assert 0.9 * flops[1] < flops[2] < flops[1]  # ours works each of six diffusion steps out once
    assert found[0][0].endswith("the paper's 2 million updates: 5.56 h")
