"""The frozen U-Net against the usual eager one in float32 (`benchmark.plain`), within the error that is stated."""

import pytest
import torch
from torch import Tensor

from dwm_ray.benchmarks.plain import plain_denoiser
from dwm_ray.diffusion.conditioning import Condition, ConditionEncoder
from dwm_ray.diffusion.denoisers import ResidualMLP, TemporalUNet
from dwm_ray.diffusion.fast import unet as module
from dwm_ray.diffusion.fast.layouts import GroupMajor, TimeMajor
from dwm_ray.diffusion.fast.unet import can_freeze, frozen
from dwm_ray.diffusion.guidance import guided

NARROW, WIDE = 16, 64


def build(dim: int, multipliers: tuple[int, ...] = (1, 2, 4)) -> TemporalUNet:
    torch.manual_seed(0)
    net = TemporalUNet(7, ConditionEncoder(3, dim, 5), dim, multipliers).requires_grad_(False)
    for param in net.parameters():  # GroupNorm's weights too must not be ones and zeros
        param.add_(torch.randn_like(param) * 0.1 * (param.dim() == 1))
    return net


def problem(length: int = 8, rows: int = 6) -> tuple[Tensor, Condition]:
    generator = torch.Generator().manual_seed(1)
    x, act = torch.randn(rows, length, 7, generator=generator), torch.randn(rows, 3, generator=generator)
    return x, Condition(act, torch.rand(rows, generator=generator), torch.tensor([True, True, False] * (rows // 3)))


def expected(net: TemporalUNet, x: Tensor, step: int, given: Condition, scale: float) -> Tensor:
    return guided(plain_denoiser(net), x, torch.full((len(x),), step), given, scale)


def drawn(net: TemporalUNet, x: Tensor, step: int, given: Condition, scale: float, dtype: torch.dtype) -> Tensor:
    fast = frozen(net, x.shape[1], dtype)
    return fast.guided(x, step, fast.given(given, guided=scale != 1), scale)


@pytest.mark.parametrize(("length", "multipliers"), [(8, (1, 2, 4)), (4, (1, 2)), (4, (1, 2, 4)), (2, (1,))])
@pytest.mark.parametrize("scale", [1.0, 1.2])
@pytest.mark.parametrize("dim", [NARROW, WIDE])
def test_float32_equals_the_eager_reference(dim: int, scale: float, length: int, multipliers: tuple[int, ...]) -> None:
    net = build(dim, multipliers)
    x, given = problem(length)
    for step in (1, 5):
        got = drawn(net, x, step, given, scale, torch.float32)
        torch.testing.assert_close(got, expected(net, x, step, given, scale), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [NARROW, WIDE])
def test_bfloat16_is_within_the_stated_error(dim: int) -> None:
    net = build(dim)
    x, given = problem()
    want = expected(net, x, 3, given, 1.0)
    error = drawn(net, x, 3, given, 1.0, torch.bfloat16) - want
    assert 0 < error.square().mean().sqrt() < 0.03 * want.square().mean().sqrt()


@pytest.mark.parametrize("scale", [1.0, 1.2])
@pytest.mark.parametrize("dim", [NARROW, WIDE])
def test_pieces_and_later_calls_change_nothing(dim: int, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    net = build(dim)
    x, given = problem()
    whole = drawn(net, x, 3, given, scale, torch.float32)
    kept = whole.clone()
    drawn(net, x + 1, 2, given, scale, torch.float32)
    assert torch.equal(whole, kept)
    assert torch.equal(drawn(net, x, 3, given, scale, torch.float32), kept)
    monkeypatch.setattr(module, "PIECE", 4)
    torch.testing.assert_close(drawn(net, x, 3, given, scale, torch.float32), kept, rtol=1e-4, atol=1e-5)


def test_changed_weights_are_noticed_and_unchanged_ones_are_not_frozen_twice() -> None:
    net = build(NARROW)
    x, given = problem()
    first = frozen(net, 8, torch.float32)
    assert frozen(net, 8, torch.float32) is first
    net.middle.first.first[0].weight.mul_(2)
    assert frozen(net, 8, torch.float32) is not first
    got = drawn(net, x, 3, given, 1.0, torch.float32)
    torch.testing.assert_close(got, expected(net, x, 3, given, 1.0), rtol=1e-4, atol=1e-5)


def test_a_network_in_training_is_drawn_from_without_gradients() -> None:
    net = build(NARROW).requires_grad_(True)
    x, given = problem()
    assert not drawn(net, x, 3, given, 1.2, torch.float32).requires_grad


def test_the_form_follows_the_width() -> None:
    kinds = [type(frozen(build(dim), 8, torch.float32).layout) for dim in (NARROW, WIDE)]
    assert kinds == [GroupMajor, TimeMajor]


def test_which_networks_can_be_frozen() -> None:
    net = build(NARROW)
    assert can_freeze(net, 8)
    assert not can_freeze(net, 32)
    assert not can_freeze(net, 6)
    assert not can_freeze(ResidualMLP(8, 7, net.encoder, 8, (4, 8)), 8)
    assert not can_freeze(plain_denoiser(net), 8)
