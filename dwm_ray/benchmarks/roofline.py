"""Fraction of the peak of a device that a workload reaches; the peak is measured with a large matrix product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import torch

from dwm_ray.benchmarks.measure import Clock, Stopwatch, Workload

SIZE = {"cpu": 2048, "cuda": 8192}
REPEATS, CALLS = 3, {"cpu": 1, "cuda": 20}


def peak_flops(device: torch.device, dtype: torch.dtype, clock: Clock, size: int | None = None) -> float:
    """Return the best of a few measurements in operations per second; a multiply and an add are two operations."""
    size, calls = size or SIZE[device.type], CALLS[device.type]
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    watch = Stopwatch(device, 0.0, clock)
    watch.seconds(lambda: left @ right, calls)
    best = min(watch.seconds(lambda: left @ right, calls) for _ in range(REPEATS))
    return 2 * size**3 * calls / best


def roofline(
    workloads: Sequence[Workload], medians: Mapping[str, float], device: torch.device, clock: Clock
) -> list[str]:
    """Return a line per measured workload with known operations: operations per unit and fraction of the peak."""
    peak = cache(lambda dtype: peak_flops(device, dtype, clock))
    lines = []
    for work in workloads:
        if work.flops and work.name in medians:
            flops, peak_rate = work.flops(), peak(work.dtype)
            rate = medians[work.name]
            fraction = f"{100 * rate * flops / peak_rate:.0f} % of {peak_rate / 1e12:.3g} TFLOP/s"
            lines.append(f"{work.name}: {flops / 1e6:.4g} MFLOP per unit, {fraction}{work.note(rate)}")
    return lines
