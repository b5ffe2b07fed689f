"""Mish."""

import torch
import torch.nn.functional as F

from dwm_ray.diffusion.activation import mish


def test_equals_the_library_in_value_and_gradient_at_any_size() -> None:
    x = torch.cat([torch.linspace(-90, 90, 4001), torch.tensor([-1e30, 1e30])]).requires_grad_()
    (ours,) = torch.autograd.grad(mish(x).sum(), x)
    (library,) = torch.autograd.grad(F.mish(x).sum(), x)
    torch.testing.assert_close(mish(x), F.mish(x), rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(ours, library, rtol=1e-5, atol=1e-5)


def test_half_precision_is_rounded_once() -> None:
    x = torch.linspace(-5, 5, 101).bfloat16()
    assert torch.equal(mish(x), mish(x.float()).bfloat16())
