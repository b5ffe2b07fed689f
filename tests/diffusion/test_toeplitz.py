"""Karatsuba's products give the convolution."""

import pytest
import torch
from torch import nn

from dwm_ray.diffusion.fast.toeplitz import factors, sums


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
