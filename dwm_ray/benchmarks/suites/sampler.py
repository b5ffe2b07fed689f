"""Segments per second that DWM imagines: its denoisers in sizes and variants, from few start pairs to many.

plain: the denoiser as it is usually written, in float32 (`benchmark.plain`), within the same sampler. fp32: ours,
U-Nets in their frozen form. auto: ours in the machine's reduced precision. graphed: what `auto` runs, replayed as CUDA
graphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import tyro

from dwm_ray.benchmarks.measure import Call, Clock, Work, recorded
from dwm_ray.benchmarks.plain import plain_denoiser
from dwm_ray.benchmarks.roofline import dtype_of, peak_flops, share
from dwm_ray.benchmarks.sizes import VARIANTS, Size, Variant, options, reference
from dwm_ray.benchmarks.workloads import Workbench
from dwm_ray.blocks.graphed import CudaGraphSampler
from dwm_ray.evaluation.flops import count_flops
from dwm_ray.world_models.dwm import DWM

COUNTED = 2
"""Segments that are drawn once to count operations."""


@dataclass(frozen=True)
class Sampler:
    """Segments/s of DWM: its denoisers as usually written, ours, ours in reduced precision."""

    name: ClassVar[str] = "sampler"
    unit: ClassVar[str] = "segments/s"

    sizes: tuple[Size, ...] = ("mlp", "unet_small", "unet")
    """mlp: the profile `laptop`'s; unet: the paper's temporal U-Net; unet_small: one for a laptop."""
    batch_sizes: tuple[int, ...] = (64,)
    """Segments imagined at once."""
    graphed: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also CUDA graphs; on a GPU only."""

    def work(self, bench: Workbench) -> list[Work]:
        """Three pieces per size and batch, and one as a CUDA graph. ValueError where that needs a GPU that there is
        not."""
        if self.graphed:
            bench.expect_gpu("--graphed")
        return [work for size in self.sizes for batch in self.batch_sizes for work in self._of(bench, size, batch)]

    def _of(self, bench: Workbench, size: Size, batch: int) -> list[Work]:
        works = [self._work(bench, size, batch, variant) for variant in VARIANTS]
        if not self.graphed:
            return works
        drawing = partial(replayed, bench, size, batch)
        return [*works, Work(f"{size}-graphed-{batch}", drawing, units=batch, reference=f"{size}-auto-{batch}")]

    def roofline(self, bench: Workbench, medians: dict[str, float], clock: Clock) -> list[str]:
        """What each entrant multiplies, and its share of what the device can, in the entrant's own type."""
        lines = []
        for variant in VARIANTS:
            peak = peak_flops(bench.device, dtype_of(variant, bench.device), clock)
            for size in self.sizes:
                rates = {name: medians.get(name) for name in (f"{size}-{variant}-{b}" for b in self.batch_sizes)}
                timed = {name: rate for name, rate in rates.items() if rate is not None}
                flops = count_flops(imagining(bench, size, COUNTED, variant)) / COUNTED if timed else 0
                lines += [share(name, rate, flops, "a segment", peak) for name, rate in timed.items()]
        return lines

    def _work(self, bench: Workbench, size: Size, batch: int, variant: Variant) -> Work:
        against = reference(size, variant)
        return Work(
            f"{size}-{variant}-{batch}",
            partial(imagining, bench, size, batch, variant),
            units=batch,
            reference=against and f"{against}-{batch}",
        )


def replayed(bench: Workbench, size: Size, batch: int) -> Call:
    """Draws a batch as a CUDA graph."""
    return recorded(imagining(bench, size, batch, "auto", graphed=True))


def imagining(bench: Workbench, size: Size, batch: int, variant: Variant, graphed: bool = False) -> Call:
    """Draws a batch of the longest segments."""
    config = bench.config("dwm", "td3_bc", **options(size, variant))
    model, starts, generator = bench.model(config), bench.starts(config)[:batch], bench.generator()
    assert isinstance(model, DWM)
    if variant == "plain":
        model.denoiser = plain_denoiser(model.denoiser)
    obs, act = starts.obs[:, 0], starts.act[:, 0]
    horizon, rtg = model.max_horizon, config.synthesis.target_rtg
    drawer = CudaGraphSampler(model, batch) if graphed else model
    return lambda: drawer.imagine(obs, act, policy=None, horizon=horizon, rtg=rtg, generator=generator)
