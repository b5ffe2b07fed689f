"""Device of a process, and the precision of its matrix products.

bf16 halves the time of a product if the processor has instructions for it and is much slower if they are emulated, so
'auto' checks the processor. Weights, sums and normalisers are always float32.
"""

from functools import cache
from typing import Literal

import torch

from dwm_ray.cuda_graphs import expect_gpu
from dwm_ray.options import RunOptions

Precision = Literal["fp32", "bf16", "auto"]
"""'auto' is bf16 if the device has instructions for it (AVX512-BF16, AMX, a GPU since Ampere), else fp32."""


def product_dtype(precision: Precision, device_type: str) -> torch.dtype:
    """Return the type that products are computed in on a device ('cpu', 'cuda')."""
    if precision != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    return torch.bfloat16 if _has_bf16(device_type) else torch.float32


@cache
def _has_bf16(device_type: str) -> bool:
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if device_type == "cpu" else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Return a context in which products are computed in the given precision."""
    return torch.autocast(device.type, torch.bfloat16, product_dtype(precision, device.type) == torch.bfloat16)


def default_device() -> torch.device:
    """Return the first GPU that this process may use, else the CPU. Convolutions on a GPU stay float32 (no TF32)."""
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_for(config: RunOptions) -> torch.device:
    """Return the device of a run in this process; raise ValueError if its options need a GPU and there is none."""
    device = default_device()
    if config.execution.cuda_graphs:
        expect_gpu(device, "execution.cuda_graphs")
    if config.execution.sampler_cuda_graphs and config.world_model is not None and config.world_model.plugin.trained:
        expect_gpu(device, "execution.sampler_cuda_graphs")
    return device
