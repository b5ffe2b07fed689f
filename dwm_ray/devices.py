"""Arithmetic of matrix products: an option of agents and world models that follows the machine.

bf16 halves the time of a product where the processor has instructions for it and multiplies it where they are emulated,
so `auto` asks the processor. Weights, sums and normalisers are float32 throughout.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch

from dwm_ray.cuda_graphs import expect_gpu
from dwm_ray.options import RunOptions

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


def default_device() -> torch.device:
    """The first GPU that this process may use, else the CPU. Convolutions keep float32 there too, as options say."""
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_for(config: RunOptions) -> torch.device:
    """The device of a run in this process; ValueError where its options ask for another, before anything is trained."""
    device = default_device()
    if config.execution.cuda_graphs:
        expect_gpu(device, "execution.cuda_graphs")
    if config.execution.sampler_cuda_graphs and config.world_model is not None:
        expect_gpu(device, "execution.sampler_cuda_graphs")
    return device
