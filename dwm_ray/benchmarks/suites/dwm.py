"""Segments per second of DWM, and training updates per second of world models.

DWM is measured in several sizes and variants: form of the denoiser and precision of the products.

reference: the denoiser in standard torch layers (`reference_denoisers`). optimized: as in a run, in the project's own
layers. fp32, auto: float32 products, or the reduced precision of the device.

A training update is a batch of windows, loss, gradient, Adam and weight average. Other world models are trained as in
the profile `laptop`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, ClassVar, Literal

import tyro
from torch import Tensor

from dwm_ray.benchmarks.measure import Call, Workload
from dwm_ray.benchmarks.reference_denoisers import reference_denoiser
from dwm_ray.benchmarks.setup import BenchmarkSetup
from dwm_ray.blocks.graphed import CudaGraphSampler
from dwm_ray.config import RunConfig
from dwm_ray.cuda_graphs import WARM_UPS
from dwm_ray.data.task_data import window_sets
from dwm_ray.devices import product_dtype
from dwm_ray.evaluation.flops import count_flops
from dwm_ray.registry import find
from dwm_ray.replay.sources import start_targets
from dwm_ray.training.world_model import WorldModelTrainer
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.dwm import DWM, DWMConfig
from dwm_ray.world_models.parts.build import new_model

PARAMETRISATION = ("sequence_length", "denoiser", "states", "process", "entry_weights", "first_model", "given_first")
Size = Literal["mlp", "unet_small", "unet"]
Variant = Literal["reference-fp32", "reference-auto", "optimized-fp32", "optimized-auto"]

PAPER = {name: field.default for name, field in DWMConfig.model_fields.items() if name in PARAMETRISATION}
SIZES: dict[Size, dict[str, Any]] = {
    "mlp": {},  # the preset of the profile `laptop`
    "unet_small": {**PAPER, "dim": 32, "multipliers": [1, 2, 4]},
    "unet": {**PAPER, "dim": 128, "multipliers": [1, 4, 8]},  # 60 million weights
}
BASELINE: Variant = "reference-fp32"
DEFAULT: tuple[Variant, ...] = (BASELINE, "optimized-fp32", "optimized-auto")
COUNTED = 2
"""Segments that are sampled once to count operations."""
PAPER_UPDATES = 2_000_000
"""Training updates of DWM in its paper."""
Build = Callable[[], Call]


def model_values(size: Size, variant: Variant) -> dict[str, Any]:
    """Return world-model options by dotted path, and a horizon that fits them."""
    precision = _precision(variant)
    values = {**SIZES[size], "training_precision": precision, "sampling_precision": precision}
    fits = {} if size == "mlp" else {"synthesis.horizon": PAPER["sequence_length"] - 1}
    return {f"world_model.{name}": value for name, value in values.items()} | fits


def with_form(model: WorldModel, variant: Variant) -> WorldModel:
    """Give the denoiser of a DWM the form of a variant."""
    assert isinstance(model, DWM)
    if variant.startswith("reference"):
        model.denoiser = reference_denoiser(model.denoiser)
    return model


def _precision(variant: Variant) -> Literal["fp32", "auto"]:
    return "auto" if variant.endswith("auto") else "fp32"


@dataclass(frozen=True)
class DWMSuite:
    """Options of both suites."""

    sizes: tuple[Size, ...] = ("mlp", "unet_small", "unet")
    """mlp: of the profile laptop. unet: the temporal U-Net of the paper. unet_small: a U-Net for a laptop."""
    variants: tuple[Variant, ...] = DEFAULT
    """Form of the denoiser and precision of its products."""

    def _work(
        self, setup: BenchmarkSetup, size: Size, variant: Variant, build: Build, suffix: str = "", **about: Any
    ) -> Workload:
        """Return the workload of a size and variant, compared with the same size in the variant `BASELINE`."""
        baseline = None if variant == BASELINE else f"{size}-{BASELINE}{suffix}"
        dtype = product_dtype(_precision(variant), setup.device.type)
        return Workload(f"{size}-{variant}{suffix}", build, baseline=baseline, dtype=dtype, **about)


@dataclass(frozen=True)
class Sampler(DWMSuite):
    """Segments/s of DWM: reference and optimized denoisers, float32 and reduced precision, CUDA graphs."""

    name: ClassVar[str] = "sampler"
    unit: ClassVar[str] = "segments/s"

    batch_sizes: tuple[int, ...] = (64,)
    """Segments per call."""
    graphed: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Add every variant as a CUDA graph; needs a GPU."""

    def workloads(self, setup: BenchmarkSetup) -> list[Workload]:
        """Return one workload per size, batch size and variant. Raise ValueError for CUDA graphs without a GPU."""
        if self.graphed:
            setup.expect_gpu("--graphed")
        return [work for batch in self.batch_sizes for size in self.sizes for work in self._of(setup, size, batch)]

    def _of(self, setup: BenchmarkSetup, size: Size, batch: int) -> Iterator[Workload]:
        for variant in self.variants:
            build = partial(sampling, setup, size, batch, variant)
            flops = cache(lambda v=variant: count_flops(sampling(setup, size, COUNTED, v)) / COUNTED)
            eager = self._work(setup, size, variant, build, f"-{batch}", units=batch, flops=flops)
            yield eager
            if self.graphed:
                name = f"{size}-{variant}-graph-{batch}"
                yield Workload(name, partial(build, graphed=True), units=batch, baseline=eager.name)


def sampling(setup: BenchmarkSetup, size: Size, batch: int, variant: Variant, graphed: bool = False) -> Call:
    """Sample a batch of segments of the maximum horizon; a CUDA graph is recorded here, because that takes long."""
    config = setup.config("dwm", "td3_bc", **model_values(size, variant))
    model, generator = with_form(setup.model(config), variant).requires_grad_(False), setup.generator()
    starts = setup.starts(config)[:batch]
    obs, act = starts.obs[:, 0], starts.act[:, 0]
    targets, horizon = start_targets(config, setup.task_data, setup.device), model.max_horizon
    rtg = targets[:batch] if isinstance(targets, Tensor) else targets
    sampler = CudaGraphSampler(model, batch) if graphed else model
    call = partial(sampler.imagine, obs, act, policy=None, horizon=horizon, rtg=rtg, generator=generator)
    for _ in range(WARM_UPS + 1 if graphed else 0):
        call()
    return call


@dataclass(frozen=True)
class WorldModels(DWMSuite):
    """Training updates/s of world models: DWM in the variants of `sampler`, others as they are."""

    name: ClassVar[str] = "world_model"
    unit: ClassVar[str] = "updates/s"

    others: tuple[str, ...] = ("one_step",)
    """Other world models by name."""
    batch_size: int = 64
    """Windows per update; 64 in the paper."""

    def workloads(self, setup: BenchmarkSetup) -> list[Workload]:
        """Return one workload per size and variant of DWM, and one per other world model."""
        sized = [self._sized(setup, size, variant) for size in self.sizes for variant in self.variants]
        for name in self.others:
            find("world_models", name)
        return sized + [Workload(name, partial(training, setup, self._config(setup, name))) for name in self.others]

    def _sized(self, setup: BenchmarkSetup, size: Size, variant: Variant) -> Workload:
        build = partial(training, setup, self._config(setup, "dwm", **model_values(size, variant)), variant)

        def note(rate: float) -> str:
            return f"; 2 million updates, as in the paper: {PAPER_UPDATES / rate / 3600:.3g} h"

        return self._work(setup, size, variant, build, flops=lambda: count_flops(build()), note=note)

    def _config(self, setup: BenchmarkSetup, name: str, **values: object) -> RunConfig:
        return setup.config(name, "td3_bc", **{**values, "world_model.batch_size": self.batch_size})


def training(setup: BenchmarkSetup, config: RunConfig, variant: Variant | None = None) -> Call:
    """Train a model from its initial weights, one update per call."""
    model = new_model(config, setup.task_data, setup.device)
    if variant is not None:
        model = with_form(model, variant)
    sets = window_sets(config, setup.task_data, model.sequence_length, setup.device)
    return partial(WorldModelTrainer(model, *sets, setup.generator()).run, 1)
