"""Batches per second that a learner gathers from its rings of recorded and generated rows."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from dwm_ray.benchmarks.measure import Call, Workload
from dwm_ray.benchmarks.rates import RateSuite
from dwm_ray.benchmarks.setup import BenchmarkSetup
from dwm_ray.config import RunConfig


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
            name, size = f"recorded-{batch}", {"training.batch_size": batch}
            works.append(Workload(name, partial(_gather, setup, setup.config("none", "td3_bc", **size))))
            for ratio in self.real_ratios:
                config = setup.config("dwm", "td3_bc", **size, **{"replay.real_ratio": ratio})
                works.append(Workload(f"mixture-{ratio:g}-{batch}", partial(_gather, setup, config), baseline=name))
        return works


def _gather(setup: BenchmarkSetup, config: RunConfig) -> Call:
    return partial(setup.learner(config).sources[0].next_batch, setup.generator())
