"""Load on the index of the replay buffer: `dwm_ray.benchmarks.cluster.load` generates it and defines the delays."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from rich.console import Console

from dwm_ray.benchmarks.options import SHOWN, Options
from dwm_ray.benchmarks.tables import machine, number, show
from dwm_ray.report.table import Cell, Table
from dwm_ray.runs.tensor_files import write_json

HEADERS = (
    "buffer", "s per block", "in, blocks/s", "out, blocks/s", "CPU per actor", "in, blocks/CPU s",
    "fetch, ms", "delivery, ms", "turnaround, ms", "MB per actor",
)  # fmt: skip


@dataclass(frozen=True)
class Load:
    """The index of the buffer under simulated samplers and readers: blocks/s, latencies (median, 99 %), CPU, memory.
    Starts Ray. Of the common options, only --output and --markdown apply."""

    name: ClassVar[str] = "load"

    samplers: int = 256
    """Simulated samplers."""
    readers: int = 64
    """Simulated learners; they are divided evenly among the streams."""
    streams: int = 8
    """Streams that are read at the same time."""
    shards: tuple[int, ...] = (1, 2)
    """Actors of the buffer (cluster.buffer_shards); one measurement each."""
    block_s: tuple[float, ...] = (2.0, 0.0)
    """Seconds that a sampler takes per block; one measurement each. 0 saturates the index."""
    prefetch_blocks: int = 64
    """As cluster.prefetch_blocks."""
    processes: int = 2
    """Processes that run all samplers, and as many for all readers."""
    warmup_s: float = 10.0
    """Seconds before each measurement."""
    seconds: float = 20.0
    """Seconds of each measurement."""

    def check(self) -> None:
        """Raise ValueError for values that cannot be measured."""
        for option, value in {**vars(self), "shards": min(self.shards, default=0)}.items():
            if option not in ("block_s", "warmup_s") and value <= 0:
                raise ValueError(f"--{option.replace('_', '-')}: expected a positive number, not {value:g}")
        if not self.block_s or min(self.block_s) < 0 or self.warmup_s < 0:
            raise ValueError("--block-s and --warmup-s: expected 0 or more seconds")
        if self.streams > self.readers or self.processes > min(self.readers, self.samplers):
            raise ValueError("--streams and --processes: expected no more than --readers and --samplers")

    def run(self, options: Options, programs: Path) -> None:
        """Measure calls without a buffer first, then each number of shards."""
        self.check()
        options.refuse_others(SHOWN, "does not apply to the load on the buffer")
        from dwm_ray.benchmarks.cluster import load  # other suites work without Ray
        from dwm_ray.benchmarks.cluster.load_generator import LoadSize

        rows, windows, path = [], [], options.path(self.name)
        size = (self.samplers, self.readers, self.streams, self.processes, self.prefetch_blocks)
        with Console(stderr=True).status("starting Ray") as status, load.cluster():
            for shards, block_s in ((shards, block_s) for shards in (0, *self.shards) for block_s in self.block_s):
                label = f"{shards} shards" if shards else "bare calls"
                status.update(f"{label}, {block_s:g} s per block")
                measured = load.measure if shards else load.measure_bare
                window = asdict(measured(LoadSize(*size, shards), block_s, self.warmup_s, self.seconds))
                windows.append({"shards": shards, "block_s": block_s, **window})
                rows.append(cells(label, block_s, window))
        about = {"machine": machine(torch.device("cpu")), **asdict(self), "output": str(path)}
        write_json(path, {"suite": self.name, "windows": windows, **about})
        show(Table(self.name, list(HEADERS), rows), options.markdown)
        print(path)


def cells(label: str, block_s: float, window: Mapping[str, Any]) -> list[Cell]:
    """Return the table row of one measurement."""
    cpu_s, seconds = window["cpu_s"], window["seconds"]
    return [
        label,
        f"{block_s:g}",
        number(window["accepted"] / seconds),
        number(window["delivered"] / seconds),
        ", ".join(f"{used / seconds:.2f}" for used in cpu_s),
        number(window["accepted"] / max(sum(cpu_s), 1e-9)),
        *(_quantiles(window["delays"].get(delay, [])) for delay in ("fetch", "delivery", "turnaround")),
        ", ".join(f"{size / 1e6:.0f}" for size in window["rss_bytes"]),
    ]


def _quantiles(seconds: list[float]) -> str:
    return ", ".join(number(1e3 * float(q)) for q in np.quantile(seconds, [0.5, 0.99])) if seconds else "–"
