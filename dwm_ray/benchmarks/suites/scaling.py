"""Segments per second through the real buffer with one sampler and with several, in turns.

efficiency = rate of n / (n x rate of 1): by the clock it falls as soon as cores are missing; by the samplers' CPU
seconds it tells what a segment costs, whoever else wants the cores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from dwm_ray.benchmarks.ratios import Spread, paired_ratio, rate_spread
from dwm_ray.benchmarks.result import number
from dwm_ray.config import RunConfig
from dwm_ray.experiment import profiles
from dwm_ray.options import DataConfig

HEADERS = (
    "samplers",
    "segments/s",
    "slowest, fastest",
    "efficiency",
    "95 %",
    "segments/CPU s",
    "efficiency, CPU",
    "95 %",
)


@dataclass(frozen=True)
class Scaling:
    """Segments/s through the real buffer with 1 and more samplers (DWM of the profile laptop, untrained). Starts Ray.
    Of the options for all suites, only --repeats, --output, --markdown, --task and --data apply."""

    name: ClassVar[str] = "scaling"

    samplers: tuple[int, ...] = (1, 2)
    """Numbers of samplers; the first is what the others are set against."""
    num_segments: int = 32_768
    """Segments of one measurement."""
    block_rows: int = 1024
    """Segments per block; less than a run's, so that a measurement has many blocks."""

    def check(self) -> None:
        """ValueError for what cannot be measured."""
        if not self.samplers or min(self.samplers) < 1:
            raise ValueError("--samplers: expected positive numbers")
        if len(set(self.samplers)) < len(self.samplers):
            raise ValueError(f"--samplers {' '.join(map(str, self.samplers))}: a number is there twice")
        if self.block_rows < 1 or self.num_segments < 4 * max(self.samplers) * self.block_rows:
            raise ValueError("--num-segments: expected at least 4 blocks of --block-rows for every sampler")

    def config(self, task: str, data: str | None) -> RunConfig:
        """The run whose stream is drawn."""
        config = profiles.run_config("laptop", "dwm").model_copy(update={"task": task, "data": DataConfig(file=data)})
        sizes = {"num_segments": self.num_segments, "block_rows": self.block_rows}
        return config.with_values({f"synthesis.{name}": value for name, value in sizes.items()})


class Rates(Protocol):
    """What one measurement gave."""

    @property
    def per_s(self) -> float: ...

    @property
    def per_cpu_s(self) -> float: ...


def cells(seen: Mapping[int, Sequence[Rates]]) -> list[list[str]]:
    """Rows of the table: number of samplers -> its measurements, which were made in turns."""
    first = next(iter(seen))
    rows = []
    for count, drawn in seen.items():
        wall = [[one.per_s for one in of] for of in (drawn, seen[first])]
        cpu = [[one.per_cpu_s for one in of] for of in (drawn, seen[first])]
        about = rate_spread(wall[0])
        rate = [number(about.median), f"{number(about.low)}, {number(about.high)}"]
        share = _efficiency(paired_ratio(*wall), first / count)
        rows.append(
            [str(count), *rate, *share, number(rate_spread(cpu[0]).median), *_efficiency(paired_ratio(*cpu), 1)]
        )
    return rows


def _efficiency(ratio: Spread, share: float) -> list[str]:
    return [f"{ratio.median * share:.2f}", f"{ratio.low * share:.2f} to {ratio.high * share:.2f}"]
