"""Blocks sampled as (emulated) CUDA graphs equal those sampled eagerly, for every world model that supports them."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emulated_graphs import EmulatedCapture
from outside import all_plugins
from tiny_models import SPACES, build, episodes
from torch import Tensor

from dwm_ray.blocks import block_generator, graphed, micro_batching
from dwm_ray.blocks.block_generator import BlockGenerator
from dwm_ray.blocks.graphed import CudaGraphSampler
from dwm_ray.blocks.micro_batching import MicroBatching
from dwm_ray.blocks.stream import StreamSpec
from dwm_ray.cuda_graphs import WARM_UPS
from dwm_ray.data.transitions import real_segments
from dwm_ray.experiment.profiles import run_config
from dwm_ray.registry import find
from dwm_ray.types import Segments
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.dwm import DWM

MODELS: dict[str, Any] = all_plugins("world_models")
GRAPHED = [name for name, cls in MODELS.items() if cls.supports_cuda_graphs]
BLOCK_ROWS, NUM_BLOCKS = 32, WARM_UPS + 3
CPU = torch.device("cpu")


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> EmulatedCapture:
    result = EmulatedCapture()
    monkeypatch.setattr(graphed, "capture_on", lambda device, option: result)
    return result


def spec_of(name: str, seed: int = 0) -> StreamSpec:
    """Return a stream whose last block is shorter."""
    return StreamSpec(name, {}, 0.5, 0.99, BLOCK_ROWS * NUM_BLOCKS - 5, BLOCK_ROWS, seed)


def never_ends(obs: Tensor) -> Tensor:
    return torch.zeros(obs.shape[:-1], dtype=torch.bool)


def block_generator_of(folder: Path, cuda_graphs: bool, batching: MicroBatching | None = None) -> BlockGenerator:
    starts = real_segments(episodes(), 0.99, CPU)
    rtg = torch.full((len(starts),), 0.5)
    return BlockGenerator(folder, starts, never_ends, lambda spec, model: rtg, batching or MicroBatching(), cuda_graphs)


def blocks(generator: BlockGenerator, spec: StreamSpec, model: WorldModel) -> list[np.ndarray]:
    return [generator.generate(spec, index, lambda: model)[0] for index in range(spec.num_blocks)]


def variants(name: str) -> list[WorldModel]:
    """Build a model in every form that samples differently."""
    if name != "dwm":
        return [copy.deepcopy(build(name))]  # the cached one serves other tests
    cls = find("world_models", "dwm")
    unet = {
        "denoiser": "unet",
        "process": "ddpm",
        "first_model": "diffusion",
        "given_first": 0.0,
        "dim": 16,
        "multipliers": [1, 2],
        "guidance_scale": 1.5,
        "segments_per_pair": 2,
    }
    noise = {"process": "ddpm", "continuation": "on", "temperature": 0.7, "solver_steps": 3}
    options = [{}, unet, unet | {"sampling_precision": "bf16"}, noise]
    models = [cls(cls.Config(**(cls.Config.for_profile("laptop").model_dump() | own)), SPACES) for own in options]
    for model in models:
        model.fit_normalizers(episodes())
    return models


def test_models_of_streams_support_cuda_graphs() -> None:
    assert {"dawm", "dwm", "synther", "transformer"} <= set(GRAPHED)
    assert not any(MODELS[name].follows_policy for name in GRAPHED)


@pytest.mark.parametrize("name", GRAPHED)
def test_blocks_are_the_same(name: str, tmp_path: Path, capture: EmulatedCapture) -> None:
    for number, model in enumerate(variants(name)):
        model.requires_grad_(False).eval()
        plain = blocks(block_generator_of(tmp_path / f"plain{number}", False), spec_of(name), model)
        before = len(capture.tapes)
        replayed = blocks(block_generator_of(tmp_path / f"replayed{number}", True), spec_of(name), model)
        assert len(capture.tapes) == before + 1
        assert len(plain) == len(replayed) == NUM_BLOCKS
        for first, second in zip(plain, replayed, strict=True):
            assert np.array_equal(first, second)
        assert not np.array_equal(replayed[-2], replayed[-3])  # each replay has new noise


def test_every_stream_has_its_graph_and_the_oldest_are_dropped(
    tmp_path: Path, capture: EmulatedCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_generator, "MAX_GRAPHED_STREAMS", 2)
    model, both = build("dwm"), block_generator_of(tmp_path / "both", True)
    for seed, tapes in ((0, 1), (1, 2), (0, 2), (2, 3), (0, 4)):
        plain = blocks(block_generator_of(tmp_path / f"{seed}", False), spec_of("dwm", seed), model)
        for first, second in zip(plain, blocks(both, spec_of("dwm", seed), model), strict=True):
            assert np.array_equal(first, second)
        assert len(capture.tapes) == tapes


@pytest.mark.usefixtures("capture")
def test_the_generator_state_is_that_of_eager_sampling(tmp_path: Path) -> None:
    model = build("dwm")
    imaginer = CudaGraphSampler(model, 8)
    obs, act = torch.from_numpy(episodes().obs[:8]), torch.from_numpy(episodes().act[:8])
    first, second = (torch.Generator().manual_seed(0) for _ in range(2))
    for rtg in (0.5, 0.1, torch.full((8,), 0.9), 0.5, torch.tensor(0.2), 0.3):
        sampled = []
        for one, generator in ((model, first), (imaginer, second)):
            how: dict[str, Any] = {"policy": None, "horizon": 3, "rtg": rtg, "generator": generator}
            sampled.append(one.imagine(obs, act, **how))  # type: ignore[attr-defined]
        assert all(
            torch.equal(a, b) for a, b in zip(sampled[0].tensors().values(), sampled[1].tensors().values(), strict=True)
        )
        assert torch.equal(first.get_state(), second.get_state())


class Full(MicroBatching):
    """Micro-batching with too little memory for a whole block."""

    def __init__(self) -> None:
        super().__init__()
        self.max_rows = micro_batching.MIN_ROWS


@pytest.mark.usefixtures("capture")
def test_micro_batches_are_sampled_eagerly(tmp_path: Path) -> None:
    model = build("dwm")
    plain = blocks(block_generator_of(tmp_path / "plain", False), spec_of("dwm"), model)
    parts = blocks(block_generator_of(tmp_path / "parts", True, Full()), spec_of("dwm"), model)
    for first, second in zip(plain, parts, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-4)


class Synchronising(DWM):
    """Model that reads its samples on the host."""

    def imagine(self, *args: Any, **how: Any) -> Segments:
        segments = super().imagine(*args, **how)
        assert segments.rew.sum().item() != 0
        return segments


@pytest.mark.usefixtures("capture")
def test_a_model_that_cannot_be_recorded_is_an_error(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Synchronising(DWM.Config.for_profile("laptop"), SPACES)
    model.fit_normalizers(episodes())
    with pytest.raises(
        ValueError,
        match=r"^execution\.sampler_cuda_graphs: the call cannot be captured as a CUDA graph \(.*_local_scalar",
    ):
        blocks(block_generator_of(tmp_path, True), spec_of("dwm"), model)


def test_models_without_support_are_refused(tmp_path: Path, capture: EmulatedCapture) -> None:
    with pytest.raises(
        ValueError, match=r"^execution\.sampler_cuda_graphs: world model one_step does not support CUDA graphs"
    ):
        blocks(block_generator_of(tmp_path, True), spec_of("one_step"), build("one_step"))
    with pytest.raises(
        ValueError, match=r"execution\.sampler_cuda_graphs: world model one_step does not support CUDA graphs"
    ):
        run_config("laptop", "one_step", "td3_bc").with_values({"execution.sampler_cuda_graphs": True})
    assert not capture.tapes
