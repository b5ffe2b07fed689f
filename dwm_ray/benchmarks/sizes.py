"""DWM in the sizes that are timed, and its variants: the arithmetic, and the denoiser as it is usually written."""

from __future__ import annotations

from typing import Any, Literal

Size = Literal["mlp", "unet_small", "unet"]
Variant = Literal["plain", "fp32", "auto"]

SIZES: dict[Size, dict[str, Any]] = {
    "mlp": {},  # the preset of the profile `laptop`
    "unet_small": {"denoiser": "unet", "dim": 32, "multipliers": [1, 2, 4]},
    "unet": {"denoiser": "unet", "dim": 128, "multipliers": [1, 4, 8]},  # the paper's, 60 million weights
}
VARIANTS: tuple[Variant, ...] = ("plain", "fp32", "auto")


def options(size: Size, variant: Variant) -> dict[str, Any]:
    """World-model options by dotted path. 'plain' and 'fp32' share theirs."""
    precision = "auto" if variant == "auto" else "fp32"
    chosen = {**SIZES[size], "training_precision": precision, "sampling_precision": precision}
    return {f"world_model.{name}": value for name, value in chosen.items()}


def reference(size: Size, variant: Variant) -> str | None:
    """Every variant is set against the plain one."""
    return None if variant == "plain" else f"{size}-plain"
