"""Precision of matrix products: named precisions, and `auto` by the processor."""

import torch

from dwm_ray.devices import product_dtype, reduced


def test_named_precisions_hold_everywhere() -> None:
    for device in ("cpu", "cuda"):
        assert product_dtype("fp32", device) == torch.float32
        assert product_dtype("bf16", device) == torch.bfloat16


def test_auto_follows_the_processor() -> None:
    has = torch.cpu.get_capabilities()
    expected = torch.bfloat16 if has.get("avx512_bf16") or has.get("amx_bf16") else torch.float32
    assert product_dtype("auto", "cpu") == expected


def test_products_inside_the_context_are_reduced_and_only_there() -> None:
    x, device = torch.randn(4, 4), torch.device("cpu")
    with reduced("bf16", device):
        assert (x @ x).dtype == torch.bfloat16
    with reduced("fp32", device):
        assert (x @ x).dtype == torch.float32
    assert (x @ x).dtype == torch.float32
