"""Timing of workloads in alternating order: A B C, then C B A, and so on.

The speed of a machine drifts by more than most differences of interest. Every repeat therefore times each workload
once, and only rates of the same repeat are compared. The first calls, which compile, allocate and fill caches, do not
count."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

Call = Callable[[], object]
"""Function to time; its result is ignored."""
Clock = Literal["wall", "cpu"]
CALIBRATION_FRACTION = 0.2
"""Minimal fraction of a burst that the calibration calls last."""


class Measurable(Protocol):
    """Anything with a name and a rate."""

    @property
    def name(self) -> str:
        """Name in tables."""

    def rate(self) -> float:
        """Measure units per second once."""


@dataclass(frozen=True)
class Workload:
    """Work of this project that is timed."""

    name: str
    build: Callable[[], Call]
    """Returns the function to time; raises ValueError if this machine cannot run it."""
    units: float = 1.0
    """Units of the suite per call."""
    baseline: str | None = None
    """Name of the workload to compare with."""
    flops: Callable[[], float] | None = None
    """Returns the floating-point operations per unit, for the roofline."""
    dtype: torch.dtype = torch.float32
    """Type of the matrix products, for the roofline."""
    note: Callable[[float], str] = lambda rate: ""
    """Returns text about a median rate, for the roofline."""


@dataclass(frozen=True)
class Stopwatch:
    """Timing of bursts of calls on a device."""

    device: torch.device
    burst_s: float
    """Approximate seconds of a burst."""
    clock: Clock = "wall"
    """'cpu' counts the seconds in which this process has a core."""

    def seconds(self, call: Call, num_calls: int) -> float:
        """Return the seconds of `num_calls` calls, including the time until the device has finished."""
        now = time.perf_counter if self.clock == "wall" else time.process_time
        self._synchronize()
        started = now()
        for _ in range(num_calls):
            call()
        self._synchronize()
        return now() - started

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Timed:
    """A workload that is built and calibrated: every burst has the same number of calls."""

    def __init__(self, workload: Workload, watch: Stopwatch) -> None:
        self.name = workload.name
        self._units, self._watch = workload.units, watch
        self._call = workload.build()
        self.num_calls = 1
        self._seconds()
        while (seconds := self._seconds()) < CALIBRATION_FRACTION * watch.burst_s:
            self.num_calls *= 2
        self.num_calls = max(1, math.ceil(self.num_calls * watch.burst_s / seconds))

    def rate(self) -> float:
        """Return units per second of one burst."""
        return self.num_calls * self._units / self._seconds()

    def _seconds(self) -> float:
        return self._watch.seconds(self._call, self.num_calls)


def alternating(
    measurables: Sequence[Measurable], repeats: int, on_repeat: Callable[[int], None] = lambda done: None
) -> dict[str, list[float]]:
    """Return {name: rates [repeats]}. Rates with one index were measured in one repeat; `on_repeat` receives the number
    of finished repeats."""
    rates: dict[str, list[float]] = {one.name: [] for one in measurables}
    for repeat in range(repeats):
        for one in measurables if repeat % 2 == 0 else reversed(measurables):
            rates[one.name].append(one.rate())
        on_repeat(repeat + 1)
    return rates
