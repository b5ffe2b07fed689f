"""Rates, measured in turns: A B C, then C B A, and so on.

The machine's speed drifts by more than most differences that are looked for. So every repeat times each entrant once,
in a burst long enough for the clock, and repeats go through the entrants in alternating order; what is compared are
rates of the same repeat. The first calls, which compile, allocate and fill caches, are made before and not counted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

Call = Callable[[], object]
"""A piece of work; what it returns is not looked at."""

Clock = Literal["wall", "cpu"]

CALIBRATION_SHARE = 0.2
"""Fraction of a burst that the calls last whose time decides how many calls a burst has."""


RECORDING_CALLS = 16
"""First calls of what becomes a CUDA graph: enough for two kinds of call, every other one of each, to be recorded."""


def recorded(call: Call) -> Call:
    """The call, made often enough that its graphs are there: recording takes longer than many replays, and would
    mislead the choice of how many calls a burst has."""
    for _ in range(RECORDING_CALLS):
        call()
    return call


class Entrant(Protocol):
    """What takes part in a measurement."""

    @property
    def name(self) -> str:
        """Told in tables."""

    def rate(self) -> float:
        """Units per second, once more."""


@dataclass(frozen=True)
class Work:
    """Something of ours to time."""

    name: str
    build: Callable[[], Call]
    """Makes what is called; ValueError where this machine cannot run it."""
    units: float = 1.0
    """Units of the suite that one call does."""
    reference: str | None = None
    """The work that it is set against."""


@dataclass(frozen=True)
class Stopwatch:
    """How bursts of calls are timed on a device."""

    device: torch.device
    burst_s: float
    """Seconds of a burst, about."""
    clock: Clock = "wall"
    """'cpu' counts the seconds that this process has a core."""

    def seconds(self, call: Call, num_calls: int) -> float:
        """Of so many calls, until the device has done its work."""
        now = time.perf_counter if self.clock == "wall" else time.process_time
        self._wait()
        started = now()
        for _ in range(num_calls):
            call()
        self._wait()
        return now() - started

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Timed:
    """A built piece of work as an entrant: a fixed number of calls a burst."""

    def __init__(self, work: Work, watch: Stopwatch) -> None:
        self.name = work.name
        self._units, self._watch = work.units, watch
        self._call = work.build()
        self.num_calls = 1
        self._seconds()
        while (seconds := self._seconds()) < CALIBRATION_SHARE * watch.burst_s:
            self.num_calls *= 2
        self.num_calls = max(1, math.ceil(self.num_calls * watch.burst_s / seconds))

    def rate(self) -> float:
        """Units per second in one burst."""
        return self.num_calls * self._units / self._seconds()

    def _seconds(self) -> float:
        return self._watch.seconds(self._call, self.num_calls)


def interleaved(
    entrants: Sequence[Entrant], repeats: int, on_repeat: Callable[[int], None] = lambda done: None
) -> dict[str, list[float]]:
    """{name: rates [repeats]}; entry r of all lists was measured in repeat r. `on_repeat` is told how many are done."""
    rates: dict[str, list[float]] = {entrant.name: [] for entrant in entrants}
    for repeat in range(repeats):
        for entrant in entrants if repeat % 2 == 0 else reversed(entrants):
            rates[entrant.name].append(entrant.rate())
        on_repeat(repeat + 1)
    return rates
