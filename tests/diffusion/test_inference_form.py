"""The inference form of the U-Net, its Karatsuba products, and Mish."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dwm_ray.benchmarks.reference_denoisers import reference_denoiser
from dwm_ray.diffusion.conditioning import Condition, ConditionEncoder, LevelEncoder, StepEncoder
from dwm_ray.diffusion.denoisers import ResidualMLP, TemporalUNet, guided
from dwm_ray.diffusion.fast import unet as module
from dwm_ray.diffusion.fast.activation import mish
from dwm_ray.diffusion.fast.layouts import GroupMajor, TimeMajor
from dwm_ray.diffusion.fast.toeplitz import factors, sums
from dwm_ray.diffusion.fast.unet import has_inference_form, inference_form

NARROW, WIDE = 16, 64


def build(dim: int, multipliers: tuple[int, ...] = (1, 2, 4)) -> TemporalUNet:
    torch.manual_seed(0)
    net = TemporalUNet(7, ConditionEncoder(StepEncoder(dim, 5), 3), dim, multipliers).requires_grad_(False)
    for param in net.parameters():  # GroupNorm's weights too must not be ones and zeros
        param.add_(torch.randn_like(param) * 0.1 * (param.dim() == 1))
    return net


def inputs(length: int = 8, rows: int = 6) -> tuple[Tensor, Condition]:
    generator = torch.Generator().manual_seed(1)
    x, act = torch.randn(rows, length, 7, generator=generator), torch.randn(rows, 3, generator=generator)
    return x, Condition(act, torch.rand(rows, generator=generator), torch.tensor([True, True, False] * (rows // 3)))


def expected(net: TemporalUNet, x: Tensor, step: int, given: Condition, scale: float) -> Tensor:
    return guided(reference_denoiser(net), x, torch.full((len(x),), step), given, scale)


def predicted(net: TemporalUNet, x: Tensor, step: int, given: Condition, scale: float, dtype: torch.dtype) -> Tensor:
    form = inference_form(net, x.shape[1], dtype)
    return form.guided(x, torch.full((len(x),), step), form.shifts(given, guided=scale != 1), scale)


@pytest.mark.parametrize(("length", "multipliers"), [(8, (1, 2, 4)), (4, (1, 2)), (4, (1, 2, 4)), (2, (1,))])
@pytest.mark.parametrize("scale", [1.0, 1.2])
@pytest.mark.parametrize("dim", [NARROW, WIDE])
def test_float32_equals_the_eager_reference(dim: int, scale: float, length: int, multipliers: tuple[int, ...]) -> None:
    net = build(dim, multipliers)
    x, given = inputs(length)
    for step in (1, 5):
        got = predicted(net, x, step, given, scale, torch.float32)
        torch.testing.assert_close(got, expected(net, x, step, given, scale), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [NARROW, WIDE])
def test_bfloat16_is_within_the_stated_error(dim: int) -> None:
    net = build(dim)
    x, given = inputs()
    want = expected(net, x, 3, given, 1.0)
    error = predicted(net, x, 3, given, 1.0, torch.bfloat16) - want
    assert 0 < error.square().mean().sqrt() < 0.03 * want.square().mean().sqrt()


@pytest.mark.parametrize("scale", [1.0, 1.2])
@pytest.mark.parametrize("dim", [NARROW, WIDE])
def test_chunks_and_later_calls_change_nothing(dim: int, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    net = build(dim)
    x, given = inputs()
    whole = predicted(net, x, 3, given, scale, torch.float32)
    before = whole.clone()
    predicted(net, x + 1, 2, given, scale, torch.float32)
    assert torch.equal(whole, before)
    assert torch.equal(predicted(net, x, 3, given, scale, torch.float32), before)
    monkeypatch.setattr(module, "CHUNK", 4)
    torch.testing.assert_close(predicted(net, x, 3, given, scale, torch.float32), before, rtol=1e-4, atol=1e-5)


def test_the_form_is_rebuilt_after_a_weight_changes_only() -> None:
    net = build(NARROW)
    x, given = inputs()
    first = inference_form(net, 8, torch.float32)
    assert inference_form(net, 8, torch.float32) is first
    net.middle.first.first[0].weight.mul_(2)
    assert inference_form(net, 8, torch.float32) is not first
    got = predicted(net, x, 3, given, 1.0, torch.float32)
    torch.testing.assert_close(got, expected(net, x, 3, given, 1.0), rtol=1e-4, atol=1e-5)


def test_sampling_from_a_network_in_training_has_no_gradients() -> None:
    net = build(NARROW).requires_grad_(True)
    x, given = inputs()
    assert not predicted(net, x, 3, given, 1.2, torch.float32).requires_grad


def test_the_layout_depends_on_the_width() -> None:
    kinds = [type(inference_form(build(dim), 8, torch.float32).layout) for dim in (NARROW, WIDE)]
    assert kinds == [GroupMajor, TimeMajor]


def test_networks_and_devices_with_an_inference_form() -> None:
    net, cpu = build(NARROW), torch.device("cpu")
    assert has_inference_form(net, 8, cpu)
    assert not has_inference_form(net, 8, torch.device("cuda"))  # it has never run there
    net.inference_devices = ("cpu", "cuda")
    assert has_inference_form(net, 8, torch.device("cuda"))
    assert not has_inference_form(net, 32, cpu)
    assert not has_inference_form(net, 6, cpu)
    assert not has_inference_form(ResidualMLP(8, 7, net.encoder, 8, (4, 8)), 8, cpu)
    assert not has_inference_form(reference_denoiser(net), 8, cpu)
    assert not has_inference_form(TemporalUNet(7, LevelEncoder(16), 16, (1, 2, 4)), 8, cpu)


def test_equals_the_library_in_value_and_gradient_at_any_size() -> None:
    x = torch.cat([torch.linspace(-90, 90, 4001), torch.tensor([-1e30, 1e30])]).requires_grad_()
    (ours,) = torch.autograd.grad(mish(x).sum(), x)
    (library,) = torch.autograd.grad(F.mish(x).sum(), x)
    torch.testing.assert_close(mish(x), F.mish(x), rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(ours, library, rtol=1e-5, atol=1e-5)


def test_half_precision_is_rounded_once() -> None:
    x = torch.linspace(-5, 5, 101).bfloat16()
    assert torch.equal(mish(x), mish(x.float()).bfloat16())


@pytest.mark.parametrize(("length", "products"), [(1, 1), (2, 3), (4, 9), (8, 27)])
def test_equals_the_librarys_convolution(length: int, products: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv1d(5, 7, 5, padding=2, bias=False).double()
    x = torch.randn(3, 5, length, dtype=torch.float64)
    weight = factors({tap - 2: conv.weight[:, :, tap].T for tap in range(5)}, length)
    into, out = (matrix.double() for matrix in sums(length))
    assert weight.shape == (products, 5, 7)
    got = torch.einsum("tp,pbc->bct", out, torch.einsum("pt,bct->pbc", into, x) @ weight)
    torch.testing.assert_close(got, conv(x), rtol=1e-10, atol=1e-12)
