import pytest
import torch
from torch import nn

from dwm_ray.diffusion.temporal import TemporalConv, TemporalGroupNorm

CONVS = [
    (5, 1, 2, False),
    (3, 2, 1, False),
    (4, 2, 1, True),
    (1, 1, 0, False),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "transposed"), CONVS)
@pytest.mark.parametrize("length", [2, 4, 8, 32])  # dense products and the library
def test_equals_the_library_convolution_with_gradients(
    kernel: int, stride: int, padding: int, transposed: bool, length: int
) -> None:
    torch.manual_seed(0)
    library = (nn.ConvTranspose1d if transposed else nn.Conv1d)(6, 10, kernel, stride, padding)
    ours = TemporalConv(6, 10, kernel, stride, padding, transposed)
    ours.load_conv(library)
    x = torch.randn(3, length, 6)
    expected = library(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-5)

    weights = torch.randn_like(expected)
    (ours(x) * weights).sum().backward()
    (library(x.transpose(1, 2)).transpose(1, 2) * weights).sum().backward()
    order = (2, 0, 1) if transposed else (2, 1, 0)
    assert library.weight.grad is not None
    torch.testing.assert_close(ours.weight.grad, library.weight.grad.permute(order), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.bias.grad, library.bias.grad, rtol=1e-4, atol=1e-4)


def test_initial_weights_are_spread_as_the_librarys() -> None:
    torch.manual_seed(0)
    ours, library = TemporalConv(64, 64, 5), nn.Conv1d(64, 64, 5)
    assert ours.weight.detach().std().item() == pytest.approx(library.weight.detach().std().item(), rel=0.05)


def test_group_norm_equals_the_library() -> None:
    norm = TemporalGroupNorm(8, 32)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(5, 4, 32) * 3 + 1
    expected = nn.functional.group_norm(x.transpose(1, 2), 8, norm.weight, norm.bias).transpose(1, 2)
    torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-5)
