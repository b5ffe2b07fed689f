"""Weights of the critic's errors: lower expectiles of imagined targets, squared errors of recorded ones."""

import pytest
import torch

from dwm_ray.agents.parts.regression import critic_errors

Q = torch.tensor([[3.0, 1.0, 3.0, 1.0], [2.0, 5.0, 2.0, 5.0]])
TARGET = torch.full((4,), 2.0)
SOURCE = torch.tensor([1.0, 7.0, 0.0, 0.0])


def test_golden_weights_of_imagined_and_recorded_rows() -> None:
    errors = critic_errors(Q, TARGET, SOURCE, 0.1)
    torch.testing.assert_close(errors, torch.tensor([[1.8, 0.2, 1.0, 1.0], [0.0, 9 * 1.8, 0.0, 9.0]]))


def test_one_half_is_the_squared_error_bit_for_bit() -> None:
    q, target = torch.randn(2, 64), torch.randn(64)
    plain = (q - target).square()
    assert torch.equal(critic_errors(q, target, torch.ones(64), 0.5), plain)
    members = critic_errors(q.expand(2, 2, 64), target.expand(2, 64), torch.ones(2, 64), torch.full((2, 1, 1), 0.5))
    assert torch.equal(members, plain.expand(2, 2, 64))


@pytest.mark.parametrize("expectile", [0.1, 0.5, 0.9])
def test_minimum_is_the_expectile_of_the_targets(expectile: float) -> None:
    """Targets are 0 and 1 with equal weights: the expectile itself is the minimum."""
    target, q = torch.tensor([0.0, 1.0]), torch.tensor([[0.3, 0.3]], requires_grad=True)
    for _ in range(200):
        [grad] = torch.autograd.grad(critic_errors(q, target, torch.ones(2), expectile).sum(), q)
        q = (q - 0.1 * grad.mean(1, keepdim=True)).detach().requires_grad_()
    assert q[0, 0].item() == pytest.approx(expectile, abs=1e-4)
