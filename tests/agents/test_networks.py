"""Networks: a stack equals its members at both precisions; scaling; density."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from agent_problems import SPACES, STATS
from references import member

from dwm_ray.agents.parts.networks import GaussianActor, Scaling, StackedMLP


@pytest.mark.parametrize(("out_size", "layer_norm"), [(1, False), (4, False), (1, True)])
def test_stack_equals_its_members(out_size: int, layer_norm: bool) -> None:
    torch.manual_seed(0)
    stack = StackedMLP(2, [5, 32, 32, out_size], "fp32", layer_norm=layer_norm)
    for part in (*stack.gains, *stack.shifts):
        part.data.normal_()
    x = torch.randn(7, 5)
    expected = torch.stack([member(stack, 0)(x), member(stack, 1)(x)])
    torch.testing.assert_close(stack(x), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(stack(x, 1), expected[:1], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(expected[0], expected[1])


def test_bf16_is_close_to_fp32_and_its_gradients_are_fp32() -> None:
    torch.manual_seed(0)
    exact = StackedMLP(2, [5, 32, 32, 32, 1], "fp32")
    rough = StackedMLP(2, [5, 32, 32, 32, 1], "bf16")
    rough.load_state_dict(exact.state_dict())
    x = torch.randn(64, 5)
    difference = (exact(x) - rough(x)).abs().max()
    assert 0 < difference < 0.02
    grads = torch.autograd.grad(rough(x).mean(), list(rough.parameters()))
    for grad, truth in zip(grads, torch.autograd.grad(exact(x).mean(), list(exact.parameters())), strict=True):
        assert grad.dtype == torch.float32
        assert (grad - truth).norm() < 0.05 * truth.norm() + 1e-6


def test_initial_weights_lie_within_those_of_linear_layers() -> None:
    torch.manual_seed(0)
    stack = StackedMLP(2, [100, 64, 1], "fp32")
    for weight, bias, fan_in in zip(stack.weights, stack.biases, (100, 64), strict=True):
        bound = fan_in**-0.5
        assert 0.9 * bound < weight.abs().max() <= bound
        assert bias.abs().max() <= bound


def test_actions_and_observations_are_scaled() -> None:
    scaling = Scaling(SPACES, STATS)
    low, high = torch.tensor(SPACES.act_low), torch.tensor(SPACES.act_high)
    assert torch.equal(scaling.unit(low), -torch.ones(2))
    assert torch.equal(scaling.raw(torch.ones(2)), high)
    obs = torch.tensor([1.5, -1.0, 2.0])
    torch.testing.assert_close(scaling.obs(obs), torch.tensor([1 / 1.001, 0.0, 0.0]))


def test_density_is_the_gaussians() -> None:
    torch.manual_seed(0)
    actor = GaussianActor(SPACES, [16], "fp32")
    actor.log_std.data = torch.tensor([-0.5, 0.3])
    obs, act = torch.randn(6, 3), torch.rand(6, 2)
    normal = torch.distributions.Normal(actor.mean(obs), actor.log_std.exp())
    torch.testing.assert_close(actor.negative_log_prob(obs, act), -normal.log_prob(act).sum(1))


def test_an_entry_that_never_varies_in_the_data_is_not_blown_up() -> None:
    """The environment may vary it, such as a goal; its standard deviation is a rounding error."""
    stats = replace(STATS, obs_mean=np.array([0.3, 0, 2], np.float32), obs_std=np.array([1e-17, 0, 1], np.float32))
    scaling = Scaling(replace(SPACES, obs_size=3), stats)
    assert scaling.obs(torch.tensor([1.3, 1.0, 3.0])).tolist() == pytest.approx([1, 1, 1], abs=2e-3)
