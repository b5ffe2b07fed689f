"""The most that a device multiplies: a large square product, measured here and now, not a number from a data sheet."""

from __future__ import annotations

import torch

from dwm_ray.benchmarks.measure import Clock, Stopwatch
from dwm_ray.benchmarks.sizes import Variant
from dwm_ray.devices import product_dtype

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


def dtype_of(variant: Variant, device: torch.device) -> torch.dtype:
    """What a variant's products are computed in."""
    return product_dtype("auto" if variant == "auto" else "fp32", device.type)


def share(name: str, rate: float, flops: float, unit: str, peak: float) -> str:
    """A line: what one unit multiplies, and the share of the device's peak that a rate of units comes to."""
    return f"{name}: {flops / 1e6:.4g} MFLOP {unit}, {100 * rate * flops / peak:.0f} % of {peak / 1e12:.3g} TFLOP/s"
