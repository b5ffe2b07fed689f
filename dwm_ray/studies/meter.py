"""Seconds, operations and peak memory of a function, measured in this process in short bursts.

On a CPU, seconds are CPU seconds, independent of other programs; on a GPU they are wall-clock seconds. The result is
the median of several bursts after a warm-up. Memory on a CPU is the peak of the whole process, including libraries and
data, as Linux counts it; on a GPU it is the peak that torch has allocated."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from dwm_ray.evaluation.flops import count_flops
from dwm_ray.runs.clock import peak_memory


@dataclass(frozen=True)
class Reading:
    """Cost of one unit of work."""

    seconds: float
    flops: float
    peak_bytes: int


def read(work: Callable[[], object], units: int, repeats: int, device: torch.device) -> Reading:
    """Measure work that does `units` per call; it is called `repeats` + 2 times."""
    work()
    reset_peak(device)
    seconds = [timed(work, device) for _ in range(repeats)]
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
    return Reading(median(seconds) / units, count_flops(work) / units, peak)


def timed(work: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        started = time.process_time()
        work()
        return time.process_time() - started
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started


def reset_peak(device: torch.device) -> None:
    """Reset the peak memory. Where the system does not allow it, the peak is an upper bound."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
