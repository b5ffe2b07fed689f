"""The most that a device multiplies: a large square product, measured here and now, not a number from a data sheet."""

from __future__ import annotations

import torch

from dwm_ray.benchmark.measure import Clock, Stopwatch

SIZE = {"cpu": 2048, "cuda": 8192}
REPEATS, CALLS = 3, {"cpu": 1, "cuda": 20}


def peak_flops(device: torch.device, dtype: torch.dtype, clock: Clock, size: int | None = None) -> float:
    """Operations a second, a multiply and an add counted as two: the best of a few tries."""
    size, calls = size or SIZE[device.type], CALLS[device.type]
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    watch = Stopwatch(device, 0.0, clock)
    watch.seconds(lambda: left @ right, calls)
    best = min(watch.seconds(lambda: left @ right, calls) for _ in range(REPEATS))
    return 2 * size**3 * calls / best
