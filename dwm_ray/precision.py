"""Arithmetic of matrix products: an option of agents and world models that follows the machine.

bf16 halves the time of a product where the processor has instructions for it and multiplies it where they are emulated,
so `auto` asks the processor. Weights, sums and normalisers are float32 throughout.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "auto"]
"""'auto' is bf16 where the device has instructions for it (AVX512-BF16, AMX, a GPU since Ampere), else fp32."""


@torch.compiler.assume_constant_result
def product_dtype(precision: Precision, device_type: str) -> torch.dtype:
    """The type that products are computed in on a device ('cpu', 'cuda')."""
    if precision != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    return torch.bfloat16 if _has_bf16(device_type) else torch.float32


@cache
def _has_bf16(device_type: str) -> bool:
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities() if device_type == "cpu" else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def reduced(precision: Precision, device: torch.device) -> torch.autocast:
    """A context in which products are computed as asked for."""
    return torch.autocast(device.type, torch.bfloat16, product_dtype(precision, device.type) == torch.bfloat16)
