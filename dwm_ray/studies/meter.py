"""Seconds, operations and memory of a piece of work, measured in this process in short bursts.

Seconds on a CPU are those that its cores worked, whatever else the machine does; on a GPU they are the clock's. Bursts
are repeated and the median is taken, after one that is not counted: the first call of anything is slow. Memory on a CPU
is the peak of the whole process, libraries and data included, as Linux counts it; on a GPU it is what torch allocated
at most.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from dwm_ray.evaluation.flops import count_flops


@dataclass(frozen=True)
class Reading:
    """Of one unit of work."""

    seconds: float
    flops: float
    peak_bytes: int | None
    """None where the system does not tell."""


def read(work: Callable[[], object], units: int, repeats: int, device: torch.device) -> Reading:
    """Of work that does `units` at a call; it is called `repeats` + 2 times."""
    work()
    reset_peak(device)
    seconds = [timed(work, device) for _ in range(repeats)]
    peak = peak_bytes(device)
    return Reading(median(seconds) / units, count_flops(work) / units, peak)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call; see the module."""
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
    """Forget the highest memory use so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not allowed: `peak_bytes` is then an upper bound
        return


def peak_bytes(device: torch.device) -> int | None:
    """The highest memory use since."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts KiB
