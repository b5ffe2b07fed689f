"""Segments and training updates per second of DWM.

fp32, auto: float32 products, or the reduced precision of the device. A training update is a batch of windows, loss,
gradient, Adam and weight average.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import tyro

from dwm_ray.benchmarks.measure import Call, Workload
from dwm_ray.benchmarks.rates import RateSuite
from dwm_ray.benchmarks.setup import BenchmarkSetup
from dwm_ray.blocks.graphed import CudaGraphSampler
from dwm_ray.config import RunConfig
from dwm_ray.cuda_graphs import WARM_UPS
from dwm_ray.replay.sources import start_rtg
from dwm_ray.training.fit_world_model import world_model_trainer
from dwm_ray.world_models.dwm import DWMConfig

Size = Literal["mlp", "unet_small", "unet"]
PRECISIONS = ("fp32", "auto")

PAPER = DWMConfig().model_dump()
SIZES: dict[Size, dict[str, Any]] = {
    "mlp": {},  # the defaults of the profile `laptop`
    "unet_small": {**PAPER, "dim": 32, "multipliers": [1, 2, 4]},
    "unet": PAPER,  # 60 million weights
}


def model_values(size: Size, precision: str) -> dict[str, Any]:
    """Return world-model options by dotted path, and a horizon that fits them."""
    values = {**SIZES[size], "training_precision": precision, "sampling_precision": precision}
    fits = {} if size == "mlp" else {"synthesis.horizon": PAPER["sequence_length"] - 1}
    return {f"world_model.{name}": value for name, value in values.items()} | fits


def baseline_of(size: Size, precision: str, suffix: str = "") -> str | None:
    """Return the workload of the same size in float32, with which the reduced precision is compared."""
    return None if precision == "fp32" else f"{size}-fp32{suffix}"


@dataclass(frozen=True)
class SamplerSuite(RateSuite):
    """Segments/s of DWM: sizes of the denoiser, float32 and reduced precision, CUDA graphs."""

    name: ClassVar[str] = "sampler"
    unit: ClassVar[str] = "segments/s"

    sizes: tuple[Size, ...] = ("mlp", "unet_small", "unet")
    """mlp: of the profile laptop. unet: of the paper. unet_small: as in the paper, with fewer channels."""
    batch_sizes: tuple[int, ...] = (64,)
    """Segments per call."""
    graphed: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Add every workload as a CUDA graph; needs a GPU."""

    def workloads(self, setup: BenchmarkSetup) -> list[Workload]:
        """Return one workload per size, batch size and precision. Raise ValueError for CUDA graphs without a GPU."""
        if self.graphed:
            setup.expect_gpu("--graphed")
        return [work for batch in self.batch_sizes for size in self.sizes for work in self._of(setup, size, batch)]

    def _of(self, setup: BenchmarkSetup, size: Size, batch: int) -> Iterator[Workload]:
        for precision in PRECISIONS:
            build = partial(sampling, setup, size, batch, precision)
            name, baseline = f"{size}-{precision}-{batch}", baseline_of(size, precision, f"-{batch}")
            yield Workload(name, build, units=batch, baseline=baseline)
            if self.graphed:
                graphed = f"{size}-{precision}-graph-{batch}"
                yield Workload(graphed, partial(build, graphed=True), units=batch, baseline=name)


def sampling(setup: BenchmarkSetup, size: Size, batch: int, precision: str, graphed: bool = False) -> Call:
    """Sample a batch of segments of the maximum horizon; a CUDA graph is recorded here, because that takes long."""
    config = setup.config("dwm", "td3_bc", **model_values(size, precision))
    model, generator, starts = setup.model(config), setup.generator(), setup.starts(config)[:batch]
    obs, act = starts.obs[:, 0], starts.act[:, 0]
    rtg, horizon = start_rtg(config, setup.task_data, setup.device)[:batch], model.max_horizon
    sampler = CudaGraphSampler(model, batch) if graphed else model
    call = partial(sampler.imagine, obs, act, policy=None, horizon=horizon, rtg=rtg, generator=generator)
    for _ in range(WARM_UPS + 1 if graphed else 0):
        call()
    return call


@dataclass(frozen=True)
class WorldModelSuite(RateSuite):
    """Training updates/s of DWM: sizes of the denoiser, float32 and reduced precision."""

    name: ClassVar[str] = "world_model"
    unit: ClassVar[str] = "updates/s"

    sizes: tuple[Size, ...] = ("mlp", "unet_small", "unet")
    """Sizes of the denoiser, as for the suite sampler."""
    batch_size: int = 64
    """Windows per update; 64 in the paper."""

    def workloads(self, setup: BenchmarkSetup) -> list[Workload]:
        """Return one workload per size and precision."""
        return [self._of(setup, size, precision) for size in self.sizes for precision in PRECISIONS]

    def _of(self, setup: BenchmarkSetup, size: Size, precision: str) -> Workload:
        values = {**model_values(size, precision), "world_model.batch_size": self.batch_size}
        build = partial(training, setup, setup.config("dwm", "td3_bc", **values))
        return Workload(f"{size}-{precision}", build, baseline=baseline_of(size, precision))


def training(setup: BenchmarkSetup, config: RunConfig) -> Call:
    """Train a model from its initial weights, one update per call."""
    return partial(world_model_trainer(config, setup.task_data, setup.device).run, 1)
