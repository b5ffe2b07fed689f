"""Load on the index of the replay buffer: `dwm_ray.benchmarks.cluster.load` generates it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from rich.console import Console

from dwm_ray.benchmarks.options import Suite
from dwm_ray.benchmarks.tables import machine, number, show
from dwm_ray.report.table import Cell, Table
from dwm_ray.runs.tensor_files import write_json

HEADERS = (
    "shards", "in, blocks/s", "out, blocks/s", "CPU per actor", "in, blocks/CPU s", "delivery, ms (median, 99 %)",
    "MB per actor",
)  # fmt: skip


@dataclass(frozen=True)
class LoadSuite(Suite):
    """The index of the buffer under simulated samplers and readers: blocks/s, latency, CPU, memory. Starts Ray."""

    name: ClassVar[str] = "load"

    samplers: int = 256
    """Simulated samplers."""
    readers: int = 64
    """Simulated learners; they are divided evenly among the streams."""
    streams: int = 8
    """Streams that are read at the same time."""
    shards: tuple[int, ...] = (1, 2)
    """Actors of the buffer (cluster.buffer_shards); one measurement each."""
    block_s: float = 0.0
    """Seconds that a sampler takes per block. 0 saturates the index."""
    warmup_s: float = 10.0
    """Seconds before each measurement."""
    seconds: float = 20.0
    """Seconds of each measurement."""

    def check(self) -> None:
        """Raise ValueError for values that cannot be measured."""
        for option, value in {**vars(self), "shards": min(self.shards, default=0)}.items():
            if option in ("samplers", "readers", "streams", "shards", "seconds") and value <= 0:
                raise ValueError(f"--{option}: expected a positive number, not {value:g}")
        if min(self.block_s, self.warmup_s) < 0:
            raise ValueError("--block-s and --warmup-s: expected 0 or more seconds")
        if self.streams > self.readers:
            raise ValueError("--streams: expected no more than --readers")

    def run(self, programs: Path) -> None:
        """Measure each number of shards."""
        self.check()
        from dwm_ray.benchmarks.cluster import load  # other suites work without Ray

        windows, path = {}, self.path
        size = self.samplers, self.readers, self.streams
        with Console(stderr=True).status("starting Ray") as status, load.cluster():
            for shards in self.shards:
                status.update(f"{shards} shards")
                windows[shards] = load.measure(*size, shards, self.block_s, self.warmup_s, self.seconds)
        details = {"machine": machine(), **asdict(self), "output": str(path)}
        write_json(path, {"suite": self.name, "windows": windows, **details})
        rows = [cells(shards, window) for shards, window in windows.items()]
        show(Table(self.name, list(HEADERS), rows))
        print(path)


def cells(shards: int, window: Mapping[str, Any]) -> list[Cell]:
    """Return the table row of one measurement."""
    cpu_s, seconds, delays = window["cpu_s"], window["seconds"], window["delays"]
    return [
        shards,
        number(window["accepted"] / seconds),
        number(window["delivered"] / seconds),
        ", ".join(f"{used / seconds:.2f}" for used in cpu_s),
        number(window["accepted"] / max(sum(cpu_s), 1e-9)),
        ", ".join(number(1e3 * float(q)) for q in np.quantile(delays, [0.5, 0.99])) if delays else "–",
        ", ".join(f"{size / 1e6:.0f}" for size in window["rss_bytes"]),
    ]
