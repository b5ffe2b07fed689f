"""Batches per second that a learner gathers from its rings of recorded and generated rows."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from dwm_ray.benchmarks.measure import Call, Workload
from dwm_ray.benchmarks.rates import RateSuite
from dwm_ray.benchmarks.setup import BenchmarkSetup
from dwm_ray.config import RunConfig
from dwm_ray.replay.source import BatchSource


@dataclass(frozen=True)
class ReplaySuite(RateSuite):
    """Batches/s gathered from recorded rows and from mixtures of recorded and generated rows."""

    name: ClassVar[str] = "replay"
    unit: ClassVar[str] = "batches/s"

    batch_sizes: tuple[int, ...] = (256, 4096)
    """Segments per batch."""
    real_ratios: tuple[float, ...] = (0.0, 0.5)
    """Fractions of recorded rows in the mixtures."""

    def workloads(self, setup: BenchmarkSetup) -> list[Workload]:
        """Return one workload for recorded rows and one per mixture, for each batch size."""
        works = []
        for batch in self.batch_sizes:
            name, config = f"real-{batch}", setup.config("dwm", "td3_bc", **{"training.batch_size": batch})
            works.append(Workload(name, partial(_gather, setup, setup.real, config)))
            for ratio in self.real_ratios:
                build = partial(_gather, setup, setup.stream, config.with_values({"replay.real_ratio": ratio}))
                works.append(Workload(f"mixture-{ratio:g}-{batch}", build, baseline=name))
        return works


def _gather(setup: BenchmarkSetup, source: Callable[[RunConfig], BatchSource], config: RunConfig) -> Call:
    return partial(source(config).next_batch, setup.generator())
