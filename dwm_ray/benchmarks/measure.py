"""Timing of workloads in alternating order: A B C, then C B A, and so on.

The speed of a machine drifts by more than most differences of interest. Every repeat therefore times each workload
once, and only rates of the same repeat are compared. The first calls, which compile, allocate and fill caches, do not
count.

Peers are external commands, to compare public code with this project. `NAME=COMMAND` runs once per repeat without a
shell, and the last word of its output is its rate in units of the suite. The command is responsible for timing, warm-up
and equal settings.

A ratio is the median over repeats of (rate of one / rate of the other in the same repeat), so that common drift
cancels. Its interval is a percentile bootstrap over repeats. The interval describes the uncertainty on this machine
now, not the ratio on another machine."""

from __future__ import annotations

import math
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import torch

from dwm_ray.errors import last_line
from dwm_ray.evaluation.stats import LEVEL, NUM_RESAMPLES
from dwm_ray.runs.folder import RunFailed
from dwm_ray.types import Json

Call = Callable[[], object]
"""Function to time; its result is ignored."""
Clock = Literal["wall", "cpu"]
CALIBRATION_FRACTION = 0.2
"""Minimum duration of the calibration calls, as a fraction of a burst."""


Rate = TypeVar("Rate")


@dataclass(frozen=True)
class Workload:
    """Workload of this project."""

    name: str
    build: Callable[[], Call]
    """Returns the function to time; raises ValueError if this machine cannot run it."""
    units: float = 1.0
    """Units of the suite per call."""
    baseline: str | None = None
    """Name of the workload to compare with."""


class Timed:
    """A workload that is built and calibrated: every burst has the same number of calls.

    A burst takes about `burst_s` seconds, including the time until the device has finished. The clock 'cpu' counts the
    seconds in which this process has a core.
    """

    def __init__(self, workload: Workload, device: torch.device, burst_s: float, clock: Clock = "wall") -> None:
        self._units, self._device, self._clock = workload.units, device, clock
        self._call = workload.build()
        self.num_calls = 1
        self._seconds()
        while (seconds := self._seconds()) < CALIBRATION_FRACTION * burst_s:
            self.num_calls *= 2
        self.num_calls = max(1, math.ceil(self.num_calls * burst_s / seconds))

    def rate(self) -> float:
        """Return units per second of one burst."""
        return self.num_calls * self._units / self._seconds()

    def _seconds(self) -> float:
        now = time.perf_counter if self._clock == "wall" else time.process_time
        self._synchronize()
        start = now()
        for _ in range(self.num_calls):
            self._call()
        self._synchronize()
        return now() - start

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def alternating(
    measures: Mapping[str, Callable[[], Rate]], repeats: int, report: Callable[[str], None] = lambda message: None
) -> dict[str, list[Rate]]:
    """Return {name: rates [repeats]} of {name: function that measures a rate once}.

    Rates with one index were measured in one repeat; `report` receives the progress.
    """
    rates: dict[str, list[Rate]] = {name: [] for name in measures}
    for repeat in range(repeats):
        report(f"repeat {repeat + 1} of {repeats}")
        for name in measures if repeat % 2 == 0 else reversed(list(measures)):
            rates[name].append(measures[name]())
    return rates


def rate_spread(rates: list[float]) -> Json:
    """Return the median rate, and as low and high the slowest and the fastest one."""
    return {"median": float(np.median(rates)), "low": min(rates), "high": max(rates)}


def paired_ratio(rates: list[float], baseline: list[float]) -> Json:
    """Return the median of the ratios per repeat with its bootstrap interval at `LEVEL`; deterministic."""
    ratios = np.asarray(rates) / np.asarray(baseline)
    rows = np.random.default_rng(0).integers(len(ratios), size=(NUM_RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(ratios[rows], axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"median": float(np.median(ratios)), "low": float(low), "high": float(high)}


TIMEOUT_S = 600.0


def parse_peer(text: str) -> tuple[str, partial[float]]:
    """Return the name and `peer_rate` of NAME=COMMAND. Raise ValueError for anything else."""
    name, _, command = text.partition("=")
    args = shlex.split(command)
    if not name or not args:
        raise ValueError(f"--peer {text!r}: expected NAME=COMMAND")
    return name, partial(peer_rate, name, args)


def peer_rate(name: str, args: Sequence[str]) -> float:
    """Run a command and return its rate. Raise RunFailed if it fails or prints no positive number last."""
    try:
        done = subprocess.run(args, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunFailed(f"--peer {name}: {error}") from error
    if done.returncode != 0:
        raise RunFailed(f"--peer {name}: ended with code {done.returncode} ({last_line(done.stderr)})")
    rate = _number((done.stdout.split() or ["nothing"])[-1])
    if rate is None:
        last = last_line(done.stdout, "nothing")
        raise RunFailed(f"--peer {name}: printed {last!r} last; expected its rate, a positive number")
    return rate


def _number(word: str) -> float | None:
    """Return a finite positive number; None for anything else."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None
