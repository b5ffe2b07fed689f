"""Segments per second through the real buffer with one sampler and with several, in alternating order.

efficiency = rate of n / (n x rate of 1). In wall-clock time, it falls as soon as there are fewer cores than processes.
In CPU seconds of the samplers, it shows the cost of a segment, independent of other programs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from rich.console import Console

from dwm_ray.benchmarks.measure import alternating, paired_ratio, rate_spread
from dwm_ray.benchmarks.options import TaskSuite
from dwm_ray.benchmarks.tables import machine, number, show
from dwm_ray.config import RunConfig
from dwm_ray.experiment import profiles
from dwm_ray.report.table import Cell, Table
from dwm_ray.runs.tensor_files import write_json
from dwm_ray.types import Json

HEADERS = (
    "samplers", "segments/s", "slowest, fastest", "efficiency", "95 %",
    "segments/CPU s", "efficiency, CPU", "95 %",
)  # fmt: skip

BLOCK_ROWS = 1024
"""Segments per block; fewer than in a run, so that a measurement has many blocks."""
BLOCKS_PER_SAMPLER = 16
"""Blocks per measurement for each sampler of the largest count."""


@dataclass(frozen=True)
class ScalingSuite(TaskSuite):
    """Segments/s through the real buffer with 1 and more samplers (untrained DWM of the profile laptop).
    Starts Ray."""

    name: ClassVar[str] = "scaling"

    samplers: tuple[int, ...] = (1, 2)
    """Numbers of samplers; the others are compared with the first."""
    repeats: int = 7
    """Measurements of each number of samplers, in alternating order."""

    def check(self) -> None:
        """Raise ValueError for values that cannot be measured."""
        if min(self.samplers, default=0) < 1 or self.repeats < 1:
            raise ValueError("--samplers and --repeats: expected positive numbers")
        if len(set(self.samplers)) < len(self.samplers):
            raise ValueError(f"--samplers {' '.join(map(str, self.samplers))}: expected different numbers")

    def run(self, programs: Path) -> None:
        """Generate streams with each number of samplers in alternating order."""
        self.check()
        from dwm_ray.benchmarks.cluster import load, throughput  # other suites work without Ray

        path, config = self.path, self.config()
        with (
            Console(stderr=True).status("starting Ray") as status,
            TemporaryDirectory() as folder,
            load.cluster(),
            throughput.sampler_counts(config, Path(folder), self.samplers) as counts,
        ):
            rates = alternating(counts, self.repeats, status.update)
        options = {**asdict(self), "output": str(path)}
        write_json(path, {"suite": self.name, "measured": rates, "machine": machine(), "options": options})
        show(Table(self.name, list(HEADERS), cells(rates)))
        print(path)

    def config(self) -> RunConfig:
        """Return the run whose stream is generated."""
        num_segments = BLOCKS_PER_SAMPLER * max(self.samplers) * BLOCK_ROWS
        stream = {"synthesis.num_segments": num_segments, "synthesis.block_rows": BLOCK_ROWS}
        return profiles.run_config("laptop", "dwm").with_values({"task": self.task, "data.file": self.data, **stream})


def cells(measured: Mapping[str, Sequence[Json]]) -> list[list[Cell]]:
    """Return the table rows of {number of samplers: measurements}."""
    first = next(iter(measured))
    rows: list[list[Cell]] = []
    for count, rates in measured.items():
        (wall, cpu), (wall_baseline, cpu_baseline) = (
            [[result["segments"] / result[name] for result in results] for name in ("seconds", "cpu_s")]
            for results in (rates, measured[first])
        )
        spread = rate_spread(wall)
        rows.append(
            [
                count,
                number(spread["median"]),
                f"{number(spread['low'])}, {number(spread['high'])}",
                *_efficiency(wall, wall_baseline, int(first) / int(count)),
                number(rate_spread(cpu)["median"]),
                *_efficiency(cpu, cpu_baseline, 1),
            ]
        )
    return rows


def _efficiency(rates: list[float], baseline: list[float], scale: float) -> list[str]:
    median, low, high = (scale * value for value in paired_ratio(rates, baseline).values())
    return [f"{median:.2f}", f"{low:.2f} to {high:.2f}"]
