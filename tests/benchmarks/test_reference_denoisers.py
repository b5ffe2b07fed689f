"""Reference denoisers compute the same function as the optimized ones."""

import pytest
import torch
from torch import nn

from dwm_ray.benchmarks.reference_denoisers import reference_denoiser
from dwm_ray.diffusion.activation import Mish
from dwm_ray.diffusion.conditioning import Condition, ConditionEncoder, StepEncoder
from dwm_ray.diffusion.denoisers import ResidualMLP, TemporalUNet
from dwm_ray.diffusion.temporal import TemporalConv


def build(kind: str) -> nn.Module:
    torch.manual_seed(0)
    encoder = ConditionEncoder(StepEncoder(8, 5), 3)
    return TemporalUNet(7, encoder, 8, (1, 2, 4)) if kind == "unet" else ResidualMLP(8, 7, encoder, 8, (4, 8))


@pytest.mark.parametrize("kind", ["unet", "mlp"])
def test_value_and_gradient_are_equal_without_optimized_layers(kind: str) -> None:
    ours = build(kind)
    reference = reference_denoiser(ours)
    assert isinstance(reference, nn.Module)
    assert not [layer for layer in reference.modules() if isinstance(layer, Mish | TemporalConv)]
    x, step = torch.randn(6, 8, 7), torch.tensor([1, 2, 3, 4, 5, 1])
    given = Condition(torch.randn(6, 3), torch.rand(6), torch.tensor([True, False] * 3))
    expected, got = ours(x, step, given), reference(x, step, given)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    for out in (expected, got):
        out.square().mean().backward()
    mine, theirs = (net.encoder.rtg_mlp[0].weight.grad for net in (ours, reference))
    torch.testing.assert_close(theirs, mine, rtol=1e-3, atol=1e-6)
    assert sum(p.numel() for p in reference.parameters()) == sum(p.numel() for p in ours.parameters())


def test_weights_are_copied() -> None:
    ours = build("unet")
    x, step = torch.randn(2, 8, 7), torch.tensor([1, 2])
    given = Condition(torch.randn(2, 3), torch.rand(2), torch.ones(2).bool())
    reference = reference_denoiser(ours)
    before = reference(x, step, given)
    with torch.no_grad():
        for param in ours.parameters():
            param.add_(1)
    assert torch.equal(reference(x, step, given), before)
