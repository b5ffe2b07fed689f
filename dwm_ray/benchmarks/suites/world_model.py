"""Training updates per second of world models: a batch of windows, loss, gradient, Adam, weight average.

DWM is trained in the sizes and variants of `dwm_variants`, other world models as in the profile `laptop`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from dwm_ray.benchmarks.dwm_variants import (
    DEFAULT,
    Size,
    Variant,
    baseline_of,
    dtype_of,
    model_values,
    with_form,
)
from dwm_ray.benchmarks.measure import Call, Workload
from dwm_ray.benchmarks.setup import BenchmarkSetup
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import window_sets
from dwm_ray.evaluation.flops import count_flops
from dwm_ray.registry import find
from dwm_ray.training.world_model import WorldModelTrainer
from dwm_ray.world_models.parts.build import new_model

PAPER_UPDATES = 2_000_000
"""Training updates of DWM in its paper."""


@dataclass(frozen=True)
class WorldModels:
    """Training updates/s of world models: DWM in the variants of `sampler`, others as they are."""

    name: ClassVar[str] = "world_model"
    unit: ClassVar[str] = "updates/s"

    sizes: tuple[Size, ...] = ("mlp", "unet_small", "unet")
    """Sizes of DWM."""
    variants: tuple[Variant, ...] = DEFAULT
    """Form of the denoiser and precision of its products."""
    others: tuple[str, ...] = ("one_step",)
    """Other world models by name."""
    batch_size: int = 64
    """Windows per update; 64 in the paper."""

    def workloads(self, setup: BenchmarkSetup) -> list[Workload]:
        """Return one workload per size and variant of DWM, and one per other world model."""
        sized = [self._sized(setup, size, variant) for size in self.sizes for variant in self.variants]
        return sized + [self._other(setup, name) for name in self.others]

    def _sized(self, setup: BenchmarkSetup, size: Size, variant: Variant) -> Workload:
        build = partial(training, setup, self._config(setup, "dwm", **model_values(size, variant)), variant)
        return Workload(
            f"{size}-{variant}",
            build,
            baseline=baseline_of(size, variant),
            flops=lambda: count_flops(build()),
            dtype=dtype_of(variant, setup.device),
            note=lambda rate: f"; 2 million updates, as in the paper: {PAPER_UPDATES / rate / 3600:.3g} h",
        )

    def _other(self, setup: BenchmarkSetup, name: str) -> Workload:
        find("world_models", name)
        return Workload(name, partial(training, setup, self._config(setup, name)))

    def _config(self, setup: BenchmarkSetup, name: str, **values: object) -> RunConfig:
        return setup.config(name, "td3_bc", **{**values, "world_model.batch_size": self.batch_size})


def training(setup: BenchmarkSetup, config: RunConfig, variant: Variant | None = None) -> Call:
    """Train a model from its initial weights, one update per call."""
    model = new_model(config, setup.task_data, setup.device)
    if variant is not None:
        model = with_form(model, variant)
    sets = window_sets(config, setup.task_data, model.sequence_length, setup.device)
    return partial(WorldModelTrainer(model, *sets, setup.generator()).run, 1)
