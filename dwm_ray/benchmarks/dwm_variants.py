"""Sizes and variants of DWM that are timed: form of the denoiser and precision of the products.

reference: the denoiser in standard torch layers (`reference_denoisers`). optimized: as in a run, in the project's own
layers, and in the inference form if samplers use it on the device. inference: in the inference form on every device.
fp32, auto: float32 products, or the reduced precision of the device.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from dwm_ray.benchmarks.reference_denoisers import reference_denoiser
from dwm_ray.devices import product_dtype
from dwm_ray.diffusion.denoisers import TemporalUNet
from dwm_ray.world_models.base import WorldModel
from dwm_ray.world_models.dwm import DWM, DWMConfig

PARAMETRISATION = ("sequence_length", "denoiser", "states", "process", "entry_weights", "first_model", "given_first")
Size = Literal["mlp", "unet_small", "unet"]
Variant = Literal[
    "reference-fp32", "reference-auto", "optimized-fp32", "optimized-auto", "inference-fp32", "inference-auto"
]

PAPER = {name: field.default for name, field in DWMConfig.model_fields.items() if name in PARAMETRISATION}
SIZES: dict[Size, dict[str, Any]] = {
    "mlp": {},  # the preset of the profile `laptop`
    "unet_small": {**PAPER, "dim": 32, "multipliers": [1, 2, 4]},
    "unet": {**PAPER, "dim": 128, "multipliers": [1, 4, 8]},  # 60 million weights
}
BASELINE: Variant = "reference-fp32"
DEFAULT: tuple[Variant, ...] = (BASELINE, "optimized-fp32", "optimized-auto")


def model_values(size: Size, variant: Variant) -> dict[str, Any]:
    """Return world-model options by dotted path, and a horizon that fits them."""
    precision = _precision(variant)
    values = {**SIZES[size], "training_precision": precision, "sampling_precision": precision}
    fits = {} if size == "mlp" else {"synthesis.horizon": PAPER["sequence_length"] - 1}
    return {f"world_model.{name}": value for name, value in values.items()} | fits


def with_form(model: WorldModel, variant: Variant) -> WorldModel:
    """Give the denoiser of a DWM the form of a variant. Raise ValueError if it has no inference form."""
    assert isinstance(model, DWM)
    if variant.startswith("reference"):
        model.denoiser = reference_denoiser(model.denoiser)
    if variant.startswith("inference"):
        if not isinstance(model.denoiser, TemporalUNet):
            raise ValueError(f"--variants {variant}: only U-Nets have an inference form")
        model.denoiser.inference_devices = ("cpu", "cuda")
    return model


def baseline_of(size: Size, variant: Variant) -> str | None:
    """Return the prefix of the workload to compare with; None for the baseline itself."""
    return None if variant == BASELINE else f"{size}-{BASELINE}"


def dtype_of(variant: Variant, device: torch.device) -> torch.dtype:
    """Return the type of the matrix products of a variant."""
    return product_dtype(_precision(variant), device.type)


def _precision(variant: Variant) -> Literal["fp32", "auto"]:
    return "auto" if variant.endswith("auto") else "fp32"
