"""Segments per second of DWM: sizes and variants of its denoisers (`dwm_variants`), from few start pairs to many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, ClassVar

import tyro
from torch import Tensor

from dwm_ray.benchmarks.dwm_variants import DEFAULT, Size, Variant, baseline_of, dtype_of, model_values, with_form
from dwm_ray.benchmarks.measure import Call, Workload
from dwm_ray.benchmarks.setup import BenchmarkSetup
from dwm_ray.blocks.graphed import CudaGraphSampler
from dwm_ray.cuda_graphs import WARM_UPS
from dwm_ray.evaluation.flops import count_flops
from dwm_ray.replay.sources import start_targets

COUNTED = 2
"""Segments that are sampled once to count operations."""


@dataclass(frozen=True)
class Sampler:
    """Segments/s of DWM: reference and optimized denoisers, float32 and reduced precision, CUDA graphs."""

    name: ClassVar[str] = "sampler"
    unit: ClassVar[str] = "segments/s"

    sizes: tuple[Size, ...] = ("mlp", "unet_small", "unet")
    """mlp: of the profile laptop. unet: the temporal U-Net of the paper. unet_small: a U-Net for a laptop."""
    variants: tuple[Variant, ...] = DEFAULT
    """Form of the denoiser and precision of its products."""
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
            name, baseline = f"{size}-{variant}-{batch}", baseline_of(size, variant)
            yield Workload(
                name,
                partial(sampling, setup, size, batch, variant),
                units=batch,
                baseline=baseline and f"{baseline}-{batch}",
                flops=cache(lambda v=variant: count_flops(sampling(setup, size, COUNTED, v)) / COUNTED),
                dtype=dtype_of(variant, setup.device),
            )
            if self.graphed:
                build = partial(sampling_graph, setup, size, batch, variant)
                yield Workload(f"{size}-{variant}-graph-{batch}", build, units=batch, baseline=name)


def sampling(setup: BenchmarkSetup, size: Size, batch: int, variant: Variant, graphed: bool = False) -> Call:
    """Sample a batch of segments of the maximal horizon."""
    config = setup.config("dwm", "td3_bc", **model_values(size, variant))
    model, generator = with_form(setup.model(config), variant).requires_grad_(False), setup.generator()
    starts = setup.starts(config)[:batch]
    obs, act = starts.obs[:, 0], starts.act[:, 0]
    targets, horizon = start_targets(config, setup.task_data, setup.device), model.max_horizon
    rtg = targets[:batch] if isinstance(targets, Tensor) else targets
    sampler = CudaGraphSampler(model, batch) if graphed else model
    return lambda: sampler.imagine(obs, act, policy=None, horizon=horizon, rtg=rtg, generator=generator)


def sampling_graph(setup: BenchmarkSetup, size: Size, batch: int, variant: Variant) -> Call:
    """Sample a batch as a CUDA graph that is already recorded: recording takes longer than many replays."""
    call = sampling(setup, size, batch, variant, graphed=True)
    for _ in range(WARM_UPS + 1):
        call()
    return call
