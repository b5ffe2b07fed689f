"""Training updates per second of world models: a batch of windows, loss, gradient, Adam, average.

DWM in sizes and variants as in the suite `sampler`; other world models as the profile `laptop` has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from dwm_ray.benchmarks.measure import Call, Clock, Work
from dwm_ray.benchmarks.plain import plain_denoiser
from dwm_ray.benchmarks.roofline import dtype_of, peak_flops, share
from dwm_ray.benchmarks.sizes import VARIANTS, Size, Variant, options, reference
from dwm_ray.benchmarks.workloads import Workbench
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import window_sets
from dwm_ray.evaluation.flops import count_flops
from dwm_ray.registry import find
from dwm_ray.training.world_model import WorldModelTrainer
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.dwm import DWM
from dwm_ray.world_models.parts.build import new_model

PAPER_UPDATES = 2_000_000
"""Updates of DWM in its paper."""


@dataclass(frozen=True)
class WorldModels:
    """Training updates/s of world models: DWM's denoisers as in `sampler`, others as they are."""

    name: ClassVar[str] = "world_model"
    unit: ClassVar[str] = "updates/s"

    sizes: tuple[Size, ...] = ("mlp", "unet_small", "unet")
    """Sizes of DWM."""
    others: tuple[str, ...] = ("one_step",)
    """Other world models by name."""
    batch_size: int = 64
    """Windows per update: the paper's."""

    def work(self, bench: Workbench) -> list[Work]:
        """Three pieces per size of DWM, one per other world model."""
        sized = [self._sized(bench, size, variant) for size in self.sizes for variant in VARIANTS]
        return sized + [self._other(bench, name) for name in self.others]

    def roofline(self, bench: Workbench, medians: dict[str, float], clock: Clock) -> list[str]:
        """What DWM's entrants multiply and their share of what the device can, in the entrant's own type; and how long
        the paper's training would take."""
        lines = []
        for variant in VARIANTS:
            peak = peak_flops(bench.device, dtype_of(variant, bench.device), clock)
            for size in self.sizes:
                name = f"{size}-{variant}"
                if name in medians:
                    flops = count_flops(self._call(bench, size, variant))
                    lines.append(share(name, medians[name], flops, "an update", peak) + _projected(medians[name]))
        return lines

    def _sized(self, bench: Workbench, size: Size, variant: Variant) -> Work:
        return Work(f"{size}-{variant}", partial(self._call, bench, size, variant), reference=reference(size, variant))

    def _call(self, bench: Workbench, size: Size, variant: Variant) -> Call:
        values = {**options(size, variant), "world_model.batch_size": self.batch_size}
        return training(bench, bench.config("dwm", "td3_bc", **values), plain=variant == "plain")

    def _other(self, bench: Workbench, name: str) -> Work:
        find("world_models", name)
        values = {"world_model.batch_size": self.batch_size}
        return Work(name, partial(training, bench, bench.config(name, "td3_bc", **values), plain=False))


def training(bench: Workbench, config: RunConfig, plain: bool) -> Call:
    """Training updates of an untrained model."""
    model: WorldModel = new_model(config, bench.task_data, bench.device)
    if plain:
        assert isinstance(model, DWM)
        model.denoiser = plain_denoiser(model.denoiser)
    sets = window_sets(config, bench.task_data, model.sequence_length, bench.device)
    trainer = WorldModelTrainer(model, *sets, bench.generator())
    return lambda: trainer.run(1)


def _projected(rate: float) -> str:
    return f"; the paper's {PAPER_UPDATES // 10**6} million updates: {PAPER_UPDATES / rate / 3600:.3g} h"
