"""Options and table of the load on the buffer's index; `distributed.load` makes the load and says what is timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dwm_ray.benchmarks.result import number

HEADERS = (
    "what", "s a block", "in, blocks/s", "out, blocks/s", "CPU an actor", "in, blocks/CPU s",
    "fetch, ms", "delivery, ms", "turnaround, ms", "MB an actor",
)  # fmt: skip


@dataclass(frozen=True)
class Load:
    """The buffer's index under fake samplers and readers: blocks/s, latencies (median, 99 %), CPU, memory. Starts Ray.
    Of the options for all suites, only --output and --markdown apply."""

    name: ClassVar[str] = "load"

    samplers: int = 256
    """Fake samplers."""
    readers: int = 64
    """Fake learners; they share the streams evenly."""
    streams: int = 8
    """Streams that are read at the same time."""
    shards: tuple[int, ...] = (1, 2)
    """Actors of the buffer, one measurement for each (cluster.buffer_shards)."""
    draw_s: tuple[float, ...] = (2.0, 0.0)
    """Seconds that a sampler takes for a block, one measurement for each; 0 asks for all that the index can do."""
    prefetch_blocks: int = 64
    """As cluster.prefetch_blocks."""
    processes: int = 2
    """Processes that stand for all samplers, and as many for all readers."""
    warmup_s: float = 10.0
    """Seconds before each measurement."""
    seconds: float = 20.0
    """Seconds of each measurement."""

    def check(self) -> None:
        """ValueError for what cannot be measured."""
        counts = {
            "samplers": self.samplers, "readers": self.readers, "streams": self.streams, "processes": self.processes,
            "lead-blocks": self.prefetch_blocks, "seconds": self.seconds, **{"shards": min(self.shards, default=0)},
        }  # fmt: skip
        for option, value in counts.items():
            if value <= 0:
                raise ValueError(f"--{option}: expected a positive number, not {value:g}")
        if not self.draw_s or min(self.draw_s) < 0 or self.warmup_s < 0:
            raise ValueError("--draw-s and --warmup-s: expected 0 or more seconds")
        if self.streams > self.readers or self.processes > min(self.readers, self.samplers):
            raise ValueError("--streams and --processes: expected no more than --readers and --samplers")


def cells(name: str, draw_s: float, window: Mapping[str, Any]) -> list[str]:
    """A row of the table from a window of seconds."""
    cpu_s, seconds = window["cpu_s"], window["seconds"]
    return [
        name,
        f"{draw_s:g}",
        number(window["accepted"] / seconds),
        number(window["delivered"] / seconds),
        ", ".join(f"{used / seconds:.2f}" for used in cpu_s),
        number(window["accepted"] / max(sum(cpu_s), 1e-9)),
        *(_quantiles(window["delays"].get(delay, [])) for delay in ("fetch", "delivery", "turnaround")),
        ", ".join(f"{held / 1e6:.0f}" for held in window["rss_bytes"]),
    ]


def _quantiles(seconds: list[float]) -> str:
    return ", ".join(number(1e3 * float(q)) for q in np.quantile(seconds, [0.5, 0.99])) if seconds else "–"
